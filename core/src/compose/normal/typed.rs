//! Every value in its final form: numbers as numbers, times and sizes in one spelling, pairs as
//! mappings, and nothing that says what is the case anyway.

use std::sync::Arc;

use super::super::Level;
use super::super::context::Context;
use super::super::format::{Field, Form, Shape};
use super::super::gotext::{self, sprint};
use super::super::scalar::Plain;
use super::super::tree::{Entry, Node, Spot, Tag, Value};
use super::pairs;
use super::scalars::{self, Reader};

/// A mapping of known keys in the order of printing, its extensions last.
pub(super) fn part(node: Node, fields: &'static [Field], path: &str, cx: &mut Context<'_>) -> Node {
    let (spot, tag) = (node.spot, node.tag);
    let Value::Map(entries) = node.value else {
        return node;
    };
    let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    let mut done = Vec::with_capacity(entries.len());
    for field in fields {
        let found = entries
            .iter_mut()
            .find(|entry| entry.as_ref().is_some_and(|entry| &*entry.key == field.key))
            .and_then(Option::take);
        let (key_spot, value) = match found {
            Some(entry) => (entry.spot, Some(entry.value)),
            None => (spot, None),
        };
        let inner = format!("{path}.{}", field.key);
        if let Some(value) = formed(value, field, spot, &inner, cx) {
            done.push(Entry {
                key: field.key.into(),
                spot: key_spot,
                value,
            });
        }
    }
    let mut extensions: Vec<Entry> = entries
        .into_iter()
        .flatten()
        .filter(|entry| entry.key.starts_with("x-"))
        .collect();
    extensions.sort_by(|a, b| a.key.cmp(&b.key));
    for mut entry in extensions {
        entry.value.tag = Tag::Extension;
        done.push(entry);
    }
    Node {
        spot,
        tag,
        value: Value::Map(done),
    }
}

/// The value of a key in its form; nothing if it is left out.
fn formed(
    value: Option<Node>,
    field: &Field,
    spot: Spot,
    path: &str,
    cx: &mut Context<'_>,
) -> Option<Node> {
    let value = value.filter(|value| !value.is_null());
    let Some(node) = value else {
        return absent(field, spot, path, cx);
    };
    let mut reader = Reader::new(path, cx);
    match field.form {
        Form::Drop => {
            // These two are told of, or taken in, elsewhere.
            if !matches!(field.key, "version" | "include") {
                let text = "has no effect, with docker compose neither";
                cx.warn_spot(spot, path.to_owned(), Level::Note, text);
            }
            None
        }
        Form::Text => reader.text(&node).filter(|text| text.as_text() != Some("")),
        Form::Stringified => Some(Node::text(node.spot, &sprint(&node))),
        Form::Flag => reader.flag(&node).filter(Node::is_true),
        Form::Choice | Form::External => {
            let flag = reader.flag(&node);
            flag.filter(|flag| field.form == Form::Choice || flag.is_true())
        }
        Form::Whole | Form::WholeOrZero => {
            let zero = field.form == Form::WholeOrZero;
            reader.whole(&node).filter(|n| zero || !scalars::is_zero(n))
        }
        Form::Count | Form::CountOrZero => {
            let zero = field.form == Form::CountOrZero;
            reader.count(&node).filter(|n| zero || !scalars::is_zero(n))
        }
        Form::Value => match field.shape.scalars & super::super::format::TEXT {
            _ if node.as_text().is_none() => reader.whole(&node),
            _ if field.shape.scalars == super::super::format::TEXT => Some(node),
            _ => reader.whole(&node),
        },
        Form::Float => reader.float(&node).filter(|n| !scalars::is_zero(n)),
        Form::Cpus => reader.cpus(&node).filter(|n| !scalars::is_zero(n)),
        Form::Bytes => reader.bytes(&node).filter(|n| n.as_text() != Some("0")),
        Form::BytesOrZero => reader.bytes(&node),
        Form::Time => reader.time(&node).filter(|n| n.as_text() != Some("0s")),
        Form::TimeOrZero => reader.time(&node),
        Form::Mode => reader.mode(&node),
        Form::Devices => reader.devices(&node).filter(|n| !scalars::is_zero(n)),
        Form::Command => reader.command(node),
        Form::Test => reader.test(node),
        Form::Texts => reader.texts(node).filter(|list| !is_empty(list)),
        Form::Printed => scalars::printed(node).filter(|list| !is_empty(list)),
        _ => collection(node, field, path, cx),
    }
}

