//! Short forms become long ones, in the tree of one file merged onto those before it.

use super::super::Level;
use super::super::context::Context;
use super::super::gotext::{clean, sprint};
use super::super::scalar::Plain;
use super::super::text::shown;
use super::super::tree::{Entry, Node, Scalar, Spot, Style, Value};
use super::{mounts, ports};

/// Where a value stands, for messages.
type Path<'p> = &'p str;

/// How strict short forms are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// What cannot be read is an error.
    Strict,
    /// Variables still stand there: what cannot be read stays as it is.
    Lenient,
}

/// Puts everything into its long form.
pub(super) fn canonical(root: &mut Node, reading: Reading, cx: &mut Context<'_>) {
    if let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) {
        for entry in services {
            let path = format!("services.{}", shown(&entry.key));
            service(&mut entry.value, &path, reading, cx);
        }
    }
    for section in ["volumes", "networks", "secrets", "configs"] {
        if let Some(entries) = root.get_mut(section).and_then(Node::as_map_mut) {
            for entry in entries {
                let path = format!("{section}.{}", shown(&entry.key));
                external(&mut entry.value, &path, cx);
            }
        }
    }
}

fn service(node: &mut Node, path: Path<'_>, reading: Reading, cx: &mut Context<'_>) {
    let Some(entries) = node.as_map_mut() else {
        return;
    };
    for Entry { key, value, .. } in entries {
        let inner = format!("{path}.{key}");
        match &**key {
            "build" => build(value, &inner, reading, cx),
            "depends_on" => depends_on(value),
            "env_file" => env_files(value),
            "label_file" | "dns" => one_as_list(value),
            "extends" => as_key(value, "service"),
            "gpus" => gpus(value),
            "networks" | "models" => names(value),
            "volumes" => each(value, |item, cx| mount(item, &inner, reading, cx), cx),
            "devices" => each(value, |item, cx| device(item, &inner, reading, cx), cx),
            "secrets" | "configs" => each(value, |item, _| as_key(item, "source"), cx),
            "ports" => all_ports(value, &inner, reading, cx),
            "ulimits" => ulimits(value, &inner, cx),
            "develop" => develop(value),
            _ => {}
        }
    }
}

fn each(
    list: &mut Node,
    mut change: impl FnMut(&mut Node, &mut Context<'_>),
    cx: &mut Context<'_>,
) {
    if let Some(items) = list.as_list_mut() {
        for item in items {
            change(item, cx);
        }
    }
}

/// A text becomes a mapping with it under `key`.
fn as_key(node: &mut Node, key: &str) {
    if node.as_text().is_some() {
        let inner = node.clone();
        *node = Node::map(inner.spot, vec![Entry::new(key, inner)]);
    }
}

fn one_as_list(node: &mut Node) {
    if node.as_text().is_some() {
        let inner = node.clone();
        *node = Node::new(inner.spot, Value::List(vec![inner]));
    }
}

fn build(node: &mut Node, path: Path<'_>, reading: Reading, cx: &mut Context<'_>) {
    as_key(node, "context");
    let Some(entries) = node.as_map_mut() else {
        return;
    };
    for Entry { key, value, .. } in entries {
        match &**key {
            "secrets" => each(value, |item, _| as_key(item, "source"), cx),
            "provenance" | "sbom" => {
                if let Value::Scalar(_) = value.value {
                    *value = Node::text(value.spot, &sprint(value));
                }
            }
            "additional_contexts" => {
                pairs(value, &format!("{path}.{key}"), reading, cx);
            }
            "ssh" => ssh(value, &format!("{path}.{key}"), cx),
            "ulimits" => ulimits(value, &format!("{path}.{key}"), cx),
            _ => {}
        }
    }
}

fn pairs(node: &mut Node, path: Path<'_>, reading: Reading, cx: &mut Context<'_>) {
    let Some(items) = node.as_list() else { return };
    let mut entries: Vec<Entry> = Vec::new();
    for item in items {
        let Some(text) = item.as_text() else { return };
        let Some((key, value)) = text.split_once('=') else {
            if reading == Reading::Strict {
                let text = format!("`{}` has no value", shown(text));
                let error = cx.invalid(item.spot, path, text);
                cx.push(error.hint("write it as name=value"));
            }
            return;
        };
        let entry = Entry::new(key, Node::text(item.spot, value));
        put(&mut entries, entry);
    }
    *node = Node::map(node.spot, entries);
}

/// Adds an entry, in the place of an earlier one with its key.
pub(super) fn put(entries: &mut Vec<Entry>, entry: Entry) {
    match entries.iter_mut().find(|old| old.key == entry.key) {
        Some(old) => *old = entry,
        None => entries.push(entry),
    }
}

fn ssh(node: &mut Node, path: Path<'_>, cx: &mut Context<'_>) {
    let Some(items) = node.as_list() else { return };
    let mut entries: Vec<Entry> = Vec::new();
    for item in items {
        let Some(text) = item.as_text() else { return };
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Node::text(item.spot, value)),
            None if text == "default" => (text, Node::null(item.spot)),
            None => {
                let text = format!("`{}` is not an SSH key", shown(text));
                let error = cx.invalid(item.spot, path, text);
                cx.push(error.hint("write `default`, or name=path"));
                return;
            }
        };
        put(&mut entries, Entry::new(key, value));
    }
    *node = Node::map(node.spot, entries);
}

