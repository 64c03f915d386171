//! Sizes, processor shares and durations as Compose writes them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a text is not a size, a share or a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {problem}")]
pub struct UnitError {
    what: &'static str,
    text: String,
    problem: &'static str,
}

fn error(what: &'static str, text: &str, problem: &'static str) -> UnitError {
    let text = text
        .chars()
        .take(40)
        .flat_map(char::escape_default)
        .collect();
    UnitError {
        what,
        text,
        problem,
    }
}

/// A number of bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Reads `64m`, `1.5GiB`, `512kb`, `1024`; every unit is a power of 1024, as docker reads it.
    ///
    /// # Errors
    /// [`UnitError`] for negative, empty, unknown or overflowing sizes.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let bad = |problem| error("size", text, problem);
        let lower = text.trim().to_ascii_lowercase();
        let split = lower
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(lower.len());
        let (number, unit) = lower.split_at(split);
        let shift = match unit.trim() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            "p" | "pb" | "pib" => 50,
            _ => return Err(bad("use a number with b, k, m, g, t or p")),
        };
        let number = decimal(number, 1u64 << shift)
            .ok_or_else(|| bad("the number is malformed or too large"))?;
        Ok(Self(number))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        for (unit, shift) in UNITS {
            let scale = 1u64 << shift;
            if self.0 >= scale {
                let tenths = self.0 / (scale / 10).max(1);
                return f.pad(&if tenths.is_multiple_of(10) {
                    format!("{}{unit}", tenths / 10)
                } else {
                    format!("{}.{}{unit}", tenths / 10, tenths % 10)
                });
            }
        }
        f.pad(&format!("{}B", self.0))
    }
}

/// Thousandths of one processor.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MilliCpu(pub u32);

impl MilliCpu {
    /// Reads `0.5`, `2`, `1.25` (processors).
    ///
    /// # Errors
    /// [`UnitError`] for negative, malformed or overflowing shares, and for less than a thousandth.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let milli = decimal(text.trim(), 1000)
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| error("processor share", text, "use a number such as 0.5"))?;
        if milli == 0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
            return Err(error(
                "processor share",
                text,
                "the smallest share is 0.001",
            ));
        }
        Ok(Self(milli))
    }
}

/// `number * scale` in integers, so that no value wraps or loses exactness.
fn decimal(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction = &fraction[..fraction.len().min(9)];
    let part = if fraction.is_empty() {
        0
    } else {
        let value: u128 = fraction.parse().ok()?;
        u64::try_from(value * u128::from(scale) / 10u128.pow(u32::try_from(fraction.len()).ok()?))
            .ok()?
    };
    whole.checked_mul(scale)?.checked_add(part)
}

/// Reads a Go duration with Compose's days and weeks: `1h30m`, `1.5s`, `250ms`, `1d`, `1w`.
///
/// # Errors
/// [`UnitError`] for missing units, negative or overflowing durations.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let bad = |problem| error("duration", text, problem);
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(bad("it is empty"));
    }
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let split = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .ok_or_else(|| bad("a number needs a unit such as s or ms"))?;
        let (number, tail) = rest.split_at(split);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return Err(bad("units are ns, us, ms, s, m, h, d and w")),
        };
        let part =
            decimal(number, scale).ok_or_else(|| bad("the number is malformed or too large"))?;
        nanos = nanos
            .checked_add(part)
            .ok_or_else(|| bad("it is longer than 584 years"))?;
        rest = tail;
    }
    Ok(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(Bytes::parse("1g").map(|b| b.0), Ok(1 << 30));
        assert_eq!(Bytes::parse("64mb").map(|b| b.0), Ok(64 << 20));
        assert_eq!(Bytes::parse("1.5GiB").map(|b| b.0), Ok((3 << 30) / 2));
        assert_eq!(Bytes::parse("64 KB").map(|b| b.0), Ok(64 << 10));
        for bad in [
            "",
            "-1",
            "1e30",
            "NaN",
            "1.5.3",
            "9999999999999999999p",
            "1x",
        ] {
            assert!(Bytes::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_exact() {
        assert_eq!(MilliCpu::parse("0.5"), Ok(MilliCpu(500)));
        assert_eq!(MilliCpu::parse("2"), Ok(MilliCpu(2000)));
        for bad in ["NaN", "-1", "1e-12", "0.0000001", ""] {
            assert!(MilliCpu::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_follow_go_with_days_and_weeks() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("1w"), Ok(Duration::from_secs(604_800)));
        for bad in ["90", "", "9999999999999h", "-1s", "1y"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_print_short() {
        assert_eq!(Bytes(512 << 20).to_string(), "512MiB");
        assert_eq!(Bytes(10).to_string(), "10B");
    }
}
