//! `extends`: a service starts from another one, of this file or a further one.

use std::path::Path;
use std::sync::Arc;

use super::assemble::{Depth, Frame, documents, layer, read_present};
use super::context::{Context, Extended};
use super::cursor::At;
use super::gotext::{join, parent, relative};
use super::resets::Resets;
use super::text::shown;
use super::tree::{Node, Value};
use super::{merge, normal};

/// Longest chain of services that extend each other.
const MAX_CHAIN: usize = 32;

/// One step of a chain: the file, and the service that extends.
type Step = (String, Arc<str>);

/// Replaces `extends` in every service by what it stands for.
pub(super) fn resolve(root: &mut Node, frame: &Frame, resets: &Resets, cx: &mut Context<'_>) {
    let Some(services) = root.get("services") else {
        return;
    };
    let extending = services
        .as_map()
        .unwrap_or_default()
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.value.get("extends").is_some());
    let mut merged = Vec::new();
    for (index, entry) in extending {
        let mut chain = Vec::new();
        let own = &entry.value;
        let found = service(services, &entry.key, own, frame, resets, &mut chain, cx);
        merged.push((index, found));
    }
    let Some(entries) = root.get_mut("services").and_then(Node::as_map_mut) else {
        return;
    };
    for (index, found) in merged {
        match found {
            Some(found) => entries[index].value = found,
            None => {
                entries[index].value.take("extends");
                cx.unextended.insert(entries[index].key.to_string());
            }
        }
    }
}

/// The service with everything it extends.
#[allow(clippy::too_many_arguments)]
fn service(
    services: &Node,
    name: &Arc<str>,
    own: &Node,
    frame: &Frame,
    resets: &Resets,
    chain: &mut Vec<Step>,
    cx: &mut Context<'_>,
) -> Option<Node> {
    let mut own = own.clone();
    let Some(extends) = own.take("extends") else {
        return Some(own);
    };
    let path = format!("services.{}.extends", shown(name));
    let at = At::named(&extends, &path);
    let (target, file) = wanted(&at, cx)?;
    let target: Arc<str> = target.into();
    let step = (file.clone().unwrap_or_default(), Arc::clone(name));
    let itself = file.is_none() && *target == **name;
    if itself || chain.contains(&step) || chain.len() > MAX_CHAIN {
        let text = match itself {
            true => "a service cannot extend itself",
            false => "services extend each other in a circle or a very long chain",
        };
        cx.error(&at, text);
        return None;
    }
    chain.push(step);
    let mut base = match file {
        None => {
            let base = from(services, &target, &at, cx)?;
            service(services, &target, base, frame, resets, chain, cx)?
        }
        Some(file) => {
            let opened = opened(&file, &at, frame, cx)?;
            let base = from(&opened.services, &target, &at, cx)?;
            let (services, resets) = (&opened.services, &opened.resets);
            service(services, &target, base, frame, resets, chain, cx)?
        }
    };
    if base.is_null() {
        return Some(own);
    }
    resets.apply_to_service(name, &mut base);
    Some(merge::service(base, own, name, cx))
}

fn from<'n>(
    services: &'n Node,
    target: &str,
    at: &At<'_>,
    cx: &mut Context<'_>,
) -> Option<&'n Node> {
    let found = services.get(target);
    if found.is_none() {
        cx.error(at, format!("there is no service `{}`", shown(target)));
    }
    found
}

/// The services of a further file in their long form, their paths put onto where it lies.
fn opened(file: &str, at: &At<'_>, frame: &Frame, cx: &mut Context<'_>) -> Option<Arc<Extended>> {
    let path = match file.starts_with('/') {
        true => file.to_owned(),
        false => join(&frame.loader, file),
    };
    let key = (path.clone(), frame.loader.clone());
    if let Some(known) = cx.extended.get(&key) {
        return known.clone();
    }
    // Said once; whoever extends it too finds nothing.
    cx.extended.insert(key.clone(), None);
    let text = read_present(at, Path::new(&path), cx)?;
    let number = cx.add_file(&path, Path::new(&frame.loader), &frame.scope);
    let directory = parent(&path);
    let inner = Frame {
        loader: directory.clone(),
        working: relative(&frame.loader, &directory),
        ..frame.clone()
    };
    let mut root = Node::map(at.spot(), Vec::new());
    let mut resets = Resets::default();
    for document in documents(number, &text, cx)? {
        (root, resets) = layer(root, document, &inner, Depth::Bare, cx);
    }
    normal::paths(&mut root, &inner.working, cx);
    let Some(services) = root.take("services") else {
        cx.error(at, format!("{} has no `services`", shown(file)));
        return None;
    };
    let opened = Some(Arc::new(Extended { services, resets }));
    cx.extended.insert(key, opened.clone());
    opened
}

/// The service and file that `extends` names.
fn wanted(at: &At<'_>, cx: &mut Context<'_>) -> Option<(String, Option<String>)> {
    if !matches!(at.node.value, Value::Map(_)) {
        return Some((at.text(cx)?, None));
    }
    let Some(service) = at.get("service") else {
        cx.error(at, "needs `service`");
        return None;
    };
    let service = service.text(cx)?;
    let file = match at.get("file").filter(|file| !file.node.is_null()) {
        Some(file) => Some(file.text(cx)?),
        None => None,
    };
    Some((service, file))
}