fn text_entry(key: &str, text: &str, spot: Spot) -> Entry {
    Entry::new(key, Node::text(spot, text))
}

fn default_entry(key: &str, node: Node) -> Entry {
    Entry::new(key, node.filled())
}

fn depends_on(node: &mut Node) {
    let spot = node.spot;
    match &mut node.value {
        Value::List(items) => {
            let mut entries: Vec<Entry> = Vec::new();
            for item in items {
                let Some(name) = item.as_text() else { return };
                let entry = Entry::new(name, Node::map(item.spot, dependency(item.spot)));
                put(&mut entries, entry);
            }
            *node = Node::map(spot, entries);
        }
        Value::Map(entries) => {
            for entry in entries {
                for default in dependency(entry.spot) {
                    if entry.value.as_map().is_some() && entry.value.get(&default.key).is_none() {
                        entry.value.set(&default.key, default.value);
                    }
                }
            }
        }
        Value::Scalar(_) => {}
    }
}

/// What a dependency is where the file does not say.
pub(in super::super) fn dependency(spot: Spot) -> Vec<Entry> {
    vec![
        default_entry("condition", Node::text(spot, "service_started")),
        default_entry("required", Node::plain(spot, "true")),
    ]
}

fn env_files(node: &mut Node) {
    one_as_list(node);
    let Some(items) = node.as_list_mut() else {
        return;
    };
    for item in items {
        as_key(item, "path");
        let required = Node::plain(item.spot, "true").filled();
        if item.as_map().is_some() && item.get("required").is_none() {
            item.set("required", required);
        }
    }
}

fn gpus(node: &mut Node) {
    if node.as_text().is_some() {
        let count = text_entry("count", "all", node.spot);
        let all = Node::map(node.spot, vec![count]);
        *node = Node::new(node.spot, Value::List(vec![all]));
    }
}

fn names(node: &mut Node) {
    let Some(items) = node.as_list() else { return };
    let mut entries: Vec<Entry> = Vec::new();
    for item in items {
        let Some(name) = item.as_text() else { return };
        put(&mut entries, Entry::new(name, Node::null(item.spot)));
    }
    *node = Node::map(node.spot, entries);
}

fn ulimits(node: &mut Node, path: Path<'_>, cx: &mut Context<'_>) {
    let Some(entries) = node.as_map_mut() else {
        return;
    };
    for entry in entries {
        if entry.value.as_text().is_some() {
            let path = format!("{path}.{}", shown(&entry.key));
            cx.wrong(
                entry.value.spot,
                &path,
                "must be a whole number, not a string",
            );
        }
    }
}

fn develop(node: &mut Node) {
    let Some(triggers) = node.get_mut("watch").and_then(Node::as_list_mut) else {
        return;
    };
    for trigger in triggers {
        for key in ["ignore", "include"] {
            if let Some(value) = trigger.get_mut(key) {
                one_as_list(value);
            }
        }
    }
}

fn device(node: &mut Node, path: Path<'_>, reading: Reading, cx: &mut Context<'_>) {
    let Some(text) = node.as_text() else { return };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, "", "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ if reading == Reading::Lenient => ("", "", "rwm"),
        _ => {
            let text = format!("`{}` has too many colons", shown(text));
            let error = cx.invalid(node.spot, path, text);
            cx.push(error.hint("write it as source:target:permissions"));
            return;
        }
    };
    let target = if target.is_empty() { source } else { target };
    let entries = [
        ("source", source),
        ("target", target),
        ("permissions", permissions),
    ];
    let entries = entries.map(|(key, text)| text_entry(key, text, node.spot));
    *node = Node::map(node.spot, entries.into());
}

