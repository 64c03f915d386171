//! What a replica sees of its networks and links, in the JSON of the library's model.
//!
//! Pure. It says nothing that the replica could not find out by asking for names.

use std::net::Ipv4Addr;

use super::names::NetworkView;
use super::netplan::Proto;
use super::zone::{EndpointFile, Link, NamedPort, ServiceFile};

/// A service that a link leads to on a network that the replica is not on.
#[derive(Debug, Clone, Default)]
pub struct Far {
    /// Its stack.
    pub stack: String,
    /// Its network, with this service and its ready replicas alone.
    pub view: NetworkView,
}

/// Where the lists are made from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The replica's stack.
    pub stack: &'a str,
    /// Its networks.
    pub views: &'a [NetworkView],
    /// Its links.
    pub links: &'a [Link],
    /// What links to other networks lead to.
    pub far: &'a [Far],
}

/// A list, and what tells it from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Its cursor.
    pub cursor: u64,
    /// The event that tells it whole.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen<'a> {
    stack: &'a str,
    service: &'a str,
    slot: Option<u32>,
    address: Ipv4Addr,
    port: Option<u16>,
    proto: Proto,
    network: &'a str,
    weight: u16,
}

/// Everything that can be seen; or of one service or link, if there is one of that name.
pub fn list(from: &Sources<'_>, name: Option<&str>) -> Option<Listing> {
    let mut found = Vec::new();
    match name {
        None => {
            for view in from.views {
                for service in view.services.values() {
                    of_service(&mut found, from.stack, view, service, service.vip);
                }
            }
            for link in from.links {
                of_link(&mut found, from, link);
            }
        }
        Some(name) => of_name(&mut found, from, name)?,
    }
    found.sort();
    found.dedup();
    Some(listing(&found))
}

/// Finds a name as names are found: links first, then services, then aliases, nearest network first.
fn of_name<'a>(found: &mut Vec<Seen<'a>>, from: &Sources<'a>, name: &str) -> Option<()> {
    let is = |text: &str| text.eq_ignore_ascii_case(name);
    if let Some(link) = from.links.iter().find(|link| is(&link.alias)) {
        of_link(found, from, link);
        return Some(());
    }
    for view in from.views {
        let mut services = view.services.values();
        let by_name = services.find(|service| is(&service.name));
        let by_alias = |service: &&ServiceFile| service.aliases.iter().any(|alias| is(alias));
        let known: Vec<_> = match by_name {
            Some(service) => vec![service],
            None => view.services.values().filter(by_alias).collect(),
        };
        if !known.is_empty() {
            for service in known {
                of_service(found, from.stack, view, service, service.vip);
            }
            return Some(());
        }
    }
    None
}

fn of_link<'a>(found: &mut Vec<Seen<'a>>, from: &Sources<'a>, link: &'a Link) {
    let in_view = |view: &'a NetworkView| Some((view, view.services.get(&link.service)?));
    let near = from.views.iter().find(|view| view.id == link.network);
    if let Some((view, service)) = near.and_then(in_view) {
        let address = link.vip.or(service.vip);
        return of_service(found, from.stack, view, service, address);
    }
    let far = from.far.iter().find(|far| far.view.id == link.network);
    let Some((far, (view, service))) = far.and_then(|far| Some((far, in_view(&far.view)?))) else {
        return;
    };
    // Its replicas' own addresses are out of reach.
    let ready = ready(view, service).count();
    let seen = seen(&far.stack, view, service, None, (link.vip, ready));
    found.extend(seen);
}

fn ready<'a>(
    view: &'a NetworkView,
    service: &'a ServiceFile,
) -> impl Iterator<Item = &'a EndpointFile> {
    let all = view.endpoints.values();
    all.filter(|endpoint| endpoint.service == service.name)
}

fn of_service<'a>(
    found: &mut Vec<Seen<'a>>,
    stack: &'a str,
    view: &'a NetworkView,
    service: &'a ServiceFile,
    address: Option<Ipv4Addr>,
) {
    let count = ready(view, service).count();
    found.extend(seen(stack, view, service, None, (address, count)));
    for replica in ready(view, service) {
        let Some(slot) = slot(stack, replica) else {
            continue;
        };
        let weight = replica.weight as usize;
        found.extend(seen(
            stack,
            view,
            service,
            Some(slot),
            (replica.address, weight),
        ));
    }
}

