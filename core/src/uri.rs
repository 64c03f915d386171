//! Connection URIs: `scheme[+transport]://authority/path?key=value`, or `scheme:` alone.
//!
//! ```text
//! uri       = scheme [ "+" transport ] ":" [ "//" hosts ] [ path ] [ "?" pair *( "&" pair ) ]
//! hosts     = host [ ":" port ] *( "," host [ ":" port ] )
//! pair      = key "=" value            ; keys, values, hosts and path are percent-encoded
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// A parsed connection URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    text: String,
    /// Which backend, as `local`.
    pub scheme: String,
    /// How to reach it, as `tls` in `etcd+tls://…`.
    pub transport: Option<String>,
    /// Hosts with ports.
    pub hosts: Vec<(String, Option<u16>)>,
    /// Path with its leading slash; empty if there is none.
    pub path: String,
    /// Settings.
    pub query: BTreeMap<String, String>,
}

impl Uri {
    /// Reads a URI.
    ///
    /// # Errors
    /// `InvalidSpec` with the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            let shown: String = text
                .chars()
                .take(80)
                .flat_map(char::escape_default)
                .collect();
            Error::new(
                ErrorKind::InvalidSpec,
                format!("`{shown}` is not a backend URI: {why}"),
            )
            .hint("write it as `local:` or `scheme://host/path?key=value`")
        };
        let (head, rest) = text
            .split_once(':')
            .ok_or_else(|| bad("there is no `scheme:`"))?;
        let (scheme, transport) = match head.split_once('+') {
            Some((scheme, transport)) => (scheme, Some(transport)),
            None => (head, None),
        };
        if !is_word(scheme) || transport.is_some_and(|word| !is_word(word)) {
            return Err(bad("a scheme has lower-case letters, digits and `-` only"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match rest.strip_prefix("//") {
            Some(after) => match after.find('/') {
                Some(at) => after.split_at(at),
                None => (after, ""),
            },
            None => ("", rest),
        };
        let decode = |part: &str| percent_decode(part).ok_or_else(|| bad("wrong percent-encoding"));
        let mut hosts = Vec::new();
        for host in authority.split(',').filter(|host| !host.is_empty()) {
            hosts.push(parse_host(host).ok_or_else(|| bad("a host is malformed"))?);
        }
        let mut settings = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| bad("settings are key=value"))?;
            if settings.insert(decode(key)?, decode(value)?).is_some() {
                return Err(bad("a setting is given twice"));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            scheme: scheme.to_owned(),
            transport: transport.map(str::to_owned),
            hosts,
            path: decode(path)?,
            query: settings,
        })
    }

    /// Refuses settings that the backend does not know.
    ///
    /// # Errors
    /// `InvalidSpec` naming the first unknown one and those that exist.
    pub fn allow_settings(&self, known: &[&str]) -> Result<()> {
        match self.query.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(Error::new(
                ErrorKind::InvalidSpec,
                format!(
                    "`{}` has no setting `{}`",
                    self.scheme,
                    key.escape_default()
                ),
            )
            .hint(format!("its settings are: {}", known.join(", ")))),
        }
    }
}

fn is_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) && text.bytes().all(plain)
}

fn parse_host(text: &str) -> Option<(String, Option<u16>)> {
    if let Some(v6) = text.strip_prefix('[') {
        let (address, tail) = v6.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        let port = match tail {
            "" => None,
            _ => Some(tail.strip_prefix(':')?.parse().ok()?),
        };
        return Some((address.to_owned(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    let host = percent_decode(host)?;
    (!host.is_empty() && !host.contains(char::is_whitespace)).then_some((host, port))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out)
        .ok()
        .filter(|text| !text.contains('\0'))
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Uri {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_forms_parse() {
        let local = Uri::parse("local:").expect("scheme alone");
        assert_eq!((local.scheme.as_str(), local.path.as_str()), ("local", ""));
        let path = Uri::parse("local:///var/lib/x%20y?userns=host").expect("path");
        assert_eq!(path.path, "/var/lib/x y");
        assert_eq!(path.query["userns"], "host");
        let etcd = Uri::parse("etcd+tls://h1:2379,h2:2379/fleet").expect("hosts");
        assert_eq!(
            etcd.hosts,
            [("h1".to_owned(), Some(2379)), ("h2".to_owned(), Some(2379))]
        );
        assert_eq!(etcd.transport.as_deref(), Some("tls"));
        let v6 = Uri::parse("nomad://[::1]:4646/ns").expect("v6");
        assert_eq!(v6.hosts, [("::1".to_owned(), Some(4646))]);
    }

    #[test]
    fn malformed_uris_say_why() {
        for bad in [
            "",
            "local",
            "Local:",
            "a+:",
            "x://h:99999/",
            "x:?a",
            "x:?a=1&a=2",
            "x:%zz",
            "x://[::1/",
        ] {
            let error = Uri::parse(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::InvalidSpec);
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        let uri = Uri::parse("local:?rot=/x").expect("parses");
        let error = uri.allow_settings(&["root"]).expect_err("unknown setting");
        assert_eq!(error.hint_text(), Some("its settings are: root"));
    }
}
