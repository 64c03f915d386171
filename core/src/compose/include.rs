//! `include`: further files become part of the stack, each with its own paths and variables.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::assemble::{Frame, documents, model, read, read_present};
use super::context::Context;
use super::cursor::At;
use super::dotenv;
use super::gotext::{join, parent, relative};
use super::interpolate::Scope;
use super::normal::fingerprint;
use super::text::{shown, shown_path};
use super::tree::{Entry, Node, Value};

/// Deepest chain of files that include each other.
const MAX_TRAIL: usize = 32;
/// What an included file brings along.
const RESOURCES: [&str; 6] = [
    "services", "volumes", "networks", "secrets", "configs", "models",
];

/// One item of `include`.
struct Wanted {
    paths: Vec<String>,
    /// Where the included files' paths start, absolute, and from here.
    directory: String,
    way: String,
    env_files: Vec<String>,
}

/// Brings in what the file includes.
pub(super) fn resolve(root: &mut Node, frame: &Frame, cx: &mut Context<'_>) {
    let Some(include) = root.take("include").filter(|node| !node.is_null()) else {
        return;
    };
    let at = At::named(&include, "include");
    for item in at.list(cx) {
        let Some(wanted) = wanted(&item, frame, cx) else {
            continue;
        };
        if let Some(included) = included(&item, &wanted, frame, cx) {
            adopt(root, included, &item, cx);
        }
    }
}

fn wanted(item: &At<'_>, frame: &Frame, cx: &mut Context<'_>) -> Option<Wanted> {
    let absolute = |path: &str| match path.starts_with('/') {
        true => path.to_owned(),
        false => join(&frame.loader, path),
    };
    let mut paths = Vec::new();
    let mut given = None;
    let mut env_files = Vec::new();
    if item.node.as_map().is_none() {
        paths.push(absolute(&item.text(cx)?));
    } else {
        for field in item.fields(cx, &["path", "project_directory", "env_file"]) {
            match field.name() {
                "path" => {
                    paths = texts(&field, cx)
                        .iter()
                        .map(|path| absolute(path))
                        .collect()
                }
                "project_directory" => given = field.text(cx).filter(|text| !text.is_empty()),
                _ => {
                    env_files = texts(&field, cx)
                        .iter()
                        .map(|path| absolute(path))
                        .collect()
                }
            }
        }
    }
    let Some(first) = paths.first() else {
        // An empty list of files is no mistake for docker compose.
        if item.node.get("path").is_none() {
            cx.error(item, "needs `path`");
        }
        return None;
    };
    let (directory, way) = match given {
        None => (parent(first), relative(&frame.loader, &parent(first))),
        Some(given) if given.starts_with('/') => (given.clone(), given),
        Some(given) => (
            join(&frame.loader, &given),
            relative(&frame.loader, &join(&frame.loader, &given)),
        ),
    };
    Some(Wanted {
        paths,
        directory,
        way,
        env_files,
    })
}

fn texts(field: &At<'_>, cx: &mut Context<'_>) -> Vec<String> {
    let items = field.one_or_many(cx);
    items.iter().filter_map(|item| item.text(cx)).collect()
}

fn included(item: &At<'_>, wanted: &Wanted, frame: &Frame, cx: &mut Context<'_>) -> Option<Node> {
    if frame.trail.contains(&wanted.paths[0]) || frame.trail.len() > MAX_TRAIL {
        cx.error(item, "files include each other in a circle");
        return None;
    }
    let scope = scope(item, wanted, &frame.scope, cx)?;
    let inner = Frame {
        loader: wanted.directory.clone(),
        working: wanted.way.clone(),
        scope: Arc::clone(&scope),
        trail: frame.trail.clone(),
    };
    let mut files = Vec::new();
    for path in &wanted.paths {
        let text = read_present(item, Path::new(path), cx)?;
        let number = cx.add_file(path, Path::new(&wanted.directory), &scope);
        files.push((path.clone(), documents(number, &text, cx)?));
    }
    model(files, &inner, cx)
}

/// The variables that the included files see: ours, then those of their own `.env`.
fn scope(item: &At<'_>, wanted: &Wanted, ours: &Scope, cx: &mut Context<'_>) -> Option<Scope> {
    let default = [join(&wanted.directory, ".env")];
    let (files, required) = match wanted.env_files.as_slice() {
        [] => (default.as_slice(), false),
        files => (files, true),
    };
    let mut more: BTreeMap<String, String> = BTreeMap::new();
    for path in files.iter().filter(|path| *path != "/dev/null") {
        let path = Path::new(path);
        let Some(text) = read(item, path, cx)? else {
            if required {
                cx.error(item, format!("there is no file {}", shown_path(path)));
            }
            continue;
        };
        let outside = |name: &str| ours.get(name).or_else(|| more.get(name)).cloned();
        match dotenv::parse(&text, &outside) {
            Ok(found) => more.extend(found),
            Err(error) => {
                let text = format!("{}:{}: {error}", shown_path(path), error.line);
                cx.error(item, text);
            }
        }
    }
    if more.is_empty() {
        return Some(Arc::clone(ours));
    }
    more.extend(
        ours.iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    Some(Arc::new(more))
}

/// Takes over the resources; one that is described twice must be described alike.
fn adopt(root: &mut Node, mut included: Node, item: &At<'_>, cx: &mut Context<'_>) {
    for kind in RESOURCES {
        let Some(section) = included.take(kind) else {
            continue;
        };
        let spot = section.spot;
        let Value::Map(entries) = section.value else {
            continue;
        };
        if root.get(kind).is_none_or(Node::is_null) {
            root.set(kind, Node::map(spot, Vec::new()));
        }
        let Some(ours) = root.get_mut(kind).and_then(Node::as_map_mut) else {
            continue;
        };
        for entry in entries {
            match ours.iter().find(|own| own.key == entry.key) {
                None => ours.push(entry),
                Some(own) => conflict(own, &entry, kind, item, cx),
            }
        }
    }
}

fn conflict(own: &Entry, theirs: &Entry, kind: &str, item: &At<'_>, cx: &mut Context<'_>) {
    if fingerprint(&own.value) == fingerprint(&theirs.value) {
        return;
    }
    let text = format!("is described otherwise at {}", cx.place(theirs.spot));
    let subject = format!("{kind}.{}", shown(&own.key));
    let error = cx.invalid(own.spot, &subject, text);
    let place = cx.place(item.spot());
    let hint = format!(
        "what {}:{} includes can be changed by a file given with a further -f, or by a second path of the include",
        place.file, place.line
    );
    cx.push(error.hint(hint));
}
