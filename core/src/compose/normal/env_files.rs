//! `env_file` and `label_file`: the files are read, and what they say joins what the service says.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::Level;
use super::super::assemble::read;
use super::super::context::{Context, not_set};
use super::super::cursor::At;
use super::super::dotenv;
use super::super::format;
use super::super::interpolate::Scope;
use super::super::text::{shown, shown_path};
use super::super::tree::{Entry, Node, Spot};

/// Names with values and where they were said.
type Found = BTreeMap<String, (String, Spot)>;

/// Reads the files of every service.
pub(super) fn resolve(root: &mut Node, scope: &Scope, cx: &mut Context<'_>) {
    let services = root.get_mut("services").and_then(Node::as_map_mut);
    for entry in services.into_iter().flatten() {
        let path = format!("services.{}", shown(&entry.key));
        if cx.form.environment {
            outside(&mut entry.value, scope);
            variables(&mut entry.value, &path, scope, cx);
        }
        labels(&mut entry.value, &path, cx);
    }
}

/// Variables without a value are taken from outside.
fn outside(service: &mut Node, scope: &Scope) {
    let own = service.get_mut("environment").and_then(Node::as_map_mut);
    for entry in own.into_iter().flatten() {
        if entry.value.is_null()
            && let Some(value) = scope.get(&*entry.key)
        {
            entry.value = Node::text(entry.spot, value);
        }
    }
}

fn variables(service: &mut Node, path: &str, scope: &Scope, cx: &mut Context<'_>) {
    let Some(files) = service.take("env_file") else {
        return;
    };
    let own: BTreeMap<String, Option<String>> = service
        .get("environment")
        .and_then(Node::as_map)
        .unwrap_or_default()
        .iter()
        .map(|entry| {
            (
                entry.key.to_string(),
                entry.value.as_text().map(str::to_owned),
            )
        })
        .collect();
    let path = format!("{path}.env_file");
    let mut found = Found::new();
    for item in files.as_list().unwrap_or_default() {
        let at = At::named(item, &path);
        let text_of = |key: &str| item.get(key).and_then(Node::as_text);
        let Some(file) = text_of("path") else {
            continue;
        };
        let required = item.get("required").is_none_or(Node::is_true);
        let Some(text) = content(&at, file, required, cx) else {
            continue;
        };
        let format = text_of("format").unwrap_or_default();
        let known = |name: &str| {
            let said = scope.get(name).cloned();
            said.or_else(|| own.get(name).cloned().flatten())
        };
        let before = |found: &Found| {
            let before = found.iter();
            before
                .map(|(name, (value, _))| (name.clone(), (value.clone(), 0)))
                .collect()
        };
        let mut unset = dotenv::Unset::new();
        let parsed = match format {
            "" | ".env" => dotenv::parse_onto(&text, &known, before(&found), &mut unset),
            "raw" => dotenv::parse_raw(&text, &known),
            other => {
                let text = format!("`{}` is no format of variable files", shown(other));
                cx.error_hint(&at, text, "the only one is raw");
                continue;
            }
        };
        join(&at, file, (parsed, unset), &mut found, cx);
    }
    put(service, "environment", found, files.spot);
}

fn labels(service: &mut Node, path: &str, cx: &mut Context<'_>) {
    let Some(files) = service.take("label_file") else {
        return;
    };
    let path = format!("{path}.label_file");
    let mut found = Found::new();
    for item in files.as_list().unwrap_or_default() {
        let at = At::named(item, &path);
        let Some(file) = item.as_text() else { continue };
        let Some(text) = content(&at, file, true, cx) else {
            continue;
        };
        let known = |name: &str| found.get(name).map(|(value, _)| value.clone());
        let mut unset = dotenv::Unset::new();
        let parsed = dotenv::parse_places(&text, &known, &mut unset);
        join(&at, file, (parsed, unset), &mut found, cx);
    }
    put(service, "labels", found, files.spot);
}

/// The text of a file; a missing one is an error if it is required.
fn content(at: &At<'_>, file: &str, required: bool, cx: &mut Context<'_>) -> Option<String> {
    if file.contains('\0') {
        cx.error(at, format!("`{}` is not a path", shown(file)));
        return None;
    }
    let path = cx.directory.join(file);
    let path = path.as_path();
    let text = read(at, path, cx)?;
    if text.is_none() && required {
        let text = format!("there is no file {}", shown_path(path));
        cx.error_hint(at, text, "`required: false` allows it to be missing");
    }
    text
}

/// Adds what a file says, each with its line there.
fn join(
    at: &At<'_>,
    file: &str,
    (parsed, unset): (Result<dotenv::Places, dotenv::DotenvError>, dotenv::Unset),
    found: &mut Found,
    cx: &mut Context<'_>,
) {
    match parsed {
        Ok(parsed) => {
            let number = cx.add_text_file(file);
            let spot = |line: usize| Spot {
                file: number,
                line: u32::try_from(line).unwrap_or(u32::MAX),
                column: 1,
            };
            // What stands at no line was said by an earlier file.
            for (name, (value, line)) in parsed.into_iter().filter(|(_, (_, line))| *line > 0) {
                found.insert(name, (value, spot(line)));
            }
            for (name, line) in unset {
                cx.warn_spot(spot(line), String::new(), Level::Trap, not_set(&name));
            }
        }
        Err(error) => {
            let path = shown_path(Path::new(file));
            cx.error(at, format!("{path}:{}: {error}", error.line));
        }
    }
}

/// Adds what was found to a mapping, where it does not say the same name itself.
fn put(service: &mut Node, key: &str, found: Found, spot: Spot) {
    if found.is_empty() {
        return;
    }
    if service.get(key).is_none()
        && let Some(entries) = service.as_map_mut()
    {
        // Where the format's order has it: fingerprints are made of the text.
        let before = format::service_keys().take_while(|known| *known != key);
        let before: Vec<&str> = before.collect();
        let at = entries
            .iter()
            .position(|entry| !before.contains(&&*entry.key));
        let entry = Entry::new(key, Node::map(spot, Vec::new()));
        entries.insert(at.unwrap_or(entries.len()), entry);
    }
    let Some(entries) = service.get_mut(key).and_then(Node::as_map_mut) else {
        return;
    };
    let mut all: BTreeMap<_, Entry> = found
        .into_iter()
        .map(|(name, (value, spot))| {
            let entry = Entry::new(&name, Node::text(spot, &value));
            (entry.key.clone(), entry)
        })
        .collect();
    for entry in std::mem::take(entries) {
        all.insert(entry.key.clone(), entry);
    }
    *entries = all.into_values().collect();
}
