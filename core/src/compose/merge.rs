//! Two files into one: the later one's word counts, by the rules that docker compose has per key.

use std::collections::HashMap;
use std::sync::Arc;

use super::context::Context;
use super::gotext::sprint;
use super::normal::dependency;
use super::text::shown_field;
use super::tree::{Entry, Node, Value};

/// How two values of the same key become one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// Mappings by key, lists one after the other, the later scalar.
    Usual,
    /// The later value alone.
    Replace,
    /// A list, a mapping or one text: both as a list of texts.
    Items,
    /// As `Items`, without what stands in the earlier one already.
    Hosts,
    /// A list of names or a mapping by name: both as a mapping.
    Names,
    /// As `Names`; a name alone means the usual condition.
    Dependencies,
    /// A path or a mapping with `context`.
    Build,
    /// As usual if the driver is the same, else the later one alone.
    Logging,
    /// Subnets: by subnet.
    Subnets,
}

fn rule(path: &[Arc<str>]) -> Rule {
    match path {
        [top, _, rest @ ..] if &**top == "services" => service_rule(rest),
        [top, _, labels] if &**labels == "labels" => match &**top {
            "networks" | "volumes" => Rule::Items,
            _ => Rule::Usual,
        },
        [top, _, ipam, config]
            if (&**top, &**ipam, &**config) == ("networks", "ipam", "config") =>
        {
            Rule::Subnets
        }
        _ => Rule::Usual,
    }
}

fn service_rule(path: &[Arc<str>]) -> Rule {
    let key = |index: usize| path.get(index).map_or("", |key| &**key);
    match (path.len(), key(0), key(1)) {
        (1, "command" | "entrypoint", _) | (2, "healthcheck", "test") | (2, "ulimits", _) => {
            Rule::Replace
        }
        (
            1,
            "environment" | "labels" | "annotations" | "sysctls" | "dns" | "dns_opt" | "dns_search"
            | "env_file" | "label_file" | "tmpfs",
            _,
        )
        | (2, "build", "args" | "labels" | "additional_contexts")
        | (2, "deploy", "labels") => Rule::Items,
        (1, "depends_on", _) => Rule::Dependencies,
        (1, "networks" | "models", _) => Rule::Names,
        (1, "build", _) => Rule::Build,
        (1, "logging", _) => Rule::Logging,
        (1, "extra_hosts", _) | (2, "build", "extra_hosts") => Rule::Hosts,
        _ => Rule::Usual,
    }
}

/// Merges whole files: `over` onto `base`.
pub(super) fn files(base: Node, over: Node, cx: &mut Context<'_>) -> Node {
    let path = Vec::new();
    Merger { cx, path }.merge(base, over)
}

/// Merges the service named `name`: what it says itself onto what it extends.
pub(super) fn service(base: Node, over: Node, name: &Arc<str>, cx: &mut Context<'_>) -> Node {
    let path = vec!["services".into(), Arc::clone(name)];
    Merger { cx, path }.merge(base, over)
}

struct Merger<'c, 'e> {
    cx: &'c mut Context<'e>,
    path: Vec<Arc<str>>,
}

impl Merger<'_, '_> {
    fn merge(&mut self, base: Node, over: Node) -> Node {
        match rule(&self.path) {
            Rule::Replace => over,
            Rule::Usual => self.usual(base, over),
            Rule::Items => appended(items(base), items(over)),
            Rule::Hosts => {
                let (base, mut over) = (items(base), items(over));
                if let (Some(below), Some(above)) = (base.as_list(), over.as_list_mut()) {
                    let known: Vec<Option<&str>> = below.iter().map(Node::as_text).collect();
                    above.retain(|item| !known.contains(&item.as_text()));
                }
                appended(base, over)
            }
            Rule::Names => self.by_key(names(base, false), names(over, false)),
            Rule::Dependencies => self.by_key(names(base, true), names(over, true)),
            Rule::Build => self.by_key(build(base), build(over)),
            Rule::Logging => {
                let driver = |node: &Node| node.get("driver").map(sprint);
                match (driver(&base), driver(&over)) {
                    (Some(one), Some(other)) if one != other => over,
                    _ => self.by_key(base, over),
                }
            }
            Rule::Subnets => self.subnets(base, over),
        }
    }

