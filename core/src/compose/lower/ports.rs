//! `ports` and `expose`, short and long.

use std::net::IpAddr;

use crate::spec::{Exposed, PortRange, Protocol, Published, Service};

use super::super::Level;
use super::super::context::Context;
use super::super::cursor::At;
use super::super::text::shown;
use super::super::tree::Value;

/// Reads what is published and what is exposed.
pub(super) fn lower(at: &At<'_>, service: &mut Service, cx: &mut Context<'_>) {
    if let Some(field) = at.get("ports") {
        for item in field.list(cx) {
            let found = match &item.node.value {
                Value::Map(_) => long(&item, cx),
                _ => item
                    .number_text(cx)
                    .and_then(|text| checked(&item, short(&text), cx)),
            };
            for port in found.unwrap_or_default() {
                if !service.ports.contains(&port) {
                    service.ports.push(port);
                }
            }
        }
    }
    if let Some(field) = at.get("expose") {
        for item in field.list(cx) {
            let text = item.number_text(cx);
            let found = text.and_then(|text| checked(&item, exposed(&text), cx));
            for port in found.unwrap_or_default() {
                if !service.expose.contains(&port) {
                    service.expose.push(port);
                }
            }
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

/// `[[address:]host[-end]:]container[-end][/protocol]`.
fn short(text: &str) -> Result<Vec<Published>, Problem> {
    let (rest, protocol) = split_protocol(text)?;
    let (address, host, container) = split(rest);
    let host_ip = address.filter(|a| !a.is_empty()).map(ip).transpose()?;
    let target = range(container)?;
    if target.first == 0 {
        return wrong("0 is not a port that can be published");
    }
    let host = match host {
        None | Some("" | "0") => None,
        Some(text) => Some(range(text)?),
    };
    let one = |target: u16, host_port: Option<PortRange>| Published {
        target,
        host_port,
        host_ip,
        protocol,
    };
    match host {
        // One container port on any of the host's range.
        Some(host) if target.count() == 1 => Ok(vec![one(target.first, Some(host))]),
        Some(host) if host.count() != target.count() => wrong(format!(
            "the ranges {host} and {target} have different lengths"
        )),
        Some(host) => Ok((host.first..=host.last)
            .zip(target.first..=target.last)
            .map(|(host, target)| one(target, Some(PortRange::one(host))))
            .collect()),
        None => Ok((target.first..=target.last)
            .map(|target| one(target, None))
            .collect()),
    }
}

/// Address, host port and container port; an IPv6 address may stand in brackets or bare.
fn split(text: &str) -> (Option<&str>, Option<&str>, &str) {
    let Some((front, container)) = text.rsplit_once(':') else {
        return (None, None, text);
    };
    match front.rsplit_once(':') {
        Some((address, host)) => (Some(address), Some(host), container),
        None => (None, Some(front), container),
    }
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

const LONG: [&str; 7] = [
    "name",
    "mode",
    "host_ip",
    "target",
    "published",
    "protocol",
    "app_protocol",
];

fn long(item: &At<'_>, cx: &mut Context<'_>) -> Option<Vec<Published>> {
    let mut port = Published::tcp(0, 0);
    port.host_port = None;
    let mut valid = true;
    for field in item.fields(cx, &LONG) {
        let text = field.number_text(cx);
        let Some(text) = text else {
            valid = false;
            continue;
        };
        let result = match field.name() {
            "target" => range(&text).map(|range| port.target = range.first),
            "published" if text.is_empty() || text == "0" => Ok(()),
            "published" => range(&text).map(|range| port.host_port = Some(range)),
            "host_ip" if text.is_empty() => Ok(()),
            "host_ip" => ip(&text).map(|ip| port.host_ip = Some(ip)),
            "protocol" => protocol_of(&text).map(|protocol| port.protocol = protocol),
            "mode" => mode(&field, &text, cx),
            _ => {
                cx.warn(&field, Level::Note, "describes the port and has no effect");
                Ok(())
            }
        };
        valid &= checked(&field, result, cx).is_some();
    }
    if item.get("target").is_none() {
        cx.error(item, "needs `target`");
        return None;
    }
    if valid && port.target == 0 {
        cx.error(item, "0 is not a port that can be published");
        return None;
    }
    valid.then(|| vec![port])
}

fn mode(field: &At<'_>, text: &str, cx: &mut Context<'_>) -> Result<(), Problem> {
    match text {
        "ingress" | "host" | "" => {
            cx.warn(field, Level::Note, "has no effect outside of a swarm");
            Ok(())
        }
        other => wrong(format!("`{}` is not a mode", shown(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        match short(text) {
            Ok(ports) => ports
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            Err(problem) => format!("{problem:?}"),
        }
    }

    #[test]
    fn short_forms() {
        for (text, ports) in [
            ("80", "80/tcp"),
            ("8080:80", "8080->80/tcp"),
            ("22:22", "22->22/tcp"),
            ("53:53/udp", "53->53/udp"),
            ("127.0.0.1::80", "127.0.0.1:80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080->80/tcp"),
            ("[::1]:80:80", "[::1]:80->80/tcp"),
            ("::1:80:80", "[::1]:80->80/tcp"),
            ("8000-8002:80", "8000-8002->80/tcp"),
            ("8000-8001:80-81", "8000->80/tcp 8001->81/tcp"),
            ("80-81", "80/tcp 81/tcp"),
            ("0:80", "80/tcp"),
        ] {
            assert_eq!(printed(text), ports, "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "",
            "0",
            "65536",
            "-1",
            "80-79",
            "80:",
            "a:b",
            "80:80/xyz",
            "1.2.3:80:80",
            "80-81:80-82",
            "1:2:3:4",
            "80.5",
            "+80",
        ] {
            assert!(matches!(short(text), Err(Problem::Wrong(_))), "{text}");
        }
        assert_eq!(short("80/sctp"), Err(Problem::Sctp));
    }
}
