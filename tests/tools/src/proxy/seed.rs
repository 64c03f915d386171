//! Repeatable chance: a value for each (seed, rule, match), whatever the order of threads.

/// A small generator (splitmix64); good enough to choose bytes, not to keep secrets.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64, rule: usize, count: u64) -> Self {
        let mut dice = Self(seed);
        for salt in [rule as u64, count] {
            dice.0 ^= salt.wrapping_mul(0xD6E8_FEB8_6659_FD93);
            dice.0 = dice.next();
        }
        dice
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// True in `percent` of a hundred throws.
    pub(super) fn chance(&mut self, percent: u8) -> bool {
        self.next() % 100 < u64::from(percent)
    }

    /// Flips one bit in each of `count` bytes, chosen anew each time.
    pub(super) fn corrupt(&mut self, bytes: &mut [u8], count: usize) {
        let len = bytes.len() as u64;
        if len == 0 {
            return;
        }
        for _ in 0..count {
            let place = usize::try_from(self.next() % len).unwrap_or(0);
            bytes[place] ^= 1 << (self.next() % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same() {
        let throws = |seed| {
            (0..50)
                .map(|n| Dice::new(seed, 0, n).chance(30))
                .collect::<Vec<_>>()
        };
        assert_eq!(throws(1), throws(1));
        assert_ne!(throws(1), throws(2));
    }

    #[test]
    fn a_chance_is_about_as_likely_as_it_says() {
        let hits = (0..10_000)
            .filter(|n| Dice::new(9, 3, *n).chance(30))
            .count();
        assert!((2_700..3_300).contains(&hits), "{hits}");
    }
}