fn mount(node: &mut Node, path: Path<'_>, reading: Reading, cx: &mut Context<'_>) {
    let Some(text) = node.as_text() else { return };
    let spot = node.spot;
    // Whether it can be read was said when doubles were looked for.
    let Ok(short) = mounts::parse(text) else {
        return;
    };
    if reading == Reading::Strict {
        warn_of_traps(&short, text, spot, path, cx);
    }
    let mut entries = Vec::new();
    let is_bind = short.is_bind();
    let kind = if is_bind { "bind" } else { "volume" };
    entries.push(text_entry("type", kind, spot));
    if !short.source.is_empty() {
        entries.push(text_entry("source", &short.source, spot));
    }
    if !short.target.is_empty() {
        entries.push(text_entry("target", &clean(&short.target), spot));
    }
    if short.read_only {
        entries.push(Entry::new("read_only", Node::plain(spot, "true")));
    }
    let mut bind = Vec::new();
    if let Some(label) = &short.selinux {
        bind.push(text_entry("selinux", label, spot));
    }
    if let Some(propagation) = &short.propagation {
        bind.push(text_entry("propagation", propagation, spot));
    }
    if is_bind {
        bind.push(default_entry("create_host_path", Node::plain(spot, "true")));
    }
    if !bind.is_empty() {
        entries.push(Entry::new("bind", Node::map(spot, bind)));
    }
    let mut volume = Vec::new();
    if short.no_copy {
        volume.push(Entry::new("nocopy", Node::plain(spot, "true")));
    }
    if short.no_copy || !(is_bind || short.bare) {
        entries.push(Entry::new("volume", Node::map(spot, volume)));
    }
    *node = Node::map(spot, entries);
}

fn warn_of_traps(
    short: &mounts::Short,
    text: &str,
    spot: Spot,
    path: Path<'_>,
    cx: &mut Context<'_>,
) {
    if short.is_drive_trap() {
        let text = format!(
            "`{}` is a Windows drive to docker compose, not a volume: give the volume a name of two \
             letters or more",
            shown(text)
        );
        cx.warn_spot(spot, path.to_owned(), Level::Trap, text);
    }
    for option in &short.unknown {
        let text = format!("`{}` is not an option and has no effect", shown(option));
        cx.warn_spot(spot, path.to_owned(), Level::Trap, text);
    }
}

fn all_ports(node: &mut Node, path: Path<'_>, reading: Reading, cx: &mut Context<'_>) {
    let Some(items) = node.as_list() else { return };
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        let text = match &item.value {
            Value::Map(_) | Value::List(_) => {
                found.push(item.clone());
                continue;
            }
            Value::Scalar(scalar) => port_text(item, scalar),
        };
        if let Value::Scalar(scalar) = &item.value
            && let Plain::Float(_) = scalar.meaning()
        {
            cx.wrong(item.spot, path, "a port is a whole number");
            continue;
        }
        match ports::parse(&text) {
            Ok(ports) => found.extend(ports.iter().map(|port| long_port(port, item.spot))),
            Err(_) if reading == Reading::Lenient => return,
            Err(problem) => {
                let error = cx.invalid(item.spot, path, problem);
                cx.push(error.hint("write it as [[address:]host:]container[/udp]"));
            }
        }
    }
    *node = Node {
        spot: node.spot,
        tag: node.tag,
        value: Value::List(found),
    };
}

fn port_text(item: &Node, scalar: &Scalar) -> String {
    match scalar.style {
        Style::Plain => sprint(item),
        Style::Quoted | Style::Substituted => scalar.text.to_string(),
    }
}

fn long_port(port: &ports::Port, spot: Spot) -> Node {
    let mut entries = vec![default_entry("mode", Node::text(spot, "ingress"))];
    if !port.address.is_empty() {
        entries.push(text_entry("host_ip", &port.address, spot));
    }
    let target = Node::plain(spot, &port.target.to_string());
    entries.push(Entry::new("target", target));
    if !port.published.is_empty() {
        entries.push(text_entry("published", &port.published, spot));
    }
    entries.push(text_entry("protocol", &port.protocol, spot));
    Node::map(spot, entries)
}

/// `external: {name: …}`, as it was written once.
fn external(node: &mut Node, path: Path<'_>, cx: &mut Context<'_>) {
    let Some(external) = node.get("external") else {
        return;
    };
    if external.as_map().is_none() {
        return;
    }
    let spot = external.spot;
    let called = external.get("name").cloned();
    let own = node.get("name").cloned();
    node.set("external", Node::plain(spot, "true"));
    let Some(called) = called else { return };
    let text = "`external.name` is the old way: write `name` and `external: true`";
    cx.warn_spot(spot, path.to_owned(), Level::Note, text);
    match own {
        Some(own) if own.as_text() != called.as_text() => {
            cx.wrong(spot, path, "`name` and `external.name` differ");
        }
        Some(_) => {}
        None => node.set("name", called),
    }
}

/// Takes empty items out of the lists where docker compose does.
pub(super) fn drop_empty(root: &mut Node) {
    let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else {
        return;
    };
    for entry in services {
        if let Some(items) = entry.value.get_mut("dns").and_then(Node::as_list_mut) {
            items.retain(|item| !item.is_null() && item.as_text() != Some(""));
        }
    }
}
