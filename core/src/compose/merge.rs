//! Two files into one: the later one's word counts, by the rules that docker compose has per key.

use std::collections::HashMap;
use std::sync::Arc;

use super::context::Context;
use super::text::shown_field;
use super::tree::{Entry, Node, Tag, Value};

/// How two values of the same key become one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// Mappings by key, lists one after the other, the later scalar.
    Usual,
    /// The later value alone.
    Replace,
    /// `NAME=value` lists and mappings: both as a mapping, by name.
    Pairs,
    /// One string or a list of them: both as a list.
    Items,
    /// `name=address` lists and mappings: both as a list.
    Hosts,
    /// A list of names or a mapping by name: both as a mapping.
    Names,
    /// A path or a mapping with `context`.
    Build,
    /// As usual if the driver is the same, else the later one alone.
    Logging,
    /// Subnets: by subnet.
    Subnets,
}

fn rule(path: &[Arc<str>]) -> Rule {
    let path: Vec<&str> = path.iter().map(|part| &**part).collect();
    match path.as_slice() {
        ["services", _, "command" | "entrypoint"]
        | ["services", _, "healthcheck", "test"]
        | ["services", _, "ulimits", _] => Rule::Replace,
        [
            "services",
            _,
            "environment" | "labels" | "annotations" | "sysctls",
        ]
        | [
            "services",
            _,
            "build",
            "args" | "labels" | "additional_contexts",
        ]
        | ["services", _, "deploy", "labels"]
        | ["networks" | "volumes", _, "labels"] => Rule::Pairs,
        [
            "services",
            _,
            "dns" | "dns_opt" | "dns_search" | "env_file" | "label_file" | "tmpfs",
        ] => Rule::Items,
        ["services", _, "depends_on" | "networks" | "models"] => Rule::Names,
        ["services", _, "build"] => Rule::Build,
        ["services", _, "logging"] => Rule::Logging,
        ["services", _, "extra_hosts"] | ["services", _, "build", "extra_hosts"] => Rule::Hosts,
        ["networks", _, "ipam", "config"] => Rule::Subnets,
        _ => Rule::Usual,
    }
}

/// What becomes of `!reset` and `!override` once they have had their effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    /// They stay, for a further merge below.
    Keep,
    /// They are spent.
    Spend,
}

/// Merges whole files: `over` onto `base`.
pub(super) fn files(base: Node, over: Node, cx: &mut Context<'_>) -> Node {
    let mut merger = Merger {
        cx,
        path: Vec::new(),
        tags: Tags::Spend,
    };
    merger.merge(base, over)
}

/// Merges the service named `name`: what it says itself onto what it extends.
pub(super) fn service(base: Node, over: Node, name: &Arc<str>, cx: &mut Context<'_>) -> Node {
    let mut merger = Merger {
        cx,
        path: vec!["services".into(), Arc::clone(name)],
        tags: Tags::Keep,
    };
    merger.merge(base, over)
}

/// Merges a resource of an included file with one of the same name in the including file.
pub(super) fn resource(base: Node, over: Node, path: [Arc<str>; 2], cx: &mut Context<'_>) -> Node {
    let mut merger = Merger {
        cx,
        path: path.to_vec(),
        tags: Tags::Keep,
    };
    merger.merge(base, over)
}

/// Takes out what `!reset` marks and forgets `!override`: nothing is left to merge with.
pub(super) fn spend_tags(node: &mut Node) {
    node.tag = Tag::None;
    match &mut node.value {
        Value::Scalar(_) => {}
        Value::List(items) => {
            items.retain(|item| item.tag != Tag::Reset);
            items.iter_mut().for_each(spend_tags);
        }
        Value::Map(entries) => {
            entries.retain(|entry| entry.value.tag != Tag::Reset);
            entries
                .iter_mut()
                .for_each(|entry| spend_tags(&mut entry.value));
        }
    }
}

struct Merger<'c, 'e> {
    cx: &'c mut Context<'e>,
    path: Vec<Arc<str>>,
    tags: Tags,
}

