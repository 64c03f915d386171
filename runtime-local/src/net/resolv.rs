//! Resolver files: the host's is read, a replica's is made.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::NetError;
use crate::wire::nft_client::RESOLVER;

/// What a resolver file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Resolvers {
    /// The servers, in order.
    pub(crate) servers: Vec<SocketAddr>,
    /// Domains tried behind short names.
    pub(crate) search: Vec<String>,
}

/// Reads the host's resolvers; a host without the file has none.
///
/// Loopback servers are kept: they are asked from the host's own network namespace.
pub(crate) fn host_resolvers() -> Result<Resolvers, NetError> {
    let path = Path::new("/etc/resolv.conf");
    match fs::read(path) {
        Ok(bytes) => Ok(parse(&String::from_utf8_lossy(&bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Resolvers::default()),
        Err(error) => Err(NetError::file("read", path)(error)),
    }
}

fn parse(text: &str) -> Resolvers {
    /// As many as other programs on the host would use.
    const MOST: usize = 3;
    let mut found = Resolvers::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") if found.servers.len() < MOST => {
                found.servers.extend(words.next().and_then(server));
            }
            Some("search" | "domain") => found.search = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    found
}

/// An address, perhaps with the interface behind it by number (`fe80::1%2`).
fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, 53));
    }
    format!("[{text}]:53").parse().ok()
}

/// The text of a replica's `/etc/resolv.conf`.
///
/// `options` are added to ours; a later option of the same name wins.
pub(crate) fn replica_resolv_conf(search: &[String], options: &[String]) -> String {
    let mut text = format!("nameserver {RESOLVER}\n");
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    text.push_str("options ndots:0 timeout:5 attempts:2");
    for option in options {
        text.push(' ');
        text.push_str(option);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_is_read_as_others_read_it() {
        let text = "# nameserver 9.9.9.9\nsearch a.example b.example\n\
            nameserver 127.0.0.53\nnameserver nonsense\n  nameserver   fe80::1%2\n\
            nameserver 2001:db8::1\nnameserver 192.0.2.4\n";
        let found = parse(text);
        let servers = ["127.0.0.53:53", "[fe80::1%2]:53", "[2001:db8::1]:53"];
        assert_eq!(found.servers, servers.map(|server| server.parse().unwrap()));
        assert_eq!(found.search, ["a.example", "b.example"]);
        assert_eq!(parse(""), Resolvers::default());
    }

    #[test]
    fn a_replica_asks_its_shim() {
        let text = replica_resolv_conf(&["shop".to_owned()], &["ndots:1".to_owned()]);
        let expected = "nameserver 127.0.0.11\nsearch shop\n\
            options ndots:0 timeout:5 attempts:2 ndots:1\n";
        assert_eq!(text, expected);
    }
}
