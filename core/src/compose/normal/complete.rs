//! The whole model, completed: the default network, names of resources, dependencies that other
//! keys imply, and the values of variables that stand without one.

use super::super::gotext::{clean, sprint};
use super::super::tree::{Entry, Node, Spot, Value};
use super::settle::is_true;

/// Looks a variable up.
type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// Completes the model of the stack called `name`.
pub(super) fn complete(root: &mut Node, name: &str, lookup: Lookup<'_>) {
    root.set("name", Node::text(root.spot, name));
    networks(root);
    let services = root.get_mut("services").and_then(Node::as_map_mut);
    for entry in services.into_iter().flatten() {
        service(&mut entry.value, entry.spot, lookup);
    }
    for kind in ["networks", "volumes", "configs", "secrets"] {
        let resources = root.get_mut(kind).and_then(Node::as_map_mut);
        for entry in resources.into_iter().flatten() {
            named(entry, name);
        }
    }
}

fn default_network(spot: Spot) -> Node {
    let entry = Entry::new("default", Node::null(spot).filled());
    Node::map(spot, vec![entry]).filled()
}

fn networks(root: &mut Node) {
    let mut used = None;
    let services = root.get_mut("services").and_then(Node::as_map_mut);
    for entry in services.into_iter().flatten() {
        let service = &mut entry.value;
        if service.as_map().is_none()
            || ["provider", "network_mode"]
                .iter()
                .any(|key| service.get(key).is_some())
        {
            continue;
        }
        let is_empty = |node: &Node| node.as_map().is_none_or(<[Entry]>::is_empty);
        match service.get("networks") {
            Some(networks) if !is_empty(networks) => {
                if networks.get("default").is_some() {
                    used = used.or(Some(entry.spot));
                }
            }
            _ => {
                service.set("networks", default_network(entry.spot));
                used = used.or(Some(entry.spot));
            }
        }
    }
    let Some(spot) = used else { return };
    if root.get("networks").is_none_or(Node::is_null) {
        root.set("networks", Node::map(spot, Vec::new()));
    }
    if let Some(networks) = root.get_mut("networks")
        && networks.as_map().is_some()
        && networks.get("default").is_none()
    {
        networks.set("default", Node::null(spot).filled());
    }
}

fn service(service: &mut Node, spot: Spot, lookup: Lookup<'_>) {
    if service.as_map().is_none() {
        return;
    }
    if let Some(policy) = service.get_mut("pull_policy")
        && policy.as_text() == Some("if_not_present")
    {
        *policy = Node::text(policy.spot, "missing");
    }
    if let Some(build) = service.get_mut("build")
        && build.as_map().is_some()
    {
        self::build(build, lookup);
    }
    if let Some(environment) = service.get_mut("environment") {
        resolve(environment, lookup, true);
    }
    let volumes = service.get_mut("volumes").and_then(Node::as_list_mut);
    for mount in volumes.into_iter().flatten() {
        if let Some(target) = mount.get_mut("target")
            && let Some(text) = target.as_text()
        {
            *target = Node {
                tag: target.tag,
                ..Node::text(target.spot, &clean(text))
            };
        }
    }
    let implied = implied(service);
    if implied.is_empty() {
        return;
    }
    if service.get("depends_on").is_none_or(Node::is_null) {
        service.set("depends_on", Node::map(spot, Vec::new()));
    }
    let Some(known) = service.get_mut("depends_on") else {
        return;
    };
    for (name, at, restart) in implied {
        if known.as_map().is_some() && known.get(&name).is_none() {
            known.set(&name, dependency(at, restart));
        }
    }
}

fn dependency(spot: Spot, restart: bool) -> Node {
    let entries = [
        ("condition", Node::text(spot, "service_started")),
        ("restart", Node::plain(spot, &restart.to_string())),
        ("required", Node::plain(spot, "true")),
    ];
    let entries = entries.map(|(key, node)| Entry::new(key, node.filled()));
    Node::map(spot, entries.into()).filled()
}

/// The services that other keys make this one depend on, and whether it restarts with them.
fn implied(service: &Node) -> Vec<(String, Spot, bool)> {
    let mut found: Vec<(String, Spot, bool)> = Vec::new();
    for link in service
        .get("links")
        .and_then(Node::as_list)
        .unwrap_or_default()
    {
        let Some(text) = link.as_text() else { continue };
        let parts: Vec<&str> = text.split(':').collect();
        let target = if parts.len() == 2 { parts[0] } else { text };
        found.push((target.to_owned(), link.spot, true));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let Some(value) = service.get(key) else {
            continue;
        };
        if let Some(target) = value.as_text().and_then(|t| t.strip_prefix("service:")) {
            found.push((target.to_owned(), value.spot, true));
        }
    }
    let others = service.get("volumes_from").and_then(Node::as_list);
    for other in others.unwrap_or_default() {
        let Some(text) = other.as_text() else {
            continue;
        };
        if !text.starts_with("container:") {
            let target = text.split(':').next().unwrap_or(text);
            found.push((target.to_owned(), other.spot, false));
        }
    }
    found
}

fn build(build: &mut Node, lookup: Lookup<'_>) {
    let spot = build.spot;
    let missing = |build: &Node, key: &str| build.get(key).is_none_or(Node::is_null);
    if missing(build, "context") {
        build.set("context", Node::text(spot, ".").filled());
    }
    if missing(build, "dockerfile") && missing(build, "dockerfile_inline") {
        build.set("dockerfile", Node::text(spot, "Dockerfile").filled());
    }
    if let Some(args) = build.get_mut("args") {
        resolve(args, lookup, false);
    }
}

/// Puts values to names that stand without one; `keep` says whether one without any stays.
fn resolve(node: &mut Node, lookup: Lookup<'_>, keep: bool) {
    match &mut node.value {
        Value::Map(entries) => entries.retain_mut(|entry| {
            if !entry.value.is_null() {
                return true;
            }
            match lookup(&entry.key) {
                Some(value) => {
                    entry.value = Node::text(entry.spot, &value);
                    true
                }
                None => keep,
            }
        }),
        Value::List(items) => {
            items.retain_mut(|item| {
                let text = sprint(item);
                if text.contains('=') {
                    return true;
                }
                match lookup(&text) {
                    Some(value) => {
                        *item = Node::text(item.spot, &format!("{text}={value}"));
                        true
                    }
                    None => keep,
                }
            });
            if items.is_empty() {
                *node = Node::null(node.spot);
            }
        }
        Value::Scalar(_) => {}
    }
}

/// Gives a resource the name that the platform knows it by.
fn named(entry: &mut Entry, stack: &str) {
    if entry.value.is_null() {
        let tag = entry.value.tag;
        entry.value = Node {
            tag,
            ..Node::map(entry.spot, Vec::new())
        };
    }
    if entry.value.as_map().is_none() || entry.value.get("name").is_some_and(|n| !n.is_null()) {
        return;
    }
    let name = match entry.value.get("external").is_some_and(is_true) {
        true => entry.key.to_string(),
        false => format!("{stack}_{}", entry.key),
    };
    entry
        .value
        .set("name", Node::text(entry.spot, &name).filled());
}