impl Merger<'_, '_> {
    fn merge(&mut self, base: Node, over: Node) -> Node {
        if over.tag == Tag::Override {
            return over;
        }
        let spot = over.spot;
        match rule(&self.path) {
            Rule::Replace => over,
            Rule::Usual => self.usual(base, over),
            Rule::Pairs => match (self.pairs(base), self.pairs(over)) {
                (Some(base), Some(over)) => self.by_key(base, over),
                (Some(only), None) | (None, Some(only)) => only,
                (None, None) => Node::null(spot),
            },
            Rule::Items => appended(items(base), items(over)),
            Rule::Hosts => appended(items(hosts(base)), items(hosts(over))),
            Rule::Names => {
                let fill = self.path.last().is_some_and(|key| &**key == "depends_on");
                let (base, over) = (names(base, fill), names(over, fill));
                self.usual(base, over)
            }
            Rule::Build => {
                let (base, over) = (build(base), build(over));
                self.usual(base, over)
            }
            Rule::Logging => {
                let driver = |node: &Node| {
                    node.get("driver")
                        .and_then(|d| d.as_text().map(str::to_owned))
                };
                match (driver(&base), driver(&over)) {
                    (Some(one), Some(other)) if one != other => over,
                    _ => self.usual(base, over),
                }
            }
            Rule::Subnets => self.subnets(base, over),
        }
    }

    fn usual(&mut self, base: Node, over: Node) -> Node {
        if over.is_null() && over.tag == Tag::None {
            return base;
        }
        match (&base.value, &over.value) {
            (Value::Map(_), Value::Map(_)) => self.by_key(base, over),
            (Value::List(_), Value::List(_)) => appended(base, over),
            (Value::Scalar(_), _) => over,
            _ => {
                let text = format!(
                    "cannot be merged: it is {} here and {} at {}",
                    over.kind(),
                    base.kind(),
                    self.cx.place(base.spot),
                );
                let subject = shown_field(&self.path);
                self.cx.wrong(over.spot, &subject, text);
                base
            }
        }
    }

    /// Merges mappings; what the later one adds comes last.
    fn by_key(&mut self, base: Node, over: Node) -> Node {
        let (spot, tag) = (over.spot, base.tag);
        let (Value::Map(below), Value::Map(above)) = (base.value, over.value) else {
            return Node::null(spot);
        };
        let mut merged: Vec<Option<Entry>> = below.into_iter().map(Some).collect();
        let index: HashMap<Arc<str>, usize> = merged
            .iter()
            .enumerate()
            .filter_map(|(i, entry)| Some((Arc::clone(&entry.as_ref()?.key), i)))
            .collect();
        for entry in above {
            let Some(&slot) = index.get(&entry.key) else {
                merged.push(Some(entry));
                continue;
            };
            if entry.value.tag == Tag::Reset {
                // Kept only where an earlier file below could have the key too.
                merged[slot] = (self.tags == Tags::Keep).then_some(entry);
                continue;
            }
            let Some(old) = merged[slot].take() else {
                merged[slot] = Some(entry);
                continue;
            };
            self.path.push(Arc::clone(&entry.key));
            let tag = entry.value.tag;
            let mut value = self.merge(old.value, entry.value);
            self.path.pop();
            if self.tags == Tags::Keep && tag == Tag::Override {
                value.tag = tag;
            }
            merged[slot] = Some(Entry { value, ..entry });
        }
        Node {
            spot,
            tag,
            value: Value::Map(merged.into_iter().flatten().collect()),
        }
    }

