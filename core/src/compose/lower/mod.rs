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
mod short_volume;
mod unhonoured;
mod unmoor;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use crate::name::{BlobName, NetworkName, VolumeName};
use crate::spec::{BlobGrant, MountSource, Service, Stack, default_network};

use super::Level;
use super::assemble::Assembled;
use super::context::Context;
use super::cursor::At;

/// The keys at the top of a file; `include` is resolved before.
const TOP: [&str; 9] = [
    "version", "name", "include", "services", "networks", "volumes", "secrets", "configs", "models",
];

/// Reads the whole description.
pub(super) fn stack(assembled: &Assembled, cx: &mut Context<'_>) -> Stack {
    let root = At::root(&assembled.root);
    let mut stack = Stack::new(assembled.name.clone());
    let fields = root.fields(cx, &TOP);
    // Services ask what their volumes and networks are.
    for field in &fields {
        match field.name() {
            "version" => cx.warn(field, Level::Note, "is obsolete and has no effect"),
            "networks" => networks::lower(field, &mut stack, cx),
            "volumes" => volumes::lower(field, &mut stack, cx),
            "secrets" | "configs" => blobs::lower(field, &mut stack, cx),
            "models" => unhonoured::models(field, cx),
            _ => {}
        }
    }
    match fields.iter().find(|field| field.name() == "services") {
        Some(services) => service::lower(services, &mut stack, cx),
        None => cx.error(&root, "there is no `services`"),
    }
    if let Some(settings) = root.get("x-unmoor") {
        let text = "has no settings here; give them to services";
        cx.warn(&settings, Level::Ignored, text);
    }
    prune(&mut stack, cx);
    stack
}

/// Leaves out what no service uses, as docker compose does.
fn prune(stack: &mut Stack, cx: &mut Context<'_>) {
    let services = stack.services.values();
    let volumes: BTreeSet<VolumeName> = services
        .clone()
        .flat_map(|service| &service.mounts)
        .filter_map(|mount| match &mount.source {
            MountSource::Volume(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    let networks: BTreeSet<NetworkName> = services
        .clone()
        .flat_map(|service| service.networks.keys().cloned())
        .chain([default_network()])
        .collect();
    let names = |grants: fn(&Service) -> &Vec<BlobGrant>| -> BTreeSet<BlobName> {
        let grants = services.clone().flat_map(grants);
        grants.map(|grant| grant.name.clone()).collect()
    };
    let secrets = names(|service| &service.secrets);
    let configs = names(|service| &service.configs);
    keep("volumes", &mut stack.volumes, &volumes, cx);
    keep("networks", &mut stack.networks, &networks, cx);
    keep("secrets", &mut stack.secrets, &secrets, cx);
    keep("configs", &mut stack.configs, &configs, cx);
}

/// Keeps what is used, and forgets what was to be said about the rest.
fn keep<N: Ord + Display, T>(
    kind: &str,
    all: &mut BTreeMap<N, T>,
    used: &BTreeSet<N>,
    cx: &mut Context<'_>,
) {
    all.retain(|name, _| {
        let is_used = used.contains(name);
        if !is_used {
            cx.forget_about(kind, &name.to_string());
        }
        is_used
    });
}
