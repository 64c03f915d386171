//! The document as a whole: what is not active or not used leaves it, what does not fit together
//! is refused, and files of variables are read.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::context::Context;
use super::super::interpolate::Scope;
use super::super::text::shown;
use super::super::tree::{Entry, Node, Spot, Value};
use super::{consistent, env_files};

/// Finishes the typed document.
pub(super) fn finish(root: &mut Node, scope: &Scope, cx: &mut Context<'_>) {
    let disabled = disable(root, cx);
    if cx.form.consistency {
        let before = cx.error_count();
        consistent::check(root, &disabled, cx);
        cx.inconsistencies = cx.error_count() - before;
        scale(root);
    }
    env_files::resolve(root, scope, cx);
    select(root, cx);
    if !cx.options.all_resources {
        prune(root);
    }
    if cx.form.consistency && !cx.is_for_stack {
        consistent::container_names(root, cx);
    }
}

/// `scale` is said again where `deploy` stands.
fn scale(root: &mut Node) {
    let services = root.get_mut("services").and_then(Node::as_map_mut);
    for entry in services.into_iter().flatten() {
        let Some(scale) = entry.value.get("scale").cloned() else {
            continue;
        };
        let Some(deploy) = entry.value.get_mut("deploy") else {
            continue;
        };
        deploy.take("replicas");
        if let Some(entries) = deploy.as_map_mut() {
            // Where the format's order has it: behind `mode`.
            let at = usize::from(entries.first().is_some_and(|e| &*e.key == "mode"));
            entries.insert(at, Entry::new("replicas", scale));
        }
    }
}

/// True if one of a service's profiles is active.
fn is_active(service: &Node, active: &HashSet<String>) -> bool {
    let profiles = profiles(service);
    profiles.is_empty()
        || active.contains("*")
        || profiles.iter().any(|profile| active.contains(profile))
}

/// The profiles that are active: what was asked for, and those of services that were named
/// although none of their profiles was.
fn active(services: &[Entry], cx: &Context<'_>) -> HashSet<String> {
    let asked: HashSet<String> = cx.options.profiles.iter().cloned().collect();
    let named = cx.options.services.iter().chain(&cx.options.only);
    let named: HashSet<&str> = named.map(String::as_str).collect();
    let further = services
        .iter()
        .filter(|entry| named.contains(&*entry.key) && !is_active(&entry.value, &asked))
        .flat_map(|entry| profiles(&entry.value))
        .collect::<Vec<_>>();
    asked.into_iter().chain(further).collect()
}

/// The services of a document without an active profile.
pub(in super::super) fn inactive(root: &Node, cx: &Context<'_>) -> BTreeSet<String> {
    let services = root.get("services").and_then(Node::as_map);
    let services = services.unwrap_or_default();
    let wanted = active(services, cx);
    let idle = services
        .iter()
        .filter(|entry| !is_active(&entry.value, &wanted));
    idle.map(|entry| entry.key.to_string()).collect()
}

/// Takes services without an active profile out; gives their names.
fn disable(root: &mut Node, cx: &mut Context<'_>) -> HashSet<String> {
    let mut disabled = HashSet::new();
    let services = root.get_mut("services").and_then(Node::as_map_mut);
    let Some(services) = services else {
        return disabled;
    };
    let wanted = active(services, cx);
    services.retain(|entry| {
        let active = is_active(&entry.value, &wanted);
        if !active {
            disabled.insert(entry.key.to_string());
            let named = profiles(&entry.value);
            cx.inactive.insert(entry.key.to_string(), named);
        }
        active
    });
    disabled
}

/// The profiles a service names.
pub(in super::super) fn profiles(service: &Node) -> Vec<String> {
    let list = service.get("profiles").and_then(Node::as_list);
    let texts = list.unwrap_or_default().iter().filter_map(Node::as_text);
    texts.map(str::to_owned).collect()
}

/// Keeps the services that were asked for, and what they need.
fn select(root: &mut Node, cx: &mut Context<'_>) {
    if cx.options.only.is_empty() {
        return;
    }
    let services = root.get("services").and_then(Node::as_map);
    let services = services.unwrap_or_default();
    let by_name: HashMap<&str, &Entry> = services.iter().map(|e| (&*e.key, e)).collect();
    let mut kept: HashSet<String> = HashSet::new();
    let mut open: Vec<String> = cx.options.only.clone();
    for name in &cx.options.only {
        if !by_name.contains_key(name.as_str()) {
            let text = format!("there is no service `{}`", shown(name));
            cx.push(crate::Error::new(crate::ErrorKind::NotFound, text));
        }
    }
    while let Some(name) = open.pop() {
        let Some(entry) = by_name.get(name.as_str()) else {
            continue;
        };
        if kept.insert(name) {
            let needed = entry.value.get("depends_on").and_then(Node::as_map);
            open.extend(needed.unwrap_or_default().iter().map(|e| e.key.to_string()));
        }
    }
    if let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) {
        services.retain(|entry| kept.contains(&*entry.key));
    }
}

/// Leaves out what no service uses.
fn prune(root: &mut Node) {
    let mut used: HashMap<&'static str, BTreeSet<String>> = HashMap::new();
    let services = root.get("services").and_then(Node::as_map);
    for Entry { value, .. } in services.unwrap_or_default() {
        for (section, key) in [("networks", "networks"), ("models", "models")] {
            let named = value.get(key).and_then(Node::as_map).unwrap_or_default();
            let names = named.iter().map(|entry| entry.key.to_string());
            used.entry(section).or_default().extend(names);
        }
        let volumes = mounted(value).map(|(name, _)| name);
        used.entry("volumes").or_default().extend(volumes);
        let build = value.get("build");
        let grants = [
            ("secrets", value.get("secrets")),
            ("configs", value.get("configs")),
            ("secrets", build.and_then(|build| build.get("secrets"))),
        ];
        for (section, list) in grants {
            let names = sources(list).map(|(name, _)| name);
            used.entry(section).or_default().extend(names);
        }
    }
    for section in ["networks", "volumes", "secrets", "configs", "models"] {
        let names = used.remove(section).unwrap_or_default();
        if let Some(entries) = root.get_mut(section).and_then(Node::as_map_mut) {
            entries.retain(|entry| names.contains(&*entry.key));
            if entries.is_empty() {
                root.take(section);
            }
        }
    }
}

/// The named volumes that a service mounts.
pub(super) fn mounted(service: &Node) -> impl Iterator<Item = (String, Spot)> {
    let list = service.get("volumes").and_then(Node::as_list);
    list.unwrap_or_default().iter().filter_map(|mount| {
        let is_volume = mount.get("type").and_then(Node::as_text) == Some("volume");
        let source = mount.get("source").filter(|_| is_volume)?;
        let name = source.as_text().filter(|name| !name.is_empty())?;
        Some((name.to_owned(), source.spot))
    })
}

/// The sources of a list of secrets or configs.
pub(super) fn sources(list: Option<&Node>) -> impl Iterator<Item = (String, Spot)> {
    let items = list.and_then(Node::as_list).unwrap_or_default();
    items.iter().map(|grant| match grant.get("source") {
        Some(source) => (source.as_text().unwrap_or_default().to_owned(), source.spot),
        None => (String::new(), grant.spot),
    })
}

/// A section of the top, by name.
pub(super) fn section<'n>(root: &'n Node, key: &str) -> HashMap<&'n str, &'n Node> {
    let entries = match root.get(key).map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|e| (&*e.key, &e.value)).collect()
}
