//! The files of a network's shared zone: who writes them, what is in them, how they are read.
//!
//! In a zone's folder the library writes `svc/<service>`, and each replica's shim writes
//! `ep/<replica>` while the replica is ready. A replica's private links are one file of its own.
//! All are lines of words, put in place by renaming a file whose name starts with a dot. Readers
//! take a file whole or not at all: what they do not understand is an error, never a guess.

use std::net::Ipv4Addr;

use super::netplan::Proto;

/// Largest zone file that is read.
pub const MAX_FILE: usize = 256 * 1024;

/// What a service's name resolves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// One address that stays, balanced over the ready replicas.
    #[default]
    Stable,
    /// The addresses of the ready replicas themselves.
    Replicas,
}

/// A port with a name, for SRV questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    /// Its name, without the underscore.
    pub name: String,
    /// TCP or UDP.
    pub proto: Proto,
    /// Its number.
    pub port: u16,
}

/// `svc/<service>`: a service on this network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceFile {
    /// The service's name.
    pub name: String,
    /// Its stable address; none when only the replicas' own addresses are answered.
    pub vip: Option<Ipv4Addr>,
    /// What its name resolves to.
    pub mode: Mode,
    /// Other names of it on this network.
    pub aliases: Vec<String>,
    /// Its named ports.
    pub ports: Vec<NamedPort>,
}

/// `ep/<replica>`: a replica that takes connections on this network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointFile {
    /// The replica's id.
    pub replica: String,
    /// The service it is a copy of.
    pub service: String,
    /// Where it answers.
    pub address: Option<Ipv4Addr>,
    /// Its share of new connections.
    pub weight: u32,
    /// The names it alone answers to; the first is what its address resolves to.
    pub names: Vec<String>,
}

/// One private link of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The name the replica uses.
    pub alias: String,
    /// The link's own stable address, so that a link can be pointed elsewhere under connections
    /// and caches that know only the address. None: the alias resolves as the service does.
    pub vip: Option<Ipv4Addr>,
    /// The network on which the service is reached; one that the replica is on.
    pub network: String,
    /// The service.
    pub service: String,
}

/// Why a zone file was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneError {
    /// The line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl core::fmt::Display for ZoneError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "zone file, line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ZoneError {}

/// True for what may be a name in a zone: labels of letters, digits, `-` and `_`.
pub fn is_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=253).contains(&text.len())
        && text
            .split('.')
            .all(|label| (1..=63).contains(&label.len()) && label.bytes().all(good))
}

/// True for what may be the name of a zone file: never hidden, never a path.
pub fn is_file_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=200).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(good)
}

const SERVICE: &str = "unmoor-service 1";
const ENDPOINT: &str = "unmoor-endpoint 1";
const LINKS: &str = "unmoor-links 1";

impl ServiceFile {
    /// The file's text.
    pub fn format(&self) -> String {
        let mut text = format!("{SERVICE}\nname {}\n", self.name);
        if let Some(vip) = self.vip {
            text.push_str(&format!("vip {vip}\n"));
        }
        if self.mode == Mode::Replicas {
            text.push_str("mode dnsrr\n");
        }
        for alias in &self.aliases {
            text.push_str(&format!("alias {alias}\n"));
        }
        for port in &self.ports {
            text.push_str(&format!(
                "port {} {} {}\n",
                port.name,
                port.proto.name(),
                port.port
            ));
        }
        text
    }

    /// Reads the file's text.
    pub fn parse(bytes: &[u8]) -> Result<Self, ZoneError> {
        let mut file = Self::default();
        for line in Lines::new(bytes, SERVICE)? {
            let line = line?;
            match line.words[..] {
                ["name", name] => file.name = line.name(name)?,
                ["vip", vip] => file.vip = Some(line.address(vip)?),
                ["mode", "vip"] => file.mode = Mode::Stable,
                ["mode", "dnsrr"] => file.mode = Mode::Replicas,
                ["alias", alias] => file.aliases.push(line.name(alias)?),
                ["port", name, proto, port] => file.ports.push(NamedPort {
                    name: line.name(name)?,
                    proto: Proto::from_name(proto).ok_or(line.error("not tcp or udp"))?,
                    port: port.parse().map_err(|_| line.error("not a port"))?,
                }),
                _ => return Err(line.error("unknown")),
            }
        }
        if file.name.is_empty() {
            return Err(ZoneError {
                line: 0,
                what: "no name",
            });
        }
        Ok(file)
    }
}

impl EndpointFile {
    /// The file's text.
    pub fn format(&self) -> String {
        let mut text = format!("{ENDPOINT}\nreplica {}\n", self.replica);
        text.push_str(&format!("service {}\n", self.service));
        if let Some(address) = self.address {
            text.push_str(&format!("address {address}\n"));
        }
        text.push_str(&format!("weight {}\n", self.weight));
        for name in &self.names {
            text.push_str(&format!("name {name}\n"));
        }
        text
    }

    /// Reads the file's text.
    pub fn parse(bytes: &[u8]) -> Result<Self, ZoneError> {
        let mut file = Self {
            weight: 1,
            ..Self::default()
        };
        for line in Lines::new(bytes, ENDPOINT)? {
            let line = line?;
            match line.words[..] {
                ["replica", id] if is_file_name(id) => file.replica = id.to_owned(),
                ["service", name] => file.service = line.name(name)?,
                ["address", address] => file.address = Some(line.address(address)?),
                ["weight", weight] => {
                    file.weight = weight.parse().map_err(|_| line.error("not a weight"))?;
                }
                ["name", name] => file.names.push(line.name(name)?),
                _ => return Err(line.error("unknown")),
            }
        }
        if file.replica.is_empty() || file.service.is_empty() || file.address.is_none() {
            return Err(ZoneError {
                line: 0,
                what: "replica, service or address is missing",
            });
        }
        Ok(file)
    }
}

