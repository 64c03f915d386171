//! Which host ids a replica's ids become: a range of its own for each.

use crate::error::LocalError;

/// Ids of one replica: 0..=65535 inside.
pub(crate) const SIZE: u32 = 65_536;
/// The first id ever handed out.
const FIRST: u32 = 524_288;

/// Ids that belong to somebody: `start..end`, as 64-bit numbers so that an end fits.
pub(crate) type Taken = Vec<(u64, u64)>;

/// The lowest range of [`SIZE`] ids, a multiple of [`SIZE`], that meets none of `taken`.
pub(crate) fn lowest_free(taken: &Taken) -> Result<u32, LocalError> {
    let mut taken = taken.clone();
    taken.sort_unstable();
    let size = u64::from(SIZE);
    let mut base = u64::from(FIRST);
    for (start, end) in taken {
        if start >= base + size {
            break;
        }
        if end > base {
            base = end.div_ceil(size) * size;
        }
    }
    // The last id, 2^32 - 1, means "none" to the kernel.
    u32::try_from(base)
        .ok()
        .filter(|base| base.checked_add(SIZE).is_some())
        .ok_or(LocalError::IdsExhausted)
}

/// Ranges given to users in `/etc/subuid` and `/etc/subgid`: their containers must not meet ours.
pub(crate) fn delegated() -> Taken {
    let mut taken = Taken::new();
    for file in ["/etc/subuid", "/etc/subgid"] {
        if let Ok(text) = std::fs::read_to_string(file) {
            taken.extend(text.lines().filter_map(delegation));
        }
    }
    taken
}

/// One line, `name:start:count`.
fn delegation(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.trim().rsplit(':');
    let count: u64 = fields.next()?.parse().ok()?;
    let start: u64 = fields.next()?.parse().ok()?;
    Some((start, start.saturating_add(count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(slot: u64) -> (u64, u64) {
        let start = u64::from(FIRST) + slot * u64::from(SIZE);
        (start, start + u64::from(SIZE))
    }

    #[test]
    fn the_lowest_gap_is_filled() {
        assert_eq!(lowest_free(&vec![]).ok(), Some(FIRST));
        assert_eq!(
            lowest_free(&vec![at(1), at(0)]).ok(),
            Some(FIRST + 2 * SIZE)
        );
        assert_eq!(lowest_free(&vec![at(0), at(2)]).ok(), Some(FIRST + SIZE));
    }

    #[test]
    fn a_delegated_range_that_overlaps_moves_us_past_it() {
        assert_eq!(delegation("ann:524300:65536"), Some((524_300, 589_836)));
        assert_eq!(delegation("# nothing"), None);
        assert_eq!(
            lowest_free(&vec![(524_300, 589_836)]).ok(),
            Some(FIRST + 2 * SIZE)
        );
        assert_eq!(lowest_free(&vec![(100_000, 165_536)]).ok(), Some(FIRST));
    }

    #[test]
    fn an_exhausted_space_is_an_error() {
        assert!(lowest_free(&vec![(0, u64::from(u32::MAX))]).is_err());
    }
}