    /// `NAME=value` items as entries; `NAME` alone has no value.
    fn pairs(&mut self, node: Node) -> Option<Node> {
        let Value::List(items) = node.value else {
            if matches!(node.value, Value::Map(_)) {
                return Some(node);
            }
            let subject = shown_field(&self.path);
            let text = format!("must be a mapping or a list, not {}", node.kind());
            self.cx.wrong(node.spot, &subject, text);
            return None;
        };
        let mut entries: Vec<Entry> = Vec::with_capacity(items.len());
        let mut index: HashMap<Arc<str>, usize> = HashMap::new();
        for item in items {
            let Some(text) = item.as_text() else {
                let subject = shown_field(&self.path);
                let text = format!("an item must be NAME=value, not {}", item.kind());
                self.cx.wrong(item.spot, &subject, text);
                continue;
            };
            let entry = match text.split_once('=') {
                Some((name, value)) => Entry {
                    key: name.into(),
                    spot: item.spot,
                    value: Node::text(item.spot, value),
                },
                None => Entry {
                    key: text.into(),
                    spot: item.spot,
                    value: Node::null(item.spot),
                },
            };
            match index.get(&entry.key) {
                Some(&slot) => entries[slot] = entry,
                None => {
                    index.insert(Arc::clone(&entry.key), entries.len());
                    entries.push(entry);
                }
            }
        }
        Some(Node {
            spot: node.spot,
            tag: node.tag,
            value: Value::Map(entries),
        })
    }

    fn subnets(&mut self, base: Node, over: Node) -> Node {
        let (Value::List(below), Value::List(above)) = (&base.value, &over.value) else {
            return self.usual(base, over);
        };
        let subnet = |node: &Node| {
            node.get("subnet")
                .and_then(|s| s.as_text().map(str::to_owned))
        };
        let mut merged = below.clone();
        for item in above {
            let same = merged.iter().position(|old| subnet(old) == subnet(item));
            match same {
                Some(slot) => {
                    let old = merged[slot].clone();
                    merged[slot] = self.by_key(old, item.clone());
                }
                None => merged.push(item.clone()),
            }
        }
        Node::new(over.spot, Value::List(merged))
    }
}

fn appended(base: Node, over: Node) -> Node {
    let spot = over.spot;
    let (Value::List(mut items), Value::List(more)) = (base.value, over.value) else {
        return Node::null(spot);
    };
    items.extend(more);
    Node::new(spot, Value::List(items))
}

/// A list of what is one or a list.
fn items(node: Node) -> Node {
    let spot = node.spot;
    let items = match node.value {
        Value::List(_) => return node,
        Value::Scalar(_) if node.is_null() => Vec::new(),
        Value::Scalar(_) | Value::Map(_) => vec![node],
    };
    Node::new(spot, Value::List(items))
}

/// `host: address` entries of a mapping as a list of `host=address`.
fn hosts(node: Node) -> Node {
    let spot = node.spot;
    match node.value {
        Value::Map(entries) => {
            let items = entries.into_iter().flat_map(spread).collect();
            Node::new(spot, Value::List(items))
        }
        _ => node,
    }
}

fn spread(entry: Entry) -> Vec<Node> {
    let Entry { key, value, .. } = entry;
    let line = |node: &Node| match &node.value {
        Value::Scalar(scalar) => Node::text(node.spot, &format!("{key}={}", scalar.text)),
        _ => node.clone(),
    };
    match &value.value {
        Value::List(items) => items.iter().map(line).collect(),
        _ => vec![line(&value)],
    }
}

/// A mapping by name; for dependencies a name alone means the usual condition.
fn names(node: Node, fill: bool) -> Node {
    let Value::List(items) = &node.value else {
        return node;
    };
    let mut entries: Vec<Entry> = Vec::new();
    for item in items {
        let Some(name) = item.as_text() else {
            // Left for the reader of the field, which says what is wrong with it.
            return node;
        };
        if entries.iter().any(|entry| &*entry.key == name) {
            continue;
        }
        let condition = || Entry {
            key: "condition".into(),
            spot: item.spot,
            value: Node::text(item.spot, "service_started"),
        };
        let value = if fill {
            Node::new(item.spot, Value::Map(vec![condition()]))
        } else {
            Node::null(item.spot)
        };
        entries.push(Entry {
            key: name.into(),
            spot: item.spot,
            value,
        });
    }
    Node {
        spot: node.spot,
        tag: node.tag,
        value: Value::Map(entries),
    }
}

fn build(node: Node) -> Node {
    if node.as_text().is_none() {
        return node;
    }
    let spot = node.spot;
    let context = Entry {
        key: "context".into(),
        spot,
        value: node,
    };
    Node::new(spot, Value::Map(vec![context]))
}
