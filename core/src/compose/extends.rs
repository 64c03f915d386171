//! `extends`: a service starts from another one, of this file or a further one.

use std::path::PathBuf;
use std::sync::Arc;

use super::assemble::{Origin, open, path_of};
use super::context::Context;
use super::cursor::At;
use super::merge;
use super::text::shown;
use super::tree::Node;

/// Longest chain of services that extend each other.
const MAX_CHAIN: usize = 32;

/// Replaces `extends` in every service by what it stands for.
pub(super) fn resolve(root: &mut Node, origin: &Origin, cx: &mut Context<'_>) {
    let Some(services) = root.get("services").and_then(Node::as_map) else {
        return;
    };
    let extending: Vec<Arc<str>> = services
        .iter()
        .filter(|entry| entry.value.get("extends").is_some())
        .map(|entry| Arc::clone(&entry.key))
        .collect();
    for name in extending {
        let mut chain = Vec::new();
        let merged = service(root, &name, origin, &mut chain, cx);
        let slot = root.get_mut("services").and_then(|s| s.get_mut(&name));
        if let (Some(slot), Some(merged)) = (slot, merged) {
            *slot = merged;
        } else if let Some(slot) = root.get_mut("services").and_then(|s| s.get_mut(&name)) {
            slot.take("extends");
        }
    }
}

/// The service with everything it extends, from `root`.
fn service(
    root: &Node,
    name: &Arc<str>,
    origin: &Origin,
    chain: &mut Vec<String>,
    cx: &mut Context<'_>,
) -> Option<Node> {
    let mut own = root.get("services")?.get(name)?.clone();
    let Some(extends) = own.take("extends") else {
        return Some(own);
    };
    let path = format!("services.{}.extends", shown(name));
    let at = At::named(&extends, &path);
    let (target, file) = wanted(&at, cx)?;
    chain.push(format!("{} in {}", shown(name), cx.file_name(own.spot)));
    if chain.len() > MAX_CHAIN {
        cx.error(
            &at,
            "services extend each other in a circle or a very long chain",
        );
        return None;
    }
    let target: Arc<str> = target.into();
    let base = match file {
        None => {
            if *target == **name {
                cx.error(&at, "a service cannot extend itself");
                return None;
            }
            from_here(root, &target, &at, cx)?;
            service(root, &target, origin, chain, cx)?
        }
        Some(file) => from_file(&file, &target, &at, origin, chain, cx)?,
    };
    Some(merge::service(base, own, name, cx))
}

fn from_here(root: &Node, target: &str, at: &At<'_>, cx: &mut Context<'_>) -> Option<()> {
    let found = root
        .get("services")
        .and_then(|services| services.get(target));
    if found.is_none() {
        cx.error(at, format!("there is no service `{}`", shown(target)));
    }
    found.map(|_| ())
}

fn from_file(
    file: &str,
    target: &Arc<str>,
    at: &At<'_>,
    origin: &Origin,
    chain: &mut Vec<String>,
    cx: &mut Context<'_>,
) -> Option<Node> {
    let path = path_of(at, file, cx)?;
    let root = opened(path, at, origin, cx)?;
    from_here(&root, target, at, cx)?;
    let further = Origin {
        scope: Arc::clone(&origin.scope),
        trail: Vec::new(),
    };
    service(&root, target, &further, chain, cx)
}

/// The file's tree; read once, however many services extend something of it.
fn opened(path: PathBuf, at: &At<'_>, origin: &Origin, cx: &mut Context<'_>) -> Option<Node> {
    if let Some(known) = cx.extended.get(&path) {
        return known.clone();
    }
    let base = path.parent()?.to_owned();
    let root = open(at, &path, &base, &origin.scope, cx);
    cx.extended.insert(path, root.clone());
    root
}

/// The service and file that `extends` names.
fn wanted(at: &At<'_>, cx: &mut Context<'_>) -> Option<(String, Option<String>)> {
    if at.node.as_map().is_none() {
        return Some((at.text(cx)?, None));
    }
    let fields = at.fields(cx, &["service", "file"]);
    let mut target = None;
    let mut file = None;
    for field in &fields {
        match field.name() {
            "service" => target = field.text(cx),
            _ => file = Some(field.text(cx)?),
        }
    }
    if target.is_none() && !fields.iter().any(|field| field.name() == "service") {
        cx.error(at, "needs `service`");
    }
    Some((target?, file))
}
