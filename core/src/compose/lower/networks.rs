//! The networks of the stack.

use crate::name::{NetworkName, StackName};
use crate::spec::{Network, Stack, default_network};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;
use super::environment::labels;

/// Reads `networks`.
pub(super) fn lower(at: &At<'_>, stack: &mut Stack, cx: &mut Context<'_>) {
    for entry in at.map(cx) {
        let name = match NetworkName::parse(entry.name()) {
            Ok(name) => name,
            Err(error) => {
                cx.error(&entry, error.to_string());
                continue;
            }
        };
        let network = if entry.node.is_null() {
            Network::default()
        } else {
            network(&entry, &stack.name, cx)
        };
        // The default network needs no description that says nothing.
        if name != default_network() || network != Network::default() {
            stack.networks.insert(name, network);
        }
    }
}

fn network(entry: &At<'_>, stack: &StackName, cx: &mut Context<'_>) -> Network {
    let mut network = Network::default();
    for field in entry.map(cx) {
        match field.name() {
            "internal" => network.internal = field.boolean(cx).unwrap_or_default(),
            "labels" => network.labels = labels(&field, cx),
            "ipam" => ipam(&field, &mut network, cx),
            "external" => external(&field, cx),
            "driver" => driver(&field, cx),
            "name" => {
                let usual = format!("{stack}_{}", entry.name());
                let is_usual = field.text(cx).is_some_and(|name| name == usual);
                if !is_usual && entry.get("external").is_none() {
                    let text = "the network is called by its stack and key";
                    cx.warn(&field, Level::Ignored, text);
                }
            }
            "driver_opts" => cx.warn(&field, Level::Ignored, "the options have no effect"),
            "attachable" => cx.warn(&field, Level::Note, "has no effect outside of a swarm"),
            "enable_ipv4" | "enable_ipv6" => family(&field, cx),
            _ => {}
        }
    }
    network
}

fn external(field: &At<'_>, cx: &mut Context<'_>) {
    cx.unsupported(
        field,
        "networks outside of the stack cannot be joined",
        "reach services of other stacks with `links` under `x-unmoor:`",
    );
}

fn driver(field: &At<'_>, cx: &mut Context<'_>) {
    let Some(text) = field.text(cx) else { return };
    match text.as_str() {
        "bridge" | "default" | "" => {}
        other => {
            let text = format!("the driver `{}` is not used: it is a bridge", shown(other));
            cx.warn(field, Level::Ignored, text);
        }
    }
}

fn family(field: &At<'_>, cx: &mut Context<'_>) {
    let wanted = field.boolean(cx);
    match (field.name(), wanted) {
        ("enable_ipv6", Some(true)) => {
            cx.warn(field, Level::Ignored, "the network has IPv4 addresses only");
        }
        ("enable_ipv4", Some(false)) => {
            cx.warn(field, Level::Ignored, "the network has IPv4 addresses");
        }
        _ => {}
    }
}

fn ipam(field: &At<'_>, network: &mut Network, cx: &mut Context<'_>) {
    if field.node.is_null() {
        return;
    }
    for part in field.map(cx) {
        match part.name() {
            "config" => {
                for item in part.list(cx) {
                    subnet(&item, network, cx);
                }
            }
            "driver" => {
                let driver = part.text(cx);
                if driver.is_some_and(|driver| driver != "default" && !driver.is_empty()) {
                    cx.warn(&part, Level::Ignored, "addresses are given by the backend");
                }
            }
            _ => {}
        }
    }
}

fn subnet(item: &At<'_>, network: &mut Network, cx: &mut Context<'_>) {
    for part in item.map(cx) {
        if part.name() != "subnet" {
            let text = "addresses within the subnet are chosen by the backend";
            cx.warn(&part, Level::Ignored, text);
            continue;
        }
        let Some(text) = part.text(cx) else { continue };
        match prefix(&text) {
            Some(Family::V4) if network.subnet.is_none() => network.subnet = Some(text),
            Some(Family::V4) => {
                cx.warn(&part, Level::Ignored, "only the first subnet is used");
            }
            Some(Family::V6) => {
                cx.warn(&part, Level::Ignored, "the network has IPv4 addresses only");
            }
            None => {
                let text = format!("`{}` is not a subnet", shown(&text));
                cx.error_hint(&part, text, "write it as 10.5.0.0/24");
            }
        }
    }
}

enum Family {
    V4,
    V6,
}

fn prefix(text: &str) -> Option<Family> {
    let (address, length) = text.split_once('/')?;
    let length: u8 = length.parse().ok()?;
    match address.parse().ok()? {
        std::net::IpAddr::V4(_) => (length <= 32).then_some(Family::V4),
        std::net::IpAddr::V6(_) => (length <= 128).then_some(Family::V6),
    }
}
