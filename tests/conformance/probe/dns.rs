//! Names to addresses: the hosts file, then the name servers of `resolv.conf`, asked over UDP.
//!
//! The C library's own resolver loads shared objects, which a static program has not.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: usize = 2;

/// IPv4 addresses of a name, sorted; none if it does not resolve.
pub(crate) fn resolve(name: &str) -> Vec<Ipv4Addr> {
    if let Ok(address) = name.parse() {
        return vec![address];
    }
    let mut found = from_hosts(&fs::read_to_string("/etc/hosts").unwrap_or_default(), name);
    if found.is_empty() && name.eq_ignore_ascii_case("localhost") {
        found.push(Ipv4Addr::LOCALHOST);
    }
    if found.is_empty() {
        let settings = Settings::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        found = settings
            .candidates(name)
            .iter()
            .map(|full| settings.ask(full))
            .find(|list| !list.is_empty())
            .unwrap_or_default();
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn from_hosts(text: &str, name: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else {
            continue;
        };
        if words.any(|word| word.eq_ignore_ascii_case(name)) {
            found.push(address);
        }
    }
    found
}

struct Settings {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    dots: usize,
}

impl Settings {
    fn parse(text: &str) -> Self {
        let mut settings = Self {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => settings
                    .servers
                    .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
                Some("search" | "domain") => settings.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    for word in words {
                        if let Some(Ok(dots)) = word.strip_prefix("ndots:").map(str::parse) {
                            settings.dots = dots;
                        }
                    }
                }
                _ => {}
            }
        }
        settings
    }

    /// The names to ask for: with search domains, before or after the name itself.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(full) = name.strip_suffix('.') {
            return vec![full.to_owned()];
        }
        let mut names: Vec<String> = self
            .search
            .iter()
            .map(|domain| format!("{name}.{domain}"))
            .collect();
        let as_it_is = if name.matches('.').count() >= self.dots {
            0
        } else {
            names.len()
        };
        names.insert(as_it_is, name.to_owned());
        names
    }

    fn ask(&self, name: &str) -> Vec<Ipv4Addr> {
        for _ in 0..TRIES {
            for server in &self.servers {
                if let Some(answer) = ask_server(*server, name) {
                    return answer;
                }
            }
        }
        Vec::new()
    }
}

/// Asks one server; `None` if it does not answer.
fn ask_server(server: IpAddr, name: &str) -> Option<Vec<Ipv4Addr>> {
    let query = query(name)?;
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((server, 53)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.send(&query).ok()?;
    let mut buffer = [0; 4096];
    loop {
        let count = socket.recv(&mut buffer).ok()?;
        let answer = &buffer[..count];
        if answer.get(..2) == Some(&query[..2]) {
            return Some(addresses(answer).unwrap_or_default());
        }
    }
}

fn query(name: &str) -> Option<Vec<u8>> {
    let id = std::process::id() as u16 ^ 0x5a5a;
    let mut bytes = id.to_be_bytes().to_vec();
    // One question, recursion desired.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    Some(bytes)
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([
        *bytes.get(at)?,
        *bytes.get(at + 1)?,
    ])))
}

/// The place after a name, which may end in a pointer.
fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

/// Every A record of an answer.
fn addresses(bytes: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let (questions, answers) = (number(bytes, 4)?, number(bytes, 6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(bytes, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        at = after_name(bytes, at)?;
        let (kind, length) = (number(bytes, at)?, number(bytes, at + 8)?);
        at += 10;
        if kind == 1 && length == 4 {
            let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            found.push(Ipv4Addr::from(octets));
        }
        at += length;
    }
    Some(found)
}
