//! A service's place in the network: `networks`, `network_mode`, `links`, `extra_hosts`.

use crate::name::{Alias, NetworkName, ServiceName};
use crate::spec::{Attachment, Link, LinkTarget, NetworkMode, Service, default_network};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;

/// Reads networks, mode, links and hosts.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    if let Some(field) = at.get("networks") {
        networks(&field, service, cx);
    }
    if let Some(field) = at.get("network_mode") {
        mode(&field, service, cx);
    }
    if service.network_mode == NetworkMode::Host
        && let Some(field) = at.get("ports")
        && !service.ports.is_empty()
    {
        let text = "nothing is published: the service listens on the node itself";
        cx.warn(&field, Level::Ignored, text);
    }
    let default = (default_network(), Attachment::default());
    if service.networks.iter().eq([(&default.0, &default.1)]) {
        // Said in one way only, so that equal stacks are equal.
        service.networks.clear();
    }
    if let Some(field) = at.get("links") {
        for item in field.list(cx) {
            let new = link(&item, cx).filter(|link| !service.links.contains(link));
            service.links.extend(new);
        }
    }
    if let Some(field) = at.get("extra_hosts") {
        hosts(&field, service, cx);
    }
}

fn networks(field: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    for entry in field.map(cx) {
        let name = match NetworkName::parse(entry.name()) {
            Ok(name) => name,
            Err(error) => {
                cx.error(&entry, error.to_string());
                continue;
            }
        };
        let attachment = if entry.node.is_null() {
            Attachment::default()
        } else {
            attachment(&entry, cx)
        };
        service.networks.insert(name, attachment);
    }
}

fn attachment(entry: &At<'_>, cx: &mut Context<'_>) -> Attachment {
    let mut attachment = Attachment::default();
    for field in entry.map(cx) {
        match field.name() {
            "aliases" => {
                for item in field.list(cx) {
                    let alias = item.parsed(cx, |text| Alias::parse(text));
                    let known = &attachment.aliases;
                    let new = alias.filter(|alias| !known.contains(alias));
                    attachment.aliases.extend(new);
                }
            }
            "ipv4_address" | "ipv6_address" => {
                let text = "the address is chosen, not fixed: reach the service by its name";
                cx.warn(&field, Level::Ignored, text);
            }
            "link_local_ips" => {
                cx.warn(&field, Level::Ignored, "the addresses are not added");
            }
            "mac_address" => cx.warn(&field, Level::Ignored, "the address is chosen"),
            "interface_name" => cx.warn(&field, Level::Ignored, "the interface's name is chosen"),
            "driver_opts" => cx.warn(&field, Level::Ignored, "the options have no effect"),
            "priority" | "gw_priority" => cx.warn(
                &field,
                Level::Ignored,
                "the order of the networks is chosen",
            ),
            _ => {}
        }
    }
    attachment
}

fn mode(field: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    let Some(text) = field.text(cx) else { return };
    match text.as_str() {
        "none" => service.network_mode = NetworkMode::None,
        "host" => service.network_mode = NetworkMode::Host,
        "bridge" => {
            let text = "the service is on the stack's default network instead";
            cx.warn(field, Level::Ignored, text);
            service
                .networks
                .insert(default_network(), Attachment::default());
        }
        "default" | "" => {}
        other if other.starts_with("service:") || other.starts_with("container:") => {
            cx.unsupported(
                field,
                "two services cannot share one network stack",
                "put both on one network; the other one answers to its name",
            );
        }
        other => {
            let text = format!("`{}` is not a mode that is known here", shown(other));
            cx.unsupported(field, &text, "use none, host, or `networks`");
        }
    }
}

/// `service[:alias]`.
fn link(item: &At<'_>, cx: &mut Context<'_>) -> Option<Link> {
    let text = item.text(cx)?;
    let (service, alias) = text.split_once(':').unwrap_or((&text, &text));
    let parsed = ServiceName::parse(service)
        .and_then(|service| Alias::parse(alias).map(|alias| (service, alias)));
    match parsed {
        Ok((service, alias)) => Some(Link {
            target: LinkTarget {
                stack: None,
                service,
            },
            alias,
            port: None,
        }),
        Err(error) => {
            cx.error_hint(item, error.to_string(), "write it as service[:alias]");
            None
        }
    }
}

fn hosts(field: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    for item in field.list(cx) {
        let Some(text) = item.text(cx) else { continue };
        if let Some((name, address)) = text.split_once('=') {
            host(&item, name, address, service, cx);
        }
    }
}

fn host(at: &At<'_>, name: &str, address: &str, service: &mut Service, cx: &mut Context<'_>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        cx.error(at, format!("`{}` is not a host name", shown(name)));
    } else if address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err() {
        let text = format!("`{}` is not an IP address", shown(address));
        cx.error_hint(at, text, "write an address, or host-gateway for the node");
    } else {
        let line = (name.to_owned(), address.to_owned());
        if !service.extra_hosts.contains(&line) {
            service.extra_hosts.push(line);
        }
    }
}
