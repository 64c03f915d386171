//! The final form of `NAME=value` pairs, however they were written, and of their kin.

use std::collections::BTreeMap;

use super::super::context::Context;
use super::super::gotext::sprint;
use super::super::scalar::Plain;
use super::super::text::shown;
use super::super::tree::{Entry, Node, Value};
use super::scalars::Reader;

/// A mapping in the order of its keys.
fn sorted(node: &Node, mut entries: Vec<Entry>) -> Node {
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Node {
        spot: node.spot,
        tag: node.tag,
        value: Value::Map(entries),
    }
}

/// Keeps the last entry of each key.
fn last_of_each(entries: impl Iterator<Item = Entry>) -> Vec<Entry> {
    let mut found: BTreeMap<_, Entry> = BTreeMap::new();
    for entry in entries {
        found.insert(entry.key.clone(), entry);
    }
    found.into_values().collect()
}

/// A text of whatever stands there.
fn text_of(node: &Node) -> Node {
    Node {
        tag: node.tag,
        ..Node::text(node.spot, &sprint(node))
    }
}

/// Pairs whose missing value is an empty text.
pub(super) fn pairs(node: Node) -> Option<Node> {
    let entries = match &node.value {
        Value::Map(entries) => entries
            .iter()
            .map(|entry| {
                let value = match entry.value.is_null() {
                    true => Node::text(entry.spot, ""),
                    false => text_of(&entry.value),
                };
                Entry {
                    key: entry.key.clone(),
                    spot: entry.spot,
                    value,
                }
            })
            .collect(),
        Value::List(items) => last_of_each(items.iter().map(|item| {
            let text = sprint(item);
            let (key, value) = text.split_once('=').unwrap_or((&text, ""));
            Entry::new(key, Node::text(item.spot, value))
        })),
        Value::Scalar(_) => return None,
    };
    Some(sorted(&node, entries))
}

/// Pairs whose value may be missing.
pub(super) fn variables(node: Node, path: &str, cx: &mut Context<'_>) -> Option<Node> {
    let entries = match &node.value {
        Value::Map(entries) => entries
            .iter()
            .map(|entry| {
                let value = match entry.value.is_null() {
                    true => entry.value.clone(),
                    false => text_of(&entry.value),
                };
                Entry {
                    key: entry.key.clone(),
                    spot: entry.spot,
                    value,
                }
            })
            .collect(),
        Value::List(items) => {
            let mut entries = Vec::with_capacity(items.len());
            for item in items {
                let text = sprint(item);
                let (key, value) = match text.split_once('=') {
                    Some((key, value)) => (key, Node::text(item.spot, value)),
                    None => (text.as_str(), Node::null(item.spot)),
                };
                if key.ends_with(char::is_whitespace) {
                    let text = format!("`{}` ends with white space", shown(key));
                    cx.wrong(item.spot, path, text);
                }
                entries.push(Entry::new(key, value));
            }
            last_of_each(entries.into_iter())
        }
        Value::Scalar(_) => return None,
    };
    Some(sorted(&node, entries))
}

/// A mapping to lists of texts.
pub(super) fn many(node: Node) -> Option<Node> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let entries = entries
        .iter()
        .map(|entry| {
            let items = match &entry.value.value {
                Value::List(items) => items.iter().map(text_of).collect(),
                _ => vec![text_of(&entry.value)],
            };
            Entry {
                key: entry.key.clone(),
                spot: entry.spot,
                value: Node::new(entry.value.spot, Value::List(items)),
            }
        })
        .collect();
    Some(sorted(&node, entries))
}

/// A mapping to texts; of numbers only whole ones become texts.
pub(super) fn strict(node: Node, path: &str, cx: &mut Context<'_>) -> Option<Node> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let mut done = Vec::with_capacity(entries.len());
    for entry in entries {
        let inner = format!("{path}.{}", shown(&entry.key));
        let value = match entry.value.is_null() {
            true => Some(Node::text(entry.spot, "")),
            false => Reader::new(&inner, cx).text(&entry.value),
        };
        done.extend(value.map(|value| Entry {
            key: entry.key.clone(),
            spot: entry.spot,
            value,
        }));
    }
    Some(sorted(&node, done))
}