impl Link {
    /// The text of a replica's file of links.
    pub fn format_all(links: &[Self]) -> String {
        let mut text = format!("{LINKS}\n");
        for link in links {
            let vip = link
                .vip
                .map_or_else(|| "-".to_owned(), |vip| vip.to_string());
            text.push_str(&format!(
                "link {} {vip} {} {}\n",
                link.alias, link.network, link.service
            ));
        }
        text
    }

    /// Reads a replica's file of links.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, ZoneError> {
        let mut links = Vec::new();
        for line in Lines::new(bytes, LINKS)? {
            let line = line?;
            let ["link", alias, vip, network, service] = line.words[..] else {
                return Err(line.error("unknown"));
            };
            if !is_file_name(network) {
                return Err(line.error("not the id of a network"));
            }
            links.push(Self {
                alias: line.name(alias)?,
                vip: if vip == "-" {
                    None
                } else {
                    Some(line.address(vip)?)
                },
                network: network.to_owned(),
                service: line.name(service)?,
            });
        }
        Ok(links)
    }
}

struct Line<'a> {
    number: usize,
    words: Vec<&'a str>,
}

impl Line<'_> {
    fn error(&self, what: &'static str) -> ZoneError {
        ZoneError {
            line: self.number,
            what,
        }
    }

    fn name(&self, text: &str) -> Result<String, ZoneError> {
        if is_name(text) {
            Ok(text.to_owned())
        } else {
            Err(self.error("not a name"))
        }
    }

    fn address(&self, text: &str) -> Result<Ipv4Addr, ZoneError> {
        text.parse().map_err(|_| self.error("not an address"))
    }
}

struct Lines<'a> {
    lines: core::iter::Enumerate<core::str::Lines<'a>>,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8], header: &str) -> Result<Self, ZoneError> {
        if bytes.len() > MAX_FILE {
            return Err(ZoneError {
                line: 0,
                what: "too long",
            });
        }
        let text = core::str::from_utf8(bytes).map_err(|_| ZoneError {
            line: 0,
            what: "not UTF-8",
        })?;
        // A file that was cut ends in the middle of a line.
        if !text.ends_with('\n') {
            return Err(ZoneError {
                line: 0,
                what: "cut short",
            });
        }
        let mut lines = text.lines().enumerate();
        match lines.next() {
            Some((_, first)) if first == header => Ok(Self { lines }),
            _ => Err(ZoneError {
                line: 1,
                what: "another kind or version of file",
            }),
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>, ZoneError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, text) = self.lines.next()?;
        let line = Line {
            number: number + 1,
            words: text.split(' ').collect(),
        };
        if line.words.len() > 8 {
            return Some(Err(line.error("too many words")));
        }
        Some(Ok(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> ServiceFile {
        ServiceFile {
            name: "web".into(),
            vip: Some(Ipv4Addr::new(10, 201, 0, 130)),
            mode: Mode::Replicas,
            aliases: vec!["www".into(), "www.shop".into()],
            ports: vec![NamedPort {
                name: "http".into(),
                proto: Proto::Tcp,
                port: 80,
            }],
        }
    }

    #[test]
    fn files_read_back() {
        let file = service();
        assert_eq!(ServiceFile::parse(file.format().as_bytes()), Ok(file));
        let file = EndpointFile {
            replica: "shop-web-1".into(),
            service: "web".into(),
            address: Some(Ipv4Addr::new(10, 201, 0, 2)),
            weight: 3,
            names: vec!["web-1".into(), "shop_web".into()],
        };
        assert_eq!(EndpointFile::parse(file.format().as_bytes()), Ok(file));
        let link = |vip| Link {
            alias: "db".into(),
            vip,
            network: "shop-default".into(),
            service: "postgres".into(),
        };
        let links = vec![link(None), link(Some(Ipv4Addr::new(10, 201, 0, 200)))];
        assert_eq!(
            Link::parse_all(Link::format_all(&links).as_bytes()),
            Ok(links)
        );
    }

    #[test]
    fn hostile_files_are_refused() {
        for bad in [
            &b""[..],
            b"unmoor-service 2\nname web\n",
            b"unmoor-service 1\nname web",
            b"unmoor-service 1\nname ../web\n",
            b"unmoor-service 1\nname w eb\n",
            b"unmoor-service 1\nname web\nvip 10.0.0.300\n",
            b"unmoor-service 1\nname web\nport http tcp 65536\n",
            b"unmoor-service 1\nname web\nalias \xff\n",
            b"unmoor-service 1\nname web\nsurprise\n",
            b"unmoor-service 1\n",
        ] {
            assert!(
                ServiceFile::parse(bad).is_err(),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
        let long = vec![b'a'; MAX_FILE + 1];
        assert!(ServiceFile::parse(&long).is_err());
        let name = "unmoor-service 1\nname ".to_owned() + &"a".repeat(64) + "\n";
        assert!(ServiceFile::parse(name.as_bytes()).is_err());
    }

    #[test]
    fn every_cut_is_refused_or_a_shorter_truth() {
        let text = service().format();
        for len in 0..text.len() {
            let Ok(file) = ServiceFile::parse(&text.as_bytes()[..len]) else {
                continue;
            };
            assert!(text.as_bytes()[len - 1] == b'\n');
            assert_eq!(file.name, "web");
        }
    }

    #[test]
    fn file_names_are_never_paths() {
        assert!(is_file_name("shop-web-1.a_B"));
        for bad in ["", ".", "..", ".hidden", "a/b", "a\0b", "a b"] {
            assert!(!is_file_name(bad), "{bad:?}");
        }
    }
}
