//! The short form of ports: `[[address:]host[-end]:]container[-end][/protocol]`.

use std::net::IpAddr;

use super::super::text::shown;

/// One container port with where it is published.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub(super) target: u16,
    pub(super) protocol: String,
    pub(super) address: String,
    /// A port, a range of them, or nothing.
    pub(super) published: String,
}

/// Takes a short form apart; a range of container ports gives one for each, in the order of
/// their text, as docker compose has it.
pub(super) fn parse(text: &str) -> Result<Vec<Port>, String> {
    let (address, host, container) = split(text);
    let (protocol, container) = split_protocol(container);
    let address = checked_address(address)?;
    if container.is_empty() {
        return Err(format!("`{}` names no port of the container", shown(text)));
    }
    let (first, last) = range(container)?;
    let host = match host {
        "" => None,
        host => Some(range(host)?),
    };
    let spread = last - first;
    if let Some((low, high)) = host
        && high - low != spread
        && spread != 0
    {
        let text = format!(
            "the ranges {host} and {container} have different lengths",
            host = { shown(&format!("{low}-{high}")) }
        );
        return Err(text);
    }
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(format!("`{}` is not a protocol", shown(&protocol)));
    }
    let mut ports: Vec<Port> = (0..=spread)
        .map(|offset| Port {
            target: first + offset,
            protocol: protocol.clone(),
            address: address.clone(),
            published: match host {
                None => String::new(),
                Some((low, high)) if spread == 0 && low != high => format!("{low}-{high}"),
                Some((low, _)) => (low + offset).to_string(),
            },
        })
        .collect();
    ports.sort_by_key(|port| port.target.to_string());
    Ok(ports)
}

/// Address, host port and container port.
fn split(text: &str) -> (&str, &str, &str) {
    let Some((front, container)) = text.rsplit_once(':') else {
        return ("", "", text);
    };
    match front.rsplit_once(':') {
        Some((address, host)) => (address, host, container),
        None => ("", front, container),
    }
}

fn split_protocol(text: &str) -> (&str, &str) {
    let mut parts = text.split('/');
    let port = parts.next().unwrap_or_default();
    match parts.next() {
        _ if port.is_empty() => ("tcp", ""),
        None | Some("") => ("tcp", port),
        Some(protocol) => (protocol, port),
    }
}

/// An address, IPv6 in brackets; empty is every address.
fn checked_address(text: &str) -> Result<String, String> {
    let wrong = || {
        let said = shown(text);
        let inner = text.parse::<std::net::Ipv6Addr>();
        match inner {
            Ok(_) => format!("`{said}` is an IPv6 address and needs brackets: [{said}]"),
            Err(_) => format!("`{said}` is not an IP address"),
        }
    };
    let inner = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(wrong)?,
        None if text.contains(':') => return Err(wrong()),
        None => text,
    };
    if !inner.is_empty() && inner.parse::<IpAddr>().is_err() {
        return Err(wrong());
    }
    Ok(inner.to_owned())
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    let last = parts.next().unwrap_or(first);
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let port = digits.then(|| part.parse::<u16>().ok()).flatten();
        port.ok_or_else(|| format!("`{}` is not a port from 1 to 65535", shown(text)))
    };
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(format!("the range {first}-{last} ends before it starts"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        match parse(text) {
            Ok(ports) => ports
                .iter()
                .map(|p| format!("{}|{}>{}/{}", p.address, p.published, p.target, p.protocol))
                .collect::<Vec<_>>()
                .join(" "),
            Err(problem) => problem,
        }
    }

    #[test]
    fn short_forms() {
        for (text, ports) in [
            ("80", "|>80/tcp"),
            ("8080:80", "|8080>80/tcp"),
            ("22:22", "|22>22/tcp"),
            ("53:53/UDP", "|53>53/udp"),
            ("127.0.0.1::80", "127.0.0.1|>80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1|8080>80/tcp"),
            ("[::1]:80:80", "::1|80>80/tcp"),
            ("8000-8002:80", "|8000-8002>80/tcp"),
            ("8000-8001:80-81", "|8000>80/tcp |8001>81/tcp"),
            ("98-100", "|>100/tcp |>98/tcp |>99/tcp"),
            ("0:80", "|0>80/tcp"),
            ("080:080", "|80>80/tcp"),
            ("80/", "|>80/tcp"),
        ] {
            assert_eq!(printed(text), ports, "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "",
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
            "::1:80:80",
            ":",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