/// `name=address` lines in order, one for each address.
pub(super) fn hosts(node: Node, path: &str, cx: &mut Context<'_>) -> Option<Node> {
    let mut lines: Vec<(String, Node)> = Vec::new();
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let addresses: Vec<&Node> = match &entry.value.value {
                    Value::List(items) => items.iter().collect(),
                    _ => vec![&entry.value],
                };
                for address in addresses {
                    let text = if address.is_null() {
                        String::new()
                    } else {
                        sprint(address)
                    };
                    host(&entry.key, &text, address, &mut lines, path, cx);
                }
            }
        }
        Value::List(items) => {
            for item in items {
                let text = sprint(item);
                let Some((name, addresses)) = text.split_once('=').or_else(|| text.split_once(':'))
                else {
                    let text = format!("`{}` has no address", shown(&text));
                    let error = cx.invalid(item.spot, path, text);
                    cx.push(error.hint("write it as name=address"));
                    continue;
                };
                for address in addresses.split(',') {
                    host(name, address, item, &mut lines, path, cx);
                }
            }
        }
        Value::Scalar(_) => return None,
    }
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    let items = lines
        .into_iter()
        .map(|(line, from)| Node::text(from.spot, &line))
        .collect();
    Some(Node {
        spot: node.spot,
        tag: node.tag,
        value: Value::List(items),
    })
}

fn host(
    name: &str,
    address: &str,
    from: &Node,
    lines: &mut Vec<(String, Node)>,
    path: &str,
    cx: &mut Context<'_>,
) {
    if name.is_empty() || name.contains([':', '=']) {
        let text = format!("`{}` is not a host name", shown(name));
        cx.wrong(from.spot, path, text);
        return;
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let address = bare.filter(|bare| !bare.is_empty()).unwrap_or(address);
    lines.push((format!("{name}={address}"), from.clone()));
}

/// SSH keys by name, as `name` or `name=path`.
pub(super) fn ssh(node: Node) -> Option<Node> {
    let entries = node.as_map()?;
    let mut items: Vec<Node> = entries
        .iter()
        .map(|entry| match entry.value.is_null() {
            true => Node::text(entry.spot, &entry.key),
            false => Node::text(
                entry.spot,
                &format!("{}={}", entry.key, sprint(&entry.value)),
            ),
        })
        .collect();
    items.sort_by(|a, b| a.as_text().cmp(&b.as_text()));
    Some(Node::new(node.spot, Value::List(items)))
}

/// Limits: one number, or a soft and a hard one.
pub(super) fn ulimits(node: Node, path: &str, cx: &mut Context<'_>) -> Option<Node> {
    let entries = node.as_map()?;
    let mut done = Vec::with_capacity(entries.len());
    for entry in entries {
        let inner = format!("{path}.{}", shown(&entry.key));
        let mut number = |node: &Node| {
            let is_whole = matches!(
                &node.value,
                Value::Scalar(scalar) if matches!(scalar.meaning(), Plain::Int(_))
            );
            if !is_whole {
                let text = format!("must be a whole number, not {}", node.kind());
                if cx.failed.insert(node.spot) {
                    cx.wrong(node.spot, &inner, text);
                }
            }
            is_whole.then(|| node.clone())
        };
        let zero = |node: &Node| super::scalars::is_zero(node);
        let value = match &entry.value.value {
            Value::Map(_) => {
                let limit = |key: &str, number: &mut dyn FnMut(&Node) -> Option<Node>| {
                    let found = entry.value.get(key).and_then(&mut *number);
                    found.map(|n| Entry::new(key, n))
                };
                let both = ["soft", "hard"].map(|key| limit(key, &mut number));
                let both = both.into_iter().flatten().collect();
                Some(Node::map(entry.value.spot, both))
            }
            _ => number(&entry.value).map(|n| match zero(&n) {
                true => {
                    let both = ["soft", "hard"].map(|key| Entry::new(key, n.clone()));
                    Node::map(n.spot, both.into())
                }
                false => n,
            }),
        };
        done.extend(value.map(|value| Entry {
            key: entry.key.clone(),
            spot: entry.spot,
            value,
        }));
    }
    Some(sorted(&node, done))
}
