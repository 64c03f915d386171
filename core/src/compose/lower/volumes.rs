//! The volumes of the stack.

use std::path::PathBuf;

use crate::name::VolumeName;
use crate::spec::{Stack, Volume};

use super::super::Level;
use super::super::assemble::path_of;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;
use super::super::tree::Node;
use super::environment::labels;

const VOLUME: [&str; 5] = ["name", "driver", "driver_opts", "external", "labels"];

/// Reads `volumes`.
pub(super) fn lower(at: &At<'_>, stack: &mut Stack, cx: &mut Context<'_>) {
    for entry in at.map(cx) {
        let name = match VolumeName::parse(entry.name()) {
            Ok(name) => name,
            Err(error) => {
                cx.error(&entry, error.to_string());
                continue;
            }
        };
        if let Some(path) = bound(&entry, cx) {
            cx.bound.insert(name, path);
            continue;
        }
        let volume = if entry.node.is_null() {
            Volume::default()
        } else {
            volume(&entry, cx)
        };
        stack.volumes.insert(name, volume);
    }
}

/// The directory that a volume of the local driver is bound to: `o: bind`.
fn bound(entry: &At<'_>, cx: &mut Context<'_>) -> Option<PathBuf> {
    let options = entry.get("driver_opts")?;
    let option = |key: &str| options.node.get(key).and_then(Node::as_text);
    let is_bind = option("o")?
        .split(',')
        .any(|word| word == "bind" || word == "rbind");
    let device = options.get("device").filter(|_| is_bind)?;
    let path = path_of(&device, device.node.as_text()?, cx)?;
    let text = "is bound as it is: nothing of the image is copied into it";
    cx.warn(&options, Level::Ignored, text);
    Some(path)
}

fn volume(entry: &At<'_>, cx: &mut Context<'_>) -> Volume {
    let mut volume = Volume::default();
    let mut name = entry.get("name").and_then(|field| field.text(cx));
    let mut external = false;
    for field in entry.fields(cx, &VOLUME) {
        match field.name() {
            "labels" => volume.labels = labels(&field, cx),
            "name" => {}
            "external" => external = is_external(&field, &mut name, cx),
            "driver" => driver(&field, cx),
            _ => options(&field, cx),
        }
    }
    if external {
        volume.external = Some(name.unwrap_or_else(|| entry.name().to_owned()));
    } else if let Some(field) = entry.get("name") {
        let text = "the volume is called by its stack and key";
        cx.warn(&field, Level::Ignored, text);
    }
    volume
}

/// `external: true`, or the old form that holds the name.
pub(super) fn is_external(field: &At<'_>, name: &mut Option<String>, cx: &mut Context<'_>) -> bool {
    if field.node.as_map().is_none() {
        return field.boolean(cx).unwrap_or_default();
    }
    for part in field.fields(cx, &["name"]) {
        let inner = part.text(cx);
        if name.is_some() && inner.is_some() && *name != inner {
            cx.error_hint(
                &part,
                "`name` stands there twice",
                "use `name` and `external: true`",
            );
        }
        *name = inner.or(name.take());
    }
    true
}

fn driver(field: &At<'_>, cx: &mut Context<'_>) {
    let driver = field.text(cx);
    if let Some(driver) = driver.filter(|driver| driver != "local" && !driver.is_empty()) {
        let text = format!("the volume driver `{}` is not available", shown(&driver));
        cx.unsupported(field, &text, "use a volume of the node, or a bind");
    }
}

fn options(field: &At<'_>, cx: &mut Context<'_>) {
    if field.node.is_null() || field.map(cx).is_empty() {
        return;
    }
    cx.unsupported(
        field,
        "options of volume drivers are not honoured: the data would be elsewhere",
        "mount the file system on the node and bind it",
    );
}
