//! The volumes of the stack.

use std::path::PathBuf;

use crate::name::{StackName, VolumeName};
use crate::spec::{Stack, Volume};

use super::super::Level;
use super::super::assemble::path_of;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;
use super::super::tree::Node;
use super::environment::labels;

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
            volume(&entry, &stack.name, cx)
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

fn volume(entry: &At<'_>, stack: &StackName, cx: &mut Context<'_>) -> Volume {
    let mut volume = Volume::default();
    for field in entry.map(cx) {
        match field.name() {
            "labels" => volume.labels = labels(&field, cx),
            "name" => {
                let name = field.text(cx);
                if entry.node.get("external").is_some() {
                    volume.external = name;
                } else if name.is_some_and(|name| name != format!("{stack}_{}", entry.name())) {
                    let text = "the volume is called by its stack and key";
                    cx.warn(&field, Level::Ignored, text);
                }
            }
            "driver" => driver(&field, cx),
            "driver_opts" => options(&field, cx),
            _ => {}
        }
    }
    volume
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