    fn usual(&mut self, base: Node, over: Node) -> Node {
        if over.is_null() {
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
        let (below, above) = match (base.value, over.value) {
            (Value::Map(below), Value::Map(above)) => (below, above),
            // What is of a wrong kind is said when the whole is checked.
            (Value::Map(below), Value::Scalar(_)) => (below, Vec::new()),
            (Value::Scalar(_), Value::Map(above)) => (Vec::new(), above),
            (_, value) => return Node::new(spot, value),
        };
        let mut merged: Vec<Option<Entry>> = below.into_iter().map(Some).collect();
        let index: HashMap<Arc<str>, usize> = merged
            .iter()
            .enumerate()
            .filter_map(|(i, entry)| Some((Arc::clone(&entry.as_ref()?.key), i)))
            .collect();
        for entry in above {
            let slot = index.get(&entry.key).copied();
            let Some((slot, old)) = slot.and_then(|slot| Some((slot, merged[slot].take()?))) else {
                merged.push(Some(entry));
                continue;
            };
            self.path.push(Arc::clone(&entry.key));
            let value = self.merge(old.value, entry.value);
            self.path.pop();
            merged[slot] = Some(Entry { value, ..entry });
        }
        Node {
            spot,
            tag,
            value: Value::Map(merged.into_iter().flatten().collect()),
        }
    }

    fn subnets(&mut self, base: Node, over: Node) -> Node {
        let (Value::List(below), Value::List(above)) = (&base.value, &over.value) else {
            let text = "must be a list in both files";
            let subject = shown_field(&self.path);
            self.cx.wrong(over.spot, &subject, text);
            return base;
        };
        let subnet = |node: &Node| node.get("subnet").map(sprint);
        let mut merged: Vec<Node> = Vec::new();
        let place = |merged: &[Node], subnet_of: &Option<String>| {
            merged.iter().position(|node| subnet(node) == *subnet_of)
        };
        for original in below {
            for item in above {
                let own = subnet(item);
                if own != subnet(original) && place(&merged, &own).is_none() {
                    merged.push(item.clone());
                    continue;
                }
                let both = self.by_key(original.clone(), item.clone());
                match place(&merged, &subnet(&both)) {
                    Some(slot) => merged[slot] = both,
                    None => merged.push(both),
                }
            }
        }
        Node::new(over.spot, Value::List(merged))
    }
}

fn appended(base: Node, over: Node) -> Node {
    let (spot, tag) = (over.spot, over.tag);
    let (Value::List(mut items), Value::List(more)) = (base.value, over.value) else {
        return Node::null(spot);
    };
    items.extend(more);
    Node {
        spot,
        tag,
        value: Value::List(items),
    }
}

/// A list of texts: of a mapping, `NAME=value` in order.
fn items(node: Node) -> Node {
    let spot = node.spot;
    let items = match node.value {
        Value::List(_) => return node,
        Value::Scalar(_) if node.as_text().is_some() => vec![node],
        Value::Scalar(_) => Vec::new(),
        Value::Map(entries) => {
            let mut lines: Vec<Node> = entries.into_iter().flat_map(spread).collect();
            lines.sort_by(|a, b| a.as_text().cmp(&b.as_text()));
            lines
        }
    };
    Node::new(spot, Value::List(items))
}

fn spread(entry: Entry) -> Vec<Node> {
    let Entry { key, value, spot } = entry;
    let line = |node: &Node| Node::text(node.spot, &format!("{key}={}", sprint(node)));
    match &value.value {
        Value::List(items) => items.iter().map(line).collect(),
        Value::Scalar(_) if value.is_null() => vec![Node::text(spot, &key)],
        _ => vec![line(&value)],
    }
}

/// A mapping by name.
fn names(node: Node, depends: bool) -> Node {
    let Value::List(items) = &node.value else {
        return node;
    };
    let mut entries: Vec<Entry> = Vec::new();
    for item in items {
        let Some(name) = item.as_text() else {
            // Left for the check of the whole, which says what is wrong with it.
            return node;
        };
        if entries.iter().any(|entry| &*entry.key == name) {
            continue;
        }
        let value = match depends {
            true => Node::map(item.spot, dependency(item.spot)),
            false => Node::null(item.spot),
        };
        entries.push(Entry::new(name, value));
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
    Node::map(spot, vec![Entry::new("context", node)])
}
