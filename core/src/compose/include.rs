//! `include`: whole further files become part of this one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::assemble::{Origin, open, path_of, read, resolve as resolve_file};
use super::context::Context;
use super::cursor::At;
use super::interpolate::Scope;
use super::text::shown_path;
use super::tree::{Entry, Node, Value};
use super::{dotenv, merge};

/// Longest chain of files that include each other.
const MAX_CHAIN: usize = 16;
/// What an included file can bring.
const RESOURCES: [&str; 6] = [
    "services", "volumes", "networks", "secrets", "configs", "models",
];

/// Replaces `include` by what the files hold.
pub(super) fn resolve(root: &mut Node, origin: &Origin, cx: &mut Context<'_>) {
    let Some(list) = root.take("include") else {
        return;
    };
    let at = At::named(&list, "include");
    for item in at.list(cx) {
        if let Some(included) = one(&item, origin, cx) {
            adopt(root, included, cx);
        }
    }
}

/// What one entry of `include` asks for.
struct Wanted {
    paths: Vec<PathBuf>,
    directory: PathBuf,
    env_files: Option<Vec<PathBuf>>,
}

fn one(item: &At<'_>, origin: &Origin, cx: &mut Context<'_>) -> Option<Node> {
    let wanted = wanted(item, cx)?;
    let first = wanted.paths.first()?;
    if origin.trail.contains(first) || origin.trail.len() > MAX_CHAIN {
        cx.error(item, "the files include each other in a circle");
        return None;
    }
    let scope = scope(item, &wanted, &origin.scope, cx)?;
    let mut whole: Option<Node> = None;
    for path in &wanted.paths {
        let mut node = open(item, path, &wanted.directory, &scope, cx)?;
        let mut trail = origin.trail.clone();
        trail.push(path.clone());
        let further = Origin {
            scope: Arc::clone(&scope),
            trail,
        };
        resolve_file(&mut node, &further, cx);
        whole = Some(match whole {
            Some(base) => merge::files(base, node, cx),
            None => node,
        });
    }
    whole
}

fn wanted(item: &At<'_>, cx: &mut Context<'_>) -> Option<Wanted> {
    let mut paths = Vec::new();
    let mut directory = None;
    let mut env_files = None;
    if item.node.as_map().is_none() {
        paths.push(path_of(item, &item.text(cx)?, cx)?);
    } else {
        for field in item.fields(cx, &["path", "project_directory", "env_file"]) {
            match field.name() {
                "path" => paths = paths_of(&field, cx),
                "project_directory" => {
                    let text = field.text(cx)?;
                    directory = Some(path_of(&field, &text, cx)?);
                }
                _ => env_files = Some(paths_of(&field, cx)),
            }
        }
    }
    let Some(first) = paths.first() else {
        cx.error(item, "needs `path`");
        return None;
    };
    let directory = directory.or_else(|| Some(first.parent()?.to_owned()))?;
    Some(Wanted {
        paths,
        directory,
        env_files,
    })
}

fn paths_of(field: &At<'_>, cx: &mut Context<'_>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for item in field.one_or_many(cx) {
        let text = item.text(cx);
        paths.extend(text.and_then(|text| path_of(&item, &text, cx)));
    }
    paths
}

/// The variables that the included files see: ours, then those of their own `.env`.
fn scope(item: &At<'_>, wanted: &Wanted, ours: &Scope, cx: &mut Context<'_>) -> Option<Scope> {
    let default = [wanted.directory.join(".env")];
    let (files, required) = match &wanted.env_files {
        Some(files) => (files.as_slice(), true),
        None => (default.as_slice(), false),
    };
    let mut more = BTreeMap::new();
    for path in files.iter().filter(|path| *path != Path::new("/dev/null")) {
        let Some(text) = read(item, path, cx)? else {
            if required {
                cx.error(item, format!("there is no file {}", shown_path(path)));
            }
            continue;
        };
        match dotenv::parse(&text, &|name| ours.get(name).cloned()) {
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

/// Takes over the resources; where both have one, ours is merged onto the included one.
fn adopt(root: &mut Node, mut included: Node, cx: &mut Context<'_>) {
    for kind in RESOURCES {
        let Some(section) = included.take(kind) else {
            continue;
        };
        let spot = section.spot;
        let Value::Map(entries) = section.value else {
            continue;
        };
        if root.get(kind).is_none()
            && let Value::Map(top) = &mut root.value
        {
            top.push(Entry {
                key: kind.into(),
                spot,
                value: Node::new(spot, Value::Map(Vec::new())),
            });
        }
        let Some(Value::Map(ours)) = root.get_mut(kind).map(|node| &mut node.value) else {
            continue;
        };
        for entry in entries {
            match ours.iter_mut().find(|own| own.key == entry.key) {
                None => ours.push(entry),
                Some(own) => {
                    let path = [Arc::from(kind), Arc::clone(&own.key)];
                    own.value = merge::resource(entry.value, own.value.clone(), path, cx);
                }
            }
        }
    }
}
