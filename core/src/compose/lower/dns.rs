//! `dns`, `dns_search`, `dns_opt`: who is asked for names that the stack does not have.

use std::net::IpAddr;

use crate::spec::{NetworkMode, Service};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;

const KEYS: [&str; 3] = ["dns", "dns_search", "dns_opt"];

/// Reads them; what is said about networks is read before.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    for key in KEYS {
        let Some(field) = at.get(key).filter(|field| !field.node.is_null()) else {
            continue;
        };
        if service.network_mode != NetworkMode::Networks {
            let text = "has no effect without networks of the stack";
            cx.warn(&field, Level::Ignored, text);
            continue;
        }
        for item in field.one_or_many(cx) {
            match key {
                "dns" => service.dns.servers.extend(server(&item, cx)),
                "dns_search" => service.dns.search.extend(word(&item, cx)),
                _ => service.dns.options.extend(word(&item, cx)),
            }
        }
    }
}

fn server(item: &At<'_>, cx: &mut Context<'_>) -> Option<IpAddr> {
    let text = item.text(cx)?;
    if cx.given_addresses.contains(&text) {
        let text = "is to be the address of a service, and addresses are chosen: it is not asked";
        cx.warn(item, Level::Ignored, text);
        return None;
    }
    let address = text.parse().ok();
    if address.is_none() {
        cx.error(item, format!("`{}` is not an IP address", shown(&text)));
    }
    address
}

/// One word of a line of the resolver's file.
fn word(item: &At<'_>, cx: &mut Context<'_>) -> Option<String> {
    let text = item.text(cx)?;
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        cx.error(item, format!("`{}` is not one word", shown(&text)));
        return None;
    }
    Some(text)
}
