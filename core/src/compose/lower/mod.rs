//! The merged tree becomes a [`Stack`]; one file for each area of the format.

mod blobs;
mod command;
mod deploy;
mod environment;
mod health;
mod image;
mod limits;
mod mounts;
mod network;
mod networks;
mod order;
mod ports;
mod security;
mod service;
mod unhonoured;
mod unmoor;
mod volumes;

use crate::spec::Stack;

use super::Level;
use super::assemble::Assembled;
use super::context::Context;
use super::cursor::At;
use super::tree::Tag;

/// Reads the whole description.
pub(super) fn stack(assembled: &Assembled, cx: &mut Context<'_>) -> Stack {
    let root = At::root(&assembled.root);
    let mut stack = Stack::new(assembled.name.clone());
    let fields = root.map(cx);
    // Services ask what their volumes and networks are.
    for field in &fields {
        match field.name() {
            "networks" => networks::lower(field, &mut stack, cx),
            "volumes" => volumes::lower(field, &mut stack, cx),
            "secrets" | "configs" => blobs::lower(field, &mut stack, cx),
            "models" => unhonoured::models(field, cx),
            _ => {}
        }
    }
    match fields.iter().find(|field| field.name() == "services") {
        Some(services) if services.node.tag != Tag::Default => {
            service::lower(services, &mut stack, cx)
        }
        _ => cx.error(&root, "there is no `services`"),
    }
    if let Some(settings) = root.get("x-unmoor") {
        let text = "has no settings here; give them to services";
        cx.warn(&settings, Level::Ignored, text);
    }
    stack
}
