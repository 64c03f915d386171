//! Is the tree a Compose file? Everything that is not is reported, with its place.

use std::collections::HashSet;

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::format::{
    FLAG, Field, List, Map, NULL, NUMBER, Others, Shape, TEXT, WHOLE, Words,
};
use super::super::scalar::Plain;
use super::super::text::shown;
use super::super::tree::{Node, Scalar, Value};

/// Other programs' keys, which they leave in the files they write, with what must be a key beside
/// them for the mapping to be the one that is meant.
const FOREIGN: [(&str, &str); 4] = [
    ("exclude_from_hc", "environment"),
    ("content", "read_only"),
    ("is_directory", "read_only"),
    ("isDirectory", "read_only"),
];

/// Reports what of `at` does not fit `shape`.
pub(super) fn check(at: &At<'_>, shape: &Shape, cx: &mut Context<'_>) {
    match &at.node.value {
        Value::Scalar(scalar) => check_scalar(at, scalar, shape, cx),
        Value::List(_) => match &shape.list {
            Some(list) => check_list(at, list, cx),
            None => expected(at, shape, cx),
        },
        Value::Map(_) => match &shape.map {
            Some(map) => check_map(at, map, cx),
            None => expected(at, shape, cx),
        },
    }
}

/// Says what should stand here, and keeps later steps from saying it again.
fn expected(at: &At<'_>, shape: &Shape, cx: &mut Context<'_>) {
    let kinds = [
        (TEXT, "a string"),
        (NUMBER, "a number"),
        (WHOLE, "a whole number"),
        (FLAG, "true or false"),
    ];
    let mut words: Vec<&str> = kinds
        .iter()
        .filter(|(kind, _)| shape.scalars & kind != 0)
        .map(|(_, word)| *word)
        .collect();
    if shape.list.is_some() {
        words.push("a list");
    }
    if shape.map.is_some() {
        words.push("a mapping");
    }
    let text = match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    };
    at.expected(cx, &text);
    cx.failed.insert(at.node.spot);
}

fn check_scalar(at: &At<'_>, scalar: &Scalar, shape: &Shape, cx: &mut Context<'_>) {
    let plain = scalar.meaning();
    let fits = |kinds: u8| shape.scalars & kinds != 0;
    let valid = match plain {
        Plain::Null => fits(NULL),
        Plain::Bool(_) => fits(FLAG),
        Plain::Int(number) => {
            if let Some((low, high)) = shape.range
                && fits(WHOLE)
                && !(i128::from(low)..=i128::from(high)).contains(&number)
            {
                let text = if high == i64::MAX {
                    format!("must be {low} or more, not {number}")
                } else {
                    format!("must be from {low} to {high}, not {number}")
                };
                cx.error(at, text);
                cx.failed.insert(at.node.spot);
            }
            fits(NUMBER | WHOLE)
        }
        Plain::Float(value) => fits(NUMBER) || (fits(WHOLE) && value.fract() == 0.0),
        Plain::Text => {
            if fits(TEXT) {
                check_words(at, &scalar.text, shape.text, cx);
            }
            fits(TEXT)
        }
        Plain::Date => {
            if fits(TEXT) {
                let text = "looks like a date and is taken as text; put it in quotes";
                cx.warn(at, Level::Trap, text);
                check_words(at, &scalar.text, shape.text, cx);
            }
            fits(TEXT)
        }
    };
    if !valid {
        expected(at, shape, cx);
    }
}

fn check_words(at: &At<'_>, text: &str, words: Words, cx: &mut Context<'_>) {
    let wanted = match words {
        Words::Any => return,
        Words::OneOf(known) if known.contains(&text) => return,
        Words::Like(test, _) if test(text) => return,
        Words::OneOf(known) => known.join(", "),
        Words::Like(_, said) => said.to_owned(),
    };
    let error = format!("`{}` is not possible here", shown(text));
    cx.error_hint(at, error, format!("use {wanted}"));
    cx.failed.insert(at.node.spot);
}

