//! JSON values as YAML text: block style, quotes only where they are needed.

use serde_json::Value;

use super::super::scalar::Plain;

/// Prints a value as a document.
pub(in super::super) fn print(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Prints a collection on lines of its own.
fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                indent(depth, out);
                out.push_str(&scalar(key));
                out.push(':');
                after_key(value, depth, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                indent(depth, out);
                out.push_str("- ");
                item_of_list(item, depth, out);
            }
        }
        _ => {
            out.push_str(&flat(value));
            out.push('\n');
        }
    }
}

fn after_key(value: &Value, depth: usize, out: &mut String) {
    if is_block(value) {
        out.push('\n');
        block(value, depth + 1, out);
    } else {
        out.push(' ');
        out.push_str(&flat(value));
        out.push('\n');
    }
}

/// The first key of a mapping stands on the line of the dash.
fn item_of_list(item: &Value, depth: usize, out: &mut String) {
    if !is_block(item) {
        out.push_str(&flat(item));
        out.push('\n');
        return;
    }
    let mut inner = String::new();
    block(item, depth + 1, &mut inner);
    out.push_str(inner.trim_start_matches(' '));
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(entries) => !entries.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// A value on one line.
fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Plain where no reader can take it for anything but this text, else in double quotes.
fn scalar(text: &str) -> String {
    let first = |c: char| c.is_ascii_alphabetic() || "/_.".contains(c);
    let inner = |c: char| c.is_ascii_alphanumeric() || "/_.-@+=,$(){}<>;|&!%^~*?: ".contains(c);
    let words = ["y", "n", "yes", "no", "on", "off"];
    let is_plain = text.len() <= 120
        && text.starts_with(first)
        && text.chars().all(inner)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !words.contains(&text.to_ascii_lowercase().as_str())
        && Plain::of(text) == Plain::Text;
    if is_plain {
        text.to_owned()
    } else {
        serde_json::Value::from(text)
            .to_string()
            .replace('\u{7f}', "\\x7f")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_collections_and_risky_texts() {
        let value = json!({
            "a": { "b": ["x", { "c": 1, "d": [] }, ["y", "z"]] },
            "empty": {},
            "hollow": [{}, []],
            "texts": ["yes", "1.0", "", "a: b", "two\nlines", "a b", null, true],
        });
        let text = "a:\n  b:\n    - x\n    - c: 1\n      d: []\n    - - \"y\"\n      - z\nempty: {}\n\
                    hollow:\n  - {}\n  - []\ntexts:\n  - \"yes\"\n  - \"1.0\"\n  - \"\"\n  - \"a: b\"\n  - \"two\\nlines\"\n  \
                    - a b\n  - null\n  - true\n";
        assert_eq!(print(&value), text);
    }
}
