//! `environment`, `env_file`, `labels`, `label_file`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::spec::Service;

use super::super::Level;
use super::super::assemble::{path_of, read};
use super::super::context::Context;
use super::super::cursor::At;
use super::super::dotenv;
use super::super::text::{shown, shown_path};
use super::super::tree::Value;

/// How the lines of a file of variables are read.
#[derive(Clone, Copy)]
enum Format {
    /// With quotes, comments and variables.
    Usual,
    /// As they are.
    Raw,
}

/// Names with values; `None` is a name without one.
type Pairs = BTreeMap<String, Option<String>>;

/// Reads variables and labels.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let own = at.get("environment").map(|field| resolved(&field, cx));
    let own = own.unwrap_or_default();
    if let Some(field) = at.get("env_file") {
        service.environment = files(&field, &own, cx);
    }
    for (name, value) in own {
        match value {
            Some(value) => service.environment.insert(name, value),
            // Not set outside either: not set inside, whatever a file says.
            None => service.environment.remove(&name),
        };
    }
    if let Some(field) = at.get("label_file") {
        service.labels = label_files(&field, cx);
    }
    if let Some(field) = at.get("labels") {
        service.labels.extend(labels(&field, cx));
    }
}

/// Variables, those without a value taken from outside.
fn resolved(field: &At<'_>, cx: &mut Context<'_>) -> Pairs {
    let mut found = pairs(field, cx);
    for (name, value) in &mut found {
        if value.is_none() {
            *value = cx.variable(field.node.spot, name);
        }
    }
    found
}

/// A mapping, or a list of `NAME=value`.
pub(super) fn pairs(field: &At<'_>, cx: &mut Context<'_>) -> Pairs {
    let mut found = Pairs::new();
    if let Value::List(_) = field.node.value {
        for item in field.list(cx) {
            let Some(text) = item.text(cx) else { continue };
            match text.split_once('=') {
                Some((name, value)) => found.insert(name.to_owned(), Some(value.to_owned())),
                None => found.insert(text, None),
            };
        }
        return found;
    }
    for entry in field.map(cx) {
        if entry.node.kind() == "a date" {
            let text = "looks like a date and is taken as text; put it in quotes";
            cx.warn(&entry, Level::Trap, text);
        }
        if let Some(value) = entry.loose(cx) {
            found.insert(entry.name().to_owned(), value);
        }
    }
    found
}

/// Labels: a name without a value has an empty one.
pub(super) fn labels(field: &At<'_>, cx: &mut Context<'_>) -> BTreeMap<String, String> {
    let pairs = pairs(field, cx).into_iter();
    pairs
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect()
}

/// The variables of all `env_file`s; later files win.
fn files(field: &At<'_>, own: &Pairs, cx: &mut Context<'_>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for item in entries(field, cx) {
        found.extend(file(&item, own, cx));
    }
    found
}

/// The items of `env_file`: one path or mapping, or a list of them.
fn entries<'a>(field: &'a At<'a>, cx: &mut Context<'_>) -> Vec<At<'a>> {
    match field.node.value {
        Value::Map(_) => vec![*field],
        _ => field.one_or_many(cx),
    }
}

fn file(item: &At<'_>, own: &Pairs, cx: &mut Context<'_>) -> BTreeMap<String, String> {
    let mut path = None;
    let mut required = true;
    let mut format = Format::Usual;
    if item.node.as_map().is_none() {
        path = item.text(cx);
    } else {
        for field in item.fields(cx, &["path", "required", "format"]) {
            match field.name() {
                "path" => path = field.text(cx),
                "required" => required = field.boolean(cx).unwrap_or(true),
                _ => format = format_of(&field, cx),
            }
        }
        if item.get("path").is_none() {
            cx.error(item, "needs `path`");
        }
    }
    let Some(path) = path else {
        return BTreeMap::new();
    };
    let Some((path, text)) = content(item, &path, required, cx) else {
        return BTreeMap::new();
    };
    variables(item, (&path, &text), format, own, cx)
}

fn format_of(field: &At<'_>, cx: &mut Context<'_>) -> Format {
    match field.text(cx).as_deref() {
        Some("raw") => Format::Raw,
        None | Some("") => Format::Usual,
        Some(other) => {
            let text = format!("`{}` is no format of variable files", shown(other));
            cx.error_hint(field, text, "the only one is raw");
            Format::Usual
        }
    }
}

/// The path made absolute, and the text there.
fn content(
    item: &At<'_>,
    path: &str,
    required: bool,
    cx: &mut Context<'_>,
) -> Option<(PathBuf, String)> {
    let path = path_of(item, path, cx)?;
    match read(item, &path, cx)? {
        Some(text) => Some((path, text)),
        None if required => {
            let text = format!("there is no file {}", shown_path(&path));
            cx.error_hint(item, text, "`required: false` allows it to be missing");
            None
        }
        None => None,
    }
}

fn variables(
    item: &At<'_>,
    (path, text): (&Path, &str),
    format: Format,
    own: &Pairs,
    cx: &mut Context<'_>,
) -> BTreeMap<String, String> {
    let spot = item.node.spot;
    let outside = |name: &str| {
        let set = cx.variable(spot, name);
        set.or_else(|| own.get(name).cloned().flatten())
    };
    let parsed = match format {
        Format::Raw => dotenv::parse_raw(text, &outside),
        Format::Usual => dotenv::parse(text, &outside),
    };
    parsed.unwrap_or_else(|error| {
        let text = format!("{}:{}: {error}", shown_path(path), error.line);
        cx.error(item, text);
        BTreeMap::new()
    })
}

fn label_files(field: &At<'_>, cx: &mut Context<'_>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for item in field.one_or_many(cx) {
        let Some(path) = item.text(cx) else { continue };
        if let Some((path, text)) = content(&item, &path, true, cx) {
            let more = variables(&item, (&path, &text), Format::Usual, &Pairs::new(), cx);
            found.extend(more);
        }
    }
    found
}
