//! Texts that stand for numbers, sizes, times and command lines, read as docker compose reads
//! them, which is more lenient in places than what a service can be given later.

/// `1.5h`, `2d`, `250ms`, as nanoseconds.
pub(in super::super) fn time(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{}` is not a time: write it as 1m30s", shown(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(wrong());
        }
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let unit = unit(&after[..end]).ok_or_else(wrong)?;
        let whole: i64 = match whole {
            "" => 0,
            whole => whole.parse().map_err(|_| wrong())?,
        };
        let mut part = whole.checked_mul(unit).ok_or_else(wrong)?;
        if !fraction.is_empty() {
            let share: f64 = format!("0.{fraction}").parse().map_err(|_| wrong())?;
            // Less than one unit, the largest of which is a week.
            let share = (share * unit as f64) as i64;
            part = part.checked_add(share).ok_or_else(wrong)?;
        }
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = &after[end..];
    }
    Ok(if negative { -total } else { total })
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn unit(text: &str) -> Option<i64> {
    const SECOND: i64 = 1_000_000_000;
    Some(match text {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => 86_400 * SECOND,
        "w" => 604_800 * SECOND,
        _ => return None,
    })
}

/// `64m`, `1.5GiB`, `1024`, as bytes.
pub(in super::super) fn bytes(text: &str) -> Result<i64, String> {
    let wrong = || {
        format!(
            "`{}` is not a size: write a number with b, k, m, g, t or p",
            shown(text)
        )
    };
    let last = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')
        .ok_or_else(wrong)?;
    let number = if text[last..].starts_with(' ') {
        &text[..last]
    } else {
        &text[..=last]
    };
    let size = float(number).ok_or_else(wrong)?;
    if size < 0.0 {
        return Err(wrong());
    }
    let suffix = text[last + 1..].to_lowercase();
    let shift = match suffix.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(wrong()),
    };
    let size = size * f64::from(shift).exp2();
    // What does not fit becomes the smallest number in docker compose; that helps nobody.
    if size.is_finite() && size < 9.2e18 {
        Ok(size as i64)
    } else {
        Err(wrong())
    }
}

/// A number with a fraction.
pub(in super::super) fn float(text: &str) -> Option<f64> {
    let first = text.trim_start_matches(['+', '-']);
    let spelt = ["inf", "infinity", "nan"].contains(&first.to_ascii_lowercase().as_str());
    let digit = first.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    (digit || spelt).then(|| text.parse().ok()).flatten()
}

/// A whole number in decimal digits.
pub(in super::super) fn whole(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// `true`, `false`, or what YAML once took for them; then the flag is set.
pub(in super::super) fn truth(text: &str) -> Option<(bool, bool)> {
    match text.to_lowercase().as_str() {
        "true" => Some((true, false)),
        "false" => Some((false, false)),
        "y" | "yes" | "on" => Some((true, true)),
        "n" | "no" | "off" => Some((false, true)),
        _ => None,
    }
}

fn shown(text: &str) -> String {
    super::super::text::shown(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, nanos) in [
            ("1.5h", Some(5_400_000_000_000)),
            ("1w", Some(604_800_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("0", Some(0)),
            ("-1s", Some(-1_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1", None),
            ("", None),
            ("1 s", None),
            ("1x", None),
            (".s", None),
            ("9999999999999h", None),
            ("1.5.3", None),
        ] {
            assert_eq!(time(text).ok(), nanos, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, size) in [
            ("1g", Some(1 << 30)),
            ("1.5GiB", Some(3 << 29)),
            ("64 KB", Some(64 << 10)),
            ("1024", Some(1024)),
            ("1e3", Some(1000)),
            ("-1", None),
            ("1e30", None),
            ("1.5.3", None),
            ("g", None),
            ("NaN", None),
            ("1gg", None),
            ("", None),
        ] {
            assert_eq!(bytes(text).ok(), size, "{text}");
        }
    }
}
