//! The normal document as text: JSON as docker compose prints it, and YAML of the same shape.

use serde_json::{Map, Number, Value};

use super::gotext::{json_float, json_text};
use super::normal::scalars::is_zero;
use super::scalar::Plain;
use super::tree::{Entry, Node, Tag, Value as Tree};

/// What is printed of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// A typed document as JSON: extensions at the top only.
    Json,
    /// A typed document as YAML: without what says nothing.
    Yaml,
    /// A document as it is written, in the order of its keys.
    Raw,
}

/// The document as a value.
pub(super) fn value(node: &Node, shown: Shown) -> Value {
    Printer { shown }.value(node, Place::Top)
}

/// A service of a typed document as a value.
pub(super) fn service(node: &Node) -> Value {
    let shown = Shown::Json;
    Printer { shown }.value(node, Place::Inner)
}

/// Where a node stands, as far as printing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Inner,
    /// In a list where nothing stands twice, which was made anew.
    Set,
    /// In what the format does not describe.
    Extension,
    /// In a list of limits of devices, whose keys docker compose writes with a capital letter.
    Devices,
}

/// Lists where nothing stands twice.
const SETS: [&str; 23] = [
    "additional_contexts",
    "aliases",
    "annotations",
    "args",
    "cap_add",
    "cap_drop",
    "configs",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "env_file",
    "environment",
    "expose",
    "labels",
    "link_local_ips",
    "links",
    "ports",
    "profiles",
    "secrets",
    "sysctls",
    "tmpfs",
    "volumes",
];

struct Printer {
    shown: Shown,
}

impl Printer {
    fn value(&self, node: &Node, place: Place) -> Value {
        match &node.value {
            Tree::Scalar(scalar) => match scalar.meaning() {
                Plain::Null => Value::Null,
                Plain::Bool(value) => Value::Bool(value),
                Plain::Int(number) => whole(number),
                Plain::Float(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
                Plain::Text | Plain::Date => Value::String(scalar.text.to_string()),
            },
            // What no rule reads loses its empty lists on docker compose's way.
            Tree::List(items)
                if items.is_empty()
                    && place != Place::Set
                    && (self.shown == Shown::Raw || place == Place::Extension) =>
            {
                Value::Null
            }
            Tree::List(items) => {
                let items = items.iter().map(|item| self.value(item, place));
                Value::Array(items.collect())
            }
            Tree::Map(entries) => self.map(entries, place),
        }
    }

    fn map(&self, entries: &[Entry], place: Place) -> Value {
        let mut kept: Vec<&Entry> = entries
            .iter()
            .filter(|entry| self.is_kept(entry, place))
            .collect();
        if self.shown == Shown::Raw || place == Place::Extension {
            kept.sort_by(|a, b| a.key.cmp(&b.key));
        }
        let entries = kept.into_iter().map(|entry| {
            let inner = match &*entry.key {
                "weight_device" | "device_read_bps" | "device_read_iops" | "device_write_bps"
                | "device_write_iops"
                    if self.shown == Shown::Json && place == Place::Inner =>
                {
                    Place::Devices
                }
                _ if place == Place::Extension || entry.value.tag == Tag::Extension => {
                    Place::Extension
                }
                // As it is written, extensions bear no mark.
                key if place == Place::Top && key.starts_with("x-") => Place::Extension,
                key if self.shown == Shown::Raw && SETS.contains(&key) => Place::Set,
                _ => Place::Inner,
            };
            let value = match &*entry.key {
                "env_file" if self.shown == Shown::Json => self.env_files(&entry.value),
                _ => self.value(&entry.value, inner),
            };
            (key(&entry.key, place), value)
        });
        Value::Object(entries.collect())
    }

    fn is_kept(&self, entry: &Entry, place: Place) -> bool {
        match self.shown {
            Shown::Raw => true,
            // Models are part of the document, but docker compose prints them as YAML only.
            Shown::Json if place == Place::Top => &*entry.key != "models",
            Shown::Json if place != Place::Extension && is_no_limit(entry) => false,
            Shown::Json => entry.value.tag != Tag::Extension,
            Shown::Yaml => {
                let is_empty = entry.value.is_null()
                    || entry
                        .value
                        .as_map()
                        .is_some_and(|map| map.iter().all(|inner| inner.value.tag == Tag::Default));
                let says_nothing = matches!(
                    &*entry.key,
                    "command" | "entrypoint" | "resources" | "placement" | "ipam" | "exec"
                );
                !(entry.value.tag == Tag::Default && is_empty && says_nothing)
            }
        }
    }

    /// A file that must be there is printed as its path alone.
    fn env_files(&self, node: &Node) -> Value {
        let items = node.as_list().unwrap_or_default().iter().map(|item| {
            let required = item.get("required").is_some_and(Node::is_true);
            match item.get("path").filter(|_| required) {
                Some(path) => self.value(path, Place::Inner),
                None => self.value(item, Place::Inner),
            }
        });
        Value::Array(items.collect())
    }
}

/// True for a limit of processes that is zero, which docker compose prints as YAML only.
fn is_no_limit(entry: &Entry) -> bool {
    matches!(&*entry.key, "soft" | "hard") && is_zero(&entry.value)
}

fn key(key: &str, place: Place) -> String {
    let mut chars = key.chars();
    match (place, chars.next()) {
        (Place::Devices, Some(first)) => first.to_ascii_uppercase().to_string() + chars.as_str(),
        _ => key.to_owned(),
    }
}

fn whole(number: i128) -> Value {
    let small = i64::try_from(number).map(Number::from);
    let number = small.or_else(|_| u64::try_from(number).map(Number::from));
    number.map_or(Value::Null, Value::Number)
}

/// JSON on many lines, as docker compose prints it.
pub(super) fn json(value: &Value) -> String {
    let mut out = String::new();
    write(value, Some(0), &mut out);
    out
}

/// JSON on one line.
pub(super) fn compact(value: &Value) -> String {
    let mut out = String::new();
    write(value, None, &mut out);
    out
}

fn write(value: &Value, depth: Option<usize>, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => out.push_str(&json_float(float)),
            None => out.push_str(&number.to_string()),
        },
        Value::String(text) => json_text(text, out),
        Value::Array(items) => {
            let items = items.iter().map(|item| (None, item));
            group(('[', ']'), items, depth, out);
        }
        Value::Object(map) => {
            group(('{', '}'), entries(map), depth, out);
        }
    }
}

fn entries(map: &Map<String, Value>) -> impl Iterator<Item = (Option<&str>, &Value)> {
    map.iter().map(|(key, value)| (Some(key.as_str()), value))
}

fn group<'v>(
    (open, close): (char, char),
    items: impl Iterator<Item = (Option<&'v str>, &'v Value)>,
    depth: Option<usize>,
    out: &mut String,
) {
    out.push(open);
    let inner = depth.map(|depth| depth + 1);
    let mut is_empty = true;
    for (key, value) in items {
        if !is_empty {
            out.push(',');
        }
        is_empty = false;
        line(inner, out);
        if let Some(key) = key {
            json_text(key, out);
            out.push_str(if inner.is_some() { ": " } else { ":" });
        }
        write(value, inner, out);
    }
    if !is_empty {
        line(depth, out);
    }
    out.push(close);
}

fn line(depth: Option<usize>, out: &mut String) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}
