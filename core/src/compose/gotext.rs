//! Texts as programs in Go print them, which is what docker compose's own output is made of.

use std::time::Duration;

use super::scalar::Plain;
use super::tree::{Node, Value};

/// As JSON has it: an exponent only for very large and very small numbers.
pub(super) fn json_float(value: f64) -> String {
    let scientific = exponent_outside(value, -6, 21);
    // e-09 is written e-9.
    match scientific.split_once("e-0") {
        Some((mantissa, digit)) => format!("{mantissa}e-{digit}"),
        None => scientific,
    }
}

fn exponent_outside(value: f64, low: i32, high: i32) -> String {
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (low..high).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// Any value, as `%v` prints it.
pub(super) fn sprint(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => match scalar.meaning() {
            Plain::Null => "<nil>".to_owned(),
            plain => plain.canonical(&scalar.text).unwrap_or_default(),
        },
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(sprint).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.iter().map(|e| (&e.key, sprint(&e.value))).collect();
            entries.sort();
            let entries: Vec<String> = entries.iter().map(|(k, v)| format!("{k}:{v}")).collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// A path without `.`, `..` and double slashes; the empty path is `.`.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(last) if *last != ".." => {
                    parts.pop();
                }
                _ if !rooted => parts.push(".."),
                _ => {}
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Two paths as one; an empty one counts for nothing.
pub(super) fn join(base: &str, path: &str) -> String {
    match (base.is_empty(), path.is_empty()) {
        (true, true) => String::new(),
        (true, false) => clean(path),
        (false, true) => clean(base),
        (false, false) => clean(&format!("{base}/{path}")),
    }
}

/// The directory that a path lies in.
pub(super) fn parent(path: &str) -> String {
    match path.rfind('/') {
        Some(at) => clean(&path[..=at]),
        None => ".".to_owned(),
    }
}

/// The way from `base` to `path`, both absolute.
pub(super) fn relative(base: &str, path: &str) -> String {
    let (base, path) = (clean(base), clean(path));
    let parts = |text: &str| {
        let parts = text.split('/').filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect::<Vec<String>>()
    };
    let (from, to) = (parts(&base), parts(&path));
    let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - same);
    let way: Vec<String> = up.chain(to[same..].iter().cloned()).collect();
    if way.is_empty() {
        ".".to_owned()
    } else {
        way.join("/")
    }
}

/// A time: `1m30s`, `1.5s`, `250ms`.
pub(super) fn time(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    format!(
        "{sign}{}",
        duration(Duration::from_nanos(nanos.unsigned_abs()))
    )
}

/// A duration as Go prints it.
pub(super) fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (scale, unit) = match nanos {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return decimal(nanos, scale) + unit;
    }
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = decimal(nanos % 60_000_000_000, 1_000_000_000) + "s";
    match (hours, minutes) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

/// `value / scale` without trailing zeros; `scale` is a power of ten.
fn decimal(value: u128, scale: u128) -> String {
    let digits = scale.ilog10() as usize;
    let (whole, part) = (value / scale, value % scale);
    if part == 0 {
        return whole.to_string();
    }
    let part = format!("{part:0digits$}");
    format!("{whole}.{}", part.trim_end_matches('0'))
}

/// Appends a text as a JSON string, with what Go's encoder escapes.
pub(super) fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => push_escaped(c, out),
            c if (c as u32) < 0x20 => push_escaped(c, out),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_escaped(c: char, out: &mut String) {
    out.push_str(&format!("\\u{:04x}", c as u32));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        for (nanos, text) in [
            (0i64, "0s"),
            (90_000_000_000, "1m30s"),
            (1_500_000_000, "1.5s"),
            (250_000_000, "250ms"),
            (1_500, "1.5µs"),
            (604_800_000_000_000, "168h0m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (-1_000_000_000, "-1s"),
        ] {
            assert_eq!(time(nanos), text);
        }
    }

    #[test]
    fn paths_are_joined_and_cleaned_as_in_go() {
        for (base, path, joined) in [
            ("/a/b", "./c/../d", "/a/b/d"),
            ("/a", "../../../x", "/x"),
            ("sub", "./x", "sub/x"),
            ("sub", "../../x", "../x"),
            (".", ".", "."),
            ("", "x/", "x"),
        ] {
            assert_eq!(join(base, path), joined);
        }
        assert_eq!(relative("/a/b", "/a/c/d"), "../c/d");
        assert_eq!(relative("/a", "/a"), ".");
        assert_eq!(parent("/a/b.yaml"), "/a");
        assert_eq!(parent("b.yaml"), ".");
    }

    #[test]
    fn floats_print_as_in_go() {
        assert_eq!(json_float(0.1), "0.1");
        assert_eq!(json_float(1e21), "1e+21");
        assert_eq!(json_float(1e-7), "1e-7");
        assert_eq!(json_float(1e6), "1000000");
    }
}
