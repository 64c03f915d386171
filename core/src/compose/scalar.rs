//! What an unquoted scalar means: the rules of the YAML reader that docker compose uses.
//!
//! They are YAML 1.2's core schema with what is left of 1.1: `0644` is octal, `1_000` a number,
//! a date a date; but `yes`, `on` and `22:22` are text.

/// The meaning of an unquoted scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    /// Any integer that fits 64 bits, signed or unsigned.
    Int(i128),
    Float(f64),
    /// A date or time, which no field of a Compose file is.
    Date,
    Text,
}

impl Plain {
    pub(super) fn of(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" => return Self::Bool(true),
            "false" | "False" | "FALSE" => return Self::Bool(false),
            ".nan" | ".NaN" | ".NAN" => return Self::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
                return Self::Float(f64::INFINITY);
            }
            "-.inf" | "-.Inf" | "-.INF" => return Self::Float(f64::NEG_INFINITY),
            _ => {}
        }
        match text.as_bytes()[0] {
            b'0'..=b'9' | b'+' | b'-' => Self::number_or_date(text),
            b'.' => float(text).map_or(Self::Text, Self::Float),
            _ => Self::Text,
        }
    }

    fn number_or_date(text: &str) -> Self {
        if is_date(text) {
            return Self::Date;
        }
        let plain: String = text.chars().filter(|c| *c != '_').collect();
        if let Some(number) = integer(&plain) {
            return Self::Int(number);
        }
        float(&plain).map_or(Self::Text, Self::Float)
    }

    /// The value as the text of a variable or label; `None` is null.
    pub(super) fn canonical(self, raw: &str) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(value) => Some(value.to_string()),
            Self::Float(value) => Some(shortest(value)),
            Self::Date | Self::Text => Some(raw.to_owned()),
        }
    }
}

/// Decimal, `0x`, `0o`, `0b`, or octal by a leading zero; within 64 bits.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    // `from_str_radix` would take a second sign.
    if !digits.bytes().next()?.is_ascii_alphanumeric() {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    let fits = value >= i128::from(i64::MIN) && value <= i128::from(u64::MAX);
    fits.then_some(value)
}

/// `1.5`, `.5`, `1e3`, `08`; neither words nor hexadecimal.
fn float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    if let Some(exponent) = exponent {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if exponent.is_empty() || !all_digits(exponent) {
            return None;
        }
    }
    text.parse().ok()
}

/// `2024-1-2`, alone or followed by a time.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let number = |part: &str, max: u32| {
        (1..=2).contains(&part.len()) && part.parse().is_ok_and(|n: u32| (1..=max).contains(&n))
    };
    if year.len() != 4 || !year.bytes().all(|b| b.is_ascii_digit()) || !number(month, 12) {
        return false;
    }
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (day, time) = rest.split_at(end);
    number(day, 31) && (time.is_empty() || is_time(time))
}

fn is_time(text: &str) -> bool {
    let Some(clock) = text.strip_prefix(['T', 't', ' ']) else {
        return false;
    };
    let clock = clock.as_bytes();
    clock.first().is_some_and(u8::is_ascii_digit)
        && clock.iter().filter(|b| **b == b':').count() >= 2
        && clock
            .iter()
            .all(|b| b.is_ascii_digit() || b":.+-Z ".contains(b))
}

/// The shortest text that reads back as the same number, with an exponent where docker compose
/// prints one.
fn shortest(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Option<String> {
        Plain::of(text).canonical(text)
    }

    #[test]
    fn numbers_become_what_docker_compose_prints() {
        for (raw, printed) in [
            ("0644", "420"),
            ("0o17", "15"),
            ("0x1F", "31"),
            ("0b101", "5"),
            ("1_000", "1000"),
            ("1e3", "1000"),
            ("1.10", "1.1"),
            (".5", "0.5"),
            ("08", "8"),
            ("-5", "-5"),
            ("+5", "5"),
            ("12345678901234567890", "12345678901234567890"),
            ("1e-7", "1e-07"),
            ("1000000.0", "1e+06"),
        ] {
            assert_eq!(canonical(raw).as_deref(), Some(printed), "{raw}");
        }
    }

    #[test]
    fn words_and_clock_times_stay_text() {
        for raw in [
            "yes",
            "NO",
            "on",
            "12:30",
            "22:22",
            "1.2.3",
            "0xZZ",
            "1e",
            "--5",
            "+-5",
            "1-2",
            "0o8",
            "5m",
            "e3",
            "-",
            "+",
            ".",
            "127.0.0.1",
            "0x",
            "_1",
        ] {
            assert_eq!(Plain::of(raw), Plain::Text, "{raw}");
        }
    }

    #[test]
    fn dates_are_seen() {
        for raw in [
            "2024-01-01",
            "2024-1-2",
            "2024-01-01T10:00:00Z",
            "2024-01-01 10:00:00",
        ] {
            assert_eq!(Plain::of(raw), Plain::Date, "{raw}");
        }
        for raw in ["2024-13-01", "2024-01", "2024-01-01-5", "20240-01-01"] {
            assert_eq!(Plain::of(raw), Plain::Text, "{raw}");
        }
    }
}