/// What stands there if the file says nothing.
fn absent(field: &Field, spot: Spot, path: &str, cx: &mut Context<'_>) -> Option<Node> {
    match field.form {
        Form::Command => Some(Node::null(spot).filled()),
        Form::Always => {
            let empty = Node::map(spot, Vec::new()).filled();
            Some(part(empty, field.shape.fields(), path, cx))
        }
        Form::BytesOrZero => Some(Node::text(spot, "0").filled()),
        Form::Value if field.shape.scalars == super::super::format::TEXT => {
            Some(Node::text(spot, "").filled())
        }
        Form::Value => Some(Node::plain(spot, "0").filled()),
        _ => None,
    }
}

fn collection(node: Node, field: &Field, path: &str, cx: &mut Context<'_>) -> Option<Node> {
    let shape: &'static Shape = field.shape;
    let found = match field.form {
        Form::Part | Form::Always => Some(part(node, shape.fields(), path, cx)),
        Form::Parts => Some(parts(node, shape.fields(), path, cx)),
        Form::EnvFiles => Some(parts(node, env_file_fields(shape), path, cx)),
        Form::Named | Form::Section => {
            return Some(named(node, field, path, cx)).filter(|map| !is_empty(map));
        }
        Form::Pairs => pairs::pairs(node),
        Form::Variables => pairs::variables(node, path, cx),
        Form::Options => pairs::pairs(node),
        Form::ManyOptions => pairs::many(node),
        Form::Strict => pairs::strict(node, path, cx),
        Form::Hosts => pairs::hosts(node, path, cx),
        Form::Ssh => pairs::ssh(node),
        Form::Ulimits => pairs::ulimits(node, path, cx),
        _ => None,
    };
    let keeps_empty = matches!(field.form, Form::Part | Form::Always);
    found.filter(|node| keeps_empty || !is_empty(node))
}

fn env_file_fields(shape: &'static Shape) -> &'static [Field] {
    shape.list.as_ref().map_or(&[], |list| list.item.fields())
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Scalar(_) => false,
    }
}

fn parts(node: Node, fields: &'static [Field], path: &str, cx: &mut Context<'_>) -> Node {
    let (spot, tag) = (node.spot, node.tag);
    let Value::List(items) = node.value else {
        return node;
    };
    let items = items.into_iter().enumerate().map(|(index, item)| {
        let path = format!("{path}[{index}]");
        part(item, fields, &path, cx)
    });
    let items = items.collect();
    Node {
        spot,
        tag,
        value: Value::List(items),
    }
}

/// By name, sorted as docker compose prints it.
fn named(node: Node, field: &Field, path: &str, cx: &mut Context<'_>) -> Node {
    let (spot, tag) = (node.spot, node.tag);
    let Value::Map(entries) = node.value else {
        return node;
    };
    let fields = field.shape.fields();
    let mut entries: Vec<Entry> = entries
        .into_iter()
        .map(|entry| {
            let inner = format!("{path}.{}", super::super::text::shown(&entry.key));
            let value = match field.form {
                Form::Named if entry.value.is_null() => entry.value,
                _ if entry.value.is_null() => {
                    let empty = Node::map(entry.spot, Vec::new());
                    part(empty, fields, &inner, cx)
                }
                _ => part(entry.value, fields, &inner, cx),
            };
            Entry { value, ..entry }
        })
        .collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Node {
        spot,
        tag,
        value: Value::Map(entries),
    }
}

/// The whole tree in its final form.
pub(super) fn typed(root: Node, cx: &mut Context<'_>) -> Node {
    let spot = root.spot;
    let Value::Map(entries) = root.value else {
        return root;
    };
    let mut done: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        let fields = super::super::format::TOP.fields();
        let Some(field) = fields.iter().find(|field| *field.key == *entry.key) else {
            let mut entry = entry;
            entry.value.tag = Tag::Extension;
            done.push(entry);
            continue;
        };
        let path: Arc<str> = Arc::clone(&entry.key);
        let value = match field.form {
            Form::Text => Some(entry.value),
            Form::Section => Some(named(entry.value, field, &path, cx)),
            _ => None,
        };
        if let Some(value) = value.filter(|value| !value.is_null()) {
            done.push(Entry { value, ..entry });
        }
    }
    if !done.iter().any(|entry| &*entry.key == "services") {
        done.push(Entry::new("services", Node::map(spot, Vec::new()).filled()));
    }
    done.sort_by(|a, b| a.key.cmp(&b.key));
    Node::new(spot, Value::Map(done))
}

/// A time as docker compose prints it.
pub(super) fn time_text(nanos: i64) -> String {
    gotext::time(nanos)
}

/// True for a number that is zero.
pub(super) fn zero(plain: Plain) -> bool {
    match plain {
        Plain::Int(number) => number == 0,
        Plain::Float(number) => number == 0.0,
        _ => false,
    }
}