/// The number of a replica, from the name that is its own: `stack-service-slot`, or `slot.service`
/// where that is too long for one.
fn slot(stack: &str, replica: &EndpointFile) -> Option<u32> {
    let service = &replica.service;
    let number = |name: &String| {
        let long = name.strip_prefix(stack)?.strip_prefix('-');
        let long = long.and_then(|rest| rest.strip_prefix(service.as_str())?.strip_prefix('-'));
        long?.parse().ok()
    };
    let short = |name: &String| {
        let number = name.strip_suffix(service.as_str())?.strip_suffix('.')?;
        number.parse().ok()
    };
    let mut names = replica.names.iter();
    names.find_map(|name| number(name).or_else(|| short(name)))
}

/// One for each port; one without a port if none is known.
fn seen<'a>(
    stack: &'a str,
    view: &'a NetworkView,
    service: &'a ServiceFile,
    slot: Option<u32>,
    (address, weight): (Option<Ipv4Addr>, usize),
) -> Vec<Seen<'a>> {
    let Some(address) = address else {
        return Vec::new();
    };
    let base = Seen {
        stack,
        service: &service.name,
        slot,
        address,
        port: None,
        proto: Proto::Tcp,
        network: &view.name,
        weight: u16::try_from(weight).unwrap_or(u16::MAX),
    };
    let with = |port: &NamedPort| Seen {
        port: Some(port.port),
        proto: port.proto,
        ..base.clone()
    };
    match &service.ports[..] {
        [] => vec![base],
        ports => ports.iter().map(with).collect(),
    }
}

fn listing(found: &[Seen<'_>]) -> Listing {
    let mut list = String::new();
    for (at, seen) in found.iter().enumerate() {
        if at > 0 {
            list.push(',');
        }
        seen.write(&mut list);
    }
    let cursor = digest(list.as_bytes());
    let text = format!("{{\"event\":\"resync\",\"endpoints\":[{list}],\"cursor\":{cursor}}}\n");
    Listing { cursor, text }
}

impl Seen<'_> {
    fn write(&self, out: &mut String) {
        let Self {
            address, weight, ..
        } = self;
        out.push_str("{\"stack\":");
        quote(out, self.stack);
        out.push_str(",\"service\":");
        quote(out, self.service);
        out.push_str(",\"replica\":");
        match self.slot {
            None => out.push_str("null"),
            Some(slot) => {
                out.push_str("{\"stack\":");
                quote(out, self.stack);
                out.push_str(",\"service\":");
                quote(out, self.service);
                out.push_str(&format!(",\"slot\":{slot}}}"));
            }
        }
        let port = self.port.map_or("null".to_owned(), |port| port.to_string());
        let protocol = self.proto.name();
        let health = if *weight > 0 { "ready" } else { "notready" };
        out.push_str(&format!(
            ",\"address\":\"{address}\",\"port\":{port},\"protocol\":\"{protocol}\",\
             \"scope\":{{\"network\":"
        ));
        quote(out, self.network);
        out.push_str(&format!(
            "}},\"health\":\"{health}\",\"weight\":{weight},\"zone\":null,\"backend\":\"local\"}}"
        ));
    }
}

/// Names have no byte that needs it; should one ever have, it does no harm.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            char if (char as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", char as u32)),
            char => out.push(char),
        }
    }
    out.push('"');
}

/// The text of a field of the library's record of a network: names, which are written as they are.
pub fn text_field(record: &[u8], field: &str) -> Option<String> {
    let text = core::str::from_utf8(record).ok()?;
    let (_, rest) = text.split_once(&format!("\"{field}\":"))?;
    let (value, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
    super::zone::is_name(value).then(|| value.to_owned())
}

/// A number that tells lists apart, small enough for every reader of JSON.
fn digest(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The upper bits of such a product depend on all bytes.
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
