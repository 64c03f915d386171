//! `ports` and `expose`.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use crate::name::PortName;
use crate::spec::{Exposed, PortRange, Protocol, Published, Service};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;

/// Reads what is published and what is exposed.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    if let Some(field) = at.get("ports") {
        // A range may be of all ports there are.
        let mut seen: HashSet<Published> = HashSet::new();
        for item in field.list(cx) {
            if let Some(port) = published(&item, cx)
                && seen.insert(port.clone())
            {
                let path = format!("{}[{}]", field.path(), service.ports.len());
                let place = cx.place(item.node.spot);
                cx.entries.push((path, place));
                service.ports.push(port);
            }
        }
    }
    if let Some(field) = at.get("expose") {
        let mut seen: BTreeSet<Exposed> = BTreeSet::new();
        for item in field.list(cx) {
            let text = item.number_text(cx);
            let found = text.and_then(|text| checked(&item, exposed(&text), cx));
            let new = found.unwrap_or_default().into_iter();
            service.expose.extend(new.filter(|port| seen.insert(*port)));
        }
    }
}

fn checked<T>(item: &At<'_>, result: Result<T, Problem>, cx: &mut Context<'_>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Problem::Wrong(text)) => {
            cx.error_hint(item, text, "write it as [[address:]host:]container[/udp]");
            None
        }
        Err(Problem::Sctp) => {
            cx.unsupported(item, "SCTP ports cannot be published", "");
            None
        }
    }
}

/// Why a port cannot be read.
#[derive(Debug, PartialEq)]
enum Problem {
    Wrong(String),
    Sctp,
}

fn wrong<T>(text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Wrong(text.into()))
}

fn ip(text: &str) -> Result<IpAddr, Problem> {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let parsed = inner.unwrap_or(text).parse();
    parsed.or_else(|_| wrong(format!("`{}` is not an IP address", shown(text))))
}

fn split_protocol(text: &str) -> Result<(&str, Protocol), Problem> {
    let Some((rest, protocol)) = text.split_once('/') else {
        return Ok((text, Protocol::Tcp));
    };
    protocol_of(protocol).map(|protocol| (rest, protocol))
}

fn protocol_of(text: &str) -> Result<Protocol, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Err(Problem::Sctp),
        _ => wrong(format!("`{}` is not a protocol", shown(text))),
    }
}

fn range(text: &str) -> Result<PortRange, Problem> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let port = digits.then(|| text.parse::<u16>().ok()).flatten();
        port.map_or_else(
            || wrong(format!("`{}` is not a port from 1 to 65535", shown(text))),
            Ok,
        )
    };
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return wrong(format!("the range {first}-{last} ends before it starts"));
    }
    Ok(PortRange { first, last })
}

fn exposed(text: &str) -> Result<Vec<Exposed>, Problem> {
    let (rest, protocol) = split_protocol(text)?;
    let ports = range(rest)?;
    Ok((ports.first..=ports.last)
        .map(|port| Exposed { port, protocol })
        .collect())
}

fn published(item: &At<'_>, cx: &mut Context<'_>) -> Option<Published> {
    let mut port = Published::tcp(0, 0);
    port.host_port = None;
    let mut valid = true;
    for field in item.map(cx) {
        let text = match field.name() {
            key if key.starts_with("x-") => continue,
            _ => field.number_text(cx),
        };
        let Some(text) = text else {
            valid = false;
            continue;
        };
        let result = match field.name() {
            "target" => range(&text).map(|range| port.target = range.first),
            "published" if text == "0" => Ok(()),
            "published" => range(&text).map(|range| port.host_port = Some(range)),
            "host_ip" => ip(&text).map(|ip| port.host_ip = Some(ip)),
            "protocol" => protocol_of(&text).map(|protocol| port.protocol = protocol),
            "mode" => mode(&field, &text, cx),
            "name" => {
                port.name = name(&field, &text, cx);
                Ok(())
            }
            _ => {
                cx.warn(&field, Level::Note, "describes the port and has no effect");
                Ok(())
            }
        };
        valid &= checked(&field, result, cx).is_some();
    }
    if valid && port.target == 0 {
        cx.error(item, "0 is not a port that can be published");
        return None;
    }
    valid.then_some(port)
}

/// The name of a port; one that no SRV question could have is as good as none.
fn name(field: &At<'_>, text: &str, cx: &mut Context<'_>) -> Option<PortName> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit());
    let name = PortName::parse(text.to_ascii_lowercase());
    match name {
        Ok(name) if !number => Some(name),
        _ => {
            let why = "is no name that an SRV record could have, and has no effect";
            cx.warn(field, Level::Note, why);
            None
        }
    }
}

fn mode(field: &At<'_>, text: &str, cx: &mut Context<'_>) -> Result<(), Problem> {
    match text {
        "ingress" => Ok(()),
        "host" => {
            cx.warn(field, Level::Note, "has no effect outside of a swarm");
            Ok(())
        }
        other => wrong(format!("`{}` is not a mode", shown(other))),
    }
}
