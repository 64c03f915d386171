//! The merged tree becomes a [`Stack`]; one file for each area of the format.

mod blobs;
mod command;
mod deploy;
mod dns;
mod environment;
mod health;
mod image;
mod limits;
mod logging;
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

use std::collections::HashSet;

use crate::spec::Stack;

use super::Level;
use super::assemble::Assembled;
use super::context::Context;
use super::cursor::At;
use super::tree::{Node, Tag};

/// Reads the whole description.
pub(super) fn stack(assembled: &Assembled, cx: &mut Context<'_>) -> Stack {
    let root = At::root(&assembled.root);
    let mut stack = Stack::new(assembled.name.clone());
    let fields = root.map(cx);
    cx.given_addresses = given_addresses(&assembled.root);
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

/// Addresses that services are to have on their networks.
fn given_addresses(root: &Node) -> HashSet<String> {
    fn values<'n>(node: &'n Node, key: &str) -> impl Iterator<Item = &'n Node> + use<'n> {
        let entries = node.get(key).and_then(Node::as_map);
        entries.unwrap_or_default().iter().map(|entry| &entry.value)
    }
    let networks = values(root, "services").flat_map(|one| values(one, "networks"));
    let keys = ["ipv4_address", "ipv6_address"];
    let given = networks.flat_map(|one| keys.map(|key| one.get(key).and_then(Node::as_text)));
    given.flatten().map(str::to_owned).collect()
}