fn check_list(at: &At<'_>, list: &List, cx: &mut Context<'_>) {
    let mut seen = HashSet::new();
    for item in at.list(cx) {
        check(&item, list.item, cx);
        if list.unique && !seen.insert(fingerprint(item.node)) {
            cx.error(&item, "stands in the list twice");
        }
    }
}

/// A text that equal values share, and no others.
pub(in super::super) fn fingerprint(node: &Node) -> String {
    let mut text = String::new();
    write_fingerprint(node, &mut text);
    text
}

fn write_fingerprint(node: &Node, out: &mut String) {
    match &node.value {
        Value::Scalar(scalar) => match scalar.meaning() {
            Plain::Text | Plain::Date => {
                out.push_str(&format!("{}:", scalar.text.len()));
                out.push_str(&scalar.text);
            }
            plain => {
                let text = plain.canonical(&scalar.text);
                out.push_str(&format!("#{}", text.as_deref().unwrap_or("null")));
            }
        },
        Value::List(items) => {
            out.push('[');
            for item in items {
                write_fingerprint(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            out.push('{');
            for entry in entries {
                out.push_str(&format!("{}:{}=", entry.key.len(), entry.key));
                write_fingerprint(&entry.value, out);
                out.push(',');
            }
            out.push('}');
        }
    }
}

fn check_map(at: &At<'_>, map: &Map, cx: &mut Context<'_>) {
    for entry in at.map(cx) {
        let key = entry.name();
        match map.known.iter().find(|field| field.key == key) {
            Some(field) => check(&entry, field.shape, cx),
            None => check_other(&entry, map, cx),
        }
    }
    for key in map.required {
        if at.get(key).is_none() {
            let hint = match *key {
                "condition" => "it is usually service_started",
                "type" if map.known.iter().any(|field| field.key == "bind") => {
                    "it is bind, volume or tmpfs"
                }
                _ => "",
            };
            let text = format!("needs `{key}`");
            if hint.is_empty() {
                cx.error(at, text);
            } else {
                cx.error_hint(at, text, hint);
            }
        }
    }
}

fn check_other(entry: &At<'_>, map: &Map, cx: &mut Context<'_>) {
    let key = entry.name();
    match map.others {
        Others::Free => {}
        Others::Extensions if key.starts_with("x-") => {}
        Others::Extensions | Others::None => unknown(entry, map.known, cx),
        Others::Anything(shape) => check(entry, shape, cx),
        Others::Texts(shape) if !key.is_empty() => check(entry, shape, cx),
        Others::Texts(_) => cx.wrong(entry.key_spot(), &entry.path(), "a key is empty"),
        Others::Names(shape) if is_name(key) => check(entry, shape, cx),
        Others::Names(_) => {
            let kind = match entry.parent_name() {
                "services" | "depends_on" => "service ",
                "networks" => "network ",
                "volumes" => "volume ",
                "secrets" => "secret ",
                "configs" => "config ",
                _ => "",
            };
            let text = format!("`{}` is not a {kind}name", shown(key));
            let hint = "use letters, digits, `.`, `_` and `-`";
            let error = cx.invalid(entry.key_spot(), &entry.path(), text);
            cx.push(error.hint(hint));
        }
        Others::LooseNames(shape) => {
            if is_name(key) {
                check(entry, shape, cx);
            }
        }
        Others::Letters(shape) => {
            if !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase()) {
                check(entry, shape, cx);
            }
        }
    }
}

fn is_name(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn unknown(entry: &At<'_>, known: &[Field], cx: &mut Context<'_>) {
    let keys: Vec<&str> = known.iter().map(|field| field.key).collect();
    let is_foreign = FOREIGN
        .iter()
        .any(|(key, beside)| *key == entry.name() && keys.contains(beside));
    if is_foreign && !cx.options.strict {
        let text = "is another program's key and has no effect";
        cx.warn(entry, Level::Ignored, text);
    } else {
        entry.unknown(cx, &keys);
    }
}
