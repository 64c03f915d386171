//! A network's bridge: made, found, removed; and the host's own addresses, routes and settings.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::netlink::Netlink;
use super::{NetError, Subnet, firewall};
use crate::wire::netlink::{
    Attrs, Batch, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, Message,
    RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, add_address, add_bridge, del_link, del_link_at, dump,
    mac_of, route_localnet, set_hairpin, set_master, set_up,
};

/// How the names of our bridges begin.
pub(super) const PREFIX: &str = "um-";
/// How those of the host's ends of replicas' interfaces begin.
const PORT: &str = "uv-";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// A network of a stack, as the host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkConfig {
    /// Its bridge, by [`bridge_name`].
    pub(crate) bridge: String,
    /// Its addresses.
    pub(crate) subnet: Subnet,
    /// The bridge's own address.
    pub(crate) gateway: Ipv4Addr,
    /// Nothing may leave or enter.
    pub(crate) internal: bool,
    /// Largest packet, in bytes.
    pub(crate) mtu: u32,
}

/// A bridge of ours that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bridge {
    /// Its name.
    pub(crate) name: String,
    /// Names of the interfaces in it: one for each replica, by [`veth_name`].
    pub(crate) ports: Vec<String>,
}

/// The name of a network's bridge: the same for the same state folder and network, no other.
pub(crate) fn bridge_name(root: &Path, network: &str) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut hasher = Sha256::new();
    hasher.update(root.as_os_str().as_encoded_bytes());
    hasher.update([0]);
    hasher.update(network);
    let digest = hasher.finalize();
    let letters = digest
        .iter()
        .take(11)
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    PREFIX.chars().chain(letters).collect()
}

/// The name of the host's end of a replica's interface.
pub(crate) fn veth_name(address: Ipv4Addr) -> String {
    format!("{PORT}{:08x}", address.to_bits())
}

/// Makes the bridge and its rules, or puts right what is there.
pub(crate) fn create_network(network: &NetworkConfig) -> Result<(), NetError> {
    let route = Netlink::route().map_err(NetError::kernel("open a netlink socket"))?;
    let name = &network.bridge;
    let failed = || format!("make the bridge {name}");
    let mut batch = Batch::new();
    add_bridge(&mut batch, name, mac_of(network.gateway), network.mtu);
    match route.change(&batch.finish()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !links(&route)?
                .iter()
                .any(|link| link.name == *name && link.kind == "bridge")
            {
                return Err(NetError::NotABridge(name.clone()));
            }
        }
        other => other.map_err(NetError::kernel(failed()))?,
    }
    no_ipv6(name)?;
    let index = route.interface(name).map_err(NetError::kernel(failed()))?;
    let index = index.ok_or_else(|| NetError::NotABridge(name.clone()))?;
    let mut batch = Batch::new();
    route_localnet(&mut batch, index);
    add_address(&mut batch, index, network.gateway, network.subnet.prefix());
    set_up(&mut batch, index);
    let made = route.change(&batch.finish());
    made.map_err(NetError::kernel(format!(
        "give the bridge {name} its address"
    )))?;
    firewall::add_network(network)?;
    // Only what leaves the host needs the host to route.
    if network.internal {
        return Ok(());
    }
    start_forwarding(&route)
}

/// Removes the bridge, what is left in it, and its rules; the table goes with the last network.
pub(crate) fn remove_network(network: &NetworkConfig) -> Result<(), NetError> {
    let route = Netlink::route().map_err(NetError::kernel("open a netlink socket"))?;
    firewall::remove_network(network)?;
    let all = links(&route)?;
    if let Some(bridge) = all.iter().find(|link| link.name == network.bridge) {
        for port in all.iter().filter(|link| link.master == bridge.index) {
            delete(&route, &port.name)?;
        }
        delete(&route, &network.bridge)?;
    }
    Ok(())
}

/// Removes the host's end of a replica's interface, and so both ends; absent is fine.
pub(crate) fn remove_interface(name: &str) -> Result<(), NetError> {
    let route = Netlink::route().map_err(NetError::kernel("open a netlink socket"))?;
    delete(&route, name)
}

/// An interface that is there, by its number: another may have its name by the time it is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interface(u32);

/// Those of these interfaces that are there.
pub(crate) fn find_interfaces(names: &[String]) -> Result<Vec<Interface>, NetError> {
    let route = Netlink::route().map_err(NetError::kernel("open a netlink socket"))?;
    let mut found = Vec::new();
    for name in names {
        let index = route.interface(name);
        let index = index.map_err(NetError::kernel(format!("find the interface {name}")))?;
        found.extend(index.map(Interface));
    }
    Ok(found)
}

impl Interface {
    /// Removes this very one, and so its other end; absent is fine.
    pub(crate) fn remove(self) -> Result<(), NetError> {
        let route = Netlink::route().map_err(NetError::kernel("open a netlink socket"))?;
        let mut batch = Batch::new();
        del_link_at(&mut batch, self.0);
        absent_is_fine(route.change(&batch.finish()), || {
            format!("number {}", self.0)
        })
    }
}

fn absent_is_fine(result: io::Result<()>, what: impl FnOnce() -> String) -> Result<(), NetError> {
    match result {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
            Ok(())
        }
        other => other.map_err(NetError::kernel(format!("remove the interface {}", what()))),
    }
}

/// Returns when these interfaces are gone, whose other ends were in network namespaces that nobody
/// holds any more, or that somebody else removes.
///
/// The kernel removes them with the namespaces, and of many at once; but a connection that is still
/// being closed may hold a namespace for minutes.
pub(crate) fn await_interfaces(names: &[String], patience: Duration) -> Result<(), NetError> {
    let failed = || NetError::kernel("wait until a replica's interfaces are gone");
    let route = Netlink::of_links().map_err(failed())?;
    let until = Instant::now() + patience;
    for name in names {
        while route.interface(name).map_err(failed())?.is_some() {
            let rest = until.saturating_duration_since(Instant::now());
            if !route.wait(rest).map_err(failed())? {
                remove_interface(name)?;
            }
        }
    }
    Ok(())
}

fn delete(route: &Netlink, name: &str) -> Result<(), NetError> {
    let mut batch = Batch::new();
    del_link(&mut batch, name);
    absent_is_fine(route.change(&batch.finish()), || name.to_owned())
}

/// The host's side of networks, whichever state folder they belong to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostSide {
    /// Every bridge of ours.
    pub(crate) bridges: Vec<Bridge>,
    /// Interfaces of replicas that are in no bridge: theirs was removed.
    pub(crate) loose: Vec<String>,
}

/// Looks at every interface of the host.
pub(crate) fn host_side() -> Result<HostSide, NetError> {
    let route = Netlink::route().map_err(NetError::kernel("open a netlink socket"))?;
    let all = links(&route)?;
    let loose = all
        .iter()
        .filter(|link| link.name.starts_with(PORT) && link.kind == "veth" && link.master == 0);
    let loose = loose.map(|link| link.name.clone()).collect();
    let bridges = bridges(&all);
    Ok(HostSide { bridges, loose })
}

/// Puts the host's end of a replica's interface into a bridge, as its shim has made it.
pub(crate) fn attach(interface: &str, bridge: &str) -> Result<(), NetError> {
    let failed = || NetError::kernel(format!("put the interface {interface} into {bridge}"));
    let route = Netlink::route().map_err(failed())?;
    let find = |name| route.interface(name).map_err(failed());
    let (Some(index), Some(master)) = (find(interface)?, find(bridge)?) else {
        return Ok(());
    };
    let mut batch = Batch::new();
    set_master(&mut batch, index, master);
    set_up(&mut batch, index);
    set_hairpin(&mut batch, index);
    route.change(&batch.finish()).map_err(failed())
}

/// True if the host has an interface of this name.
pub(crate) fn has_interface(name: &str) -> Result<bool, NetError> {
    let failed = || NetError::kernel(format!("find the interface {name}"));
    let route = Netlink::route().map_err(failed())?;
    Ok(route.interface(name).map_err(failed())?.is_some())
}

fn bridges(all: &[Found]) -> Vec<Bridge> {
    let ours = all
        .iter()
        .filter(|link| link.name.starts_with(PREFIX) && link.kind == "bridge");
    let ports = |index| {
        let ports = all.iter().filter(move |link| link.master == index);
        ports.map(|port| port.name.clone()).collect()
    };
    ours.map(|link| Bridge {
        name: link.name.clone(),
        ports: ports(link.index),
    })
    .collect()
}

struct Found {
    name: String,
    kind: String,
    index: u32,
    master: u32,
    mtu: u32,
    up: bool,
}

fn links(route: &Netlink) -> Result<Vec<Found>, NetError> {
    let mut batch = Batch::new();
    dump(&mut batch, RTM_GETLINK);
    let found = route.collect(&batch.finish(), |message| {
        link(message).into_iter().collect()
    });
    found.map_err(NetError::kernel("list the interfaces of this host"))
}

fn link(message: &Message<'_>) -> Option<Found> {
    let word = |at: usize| {
        Some(u32::from_ne_bytes(
            message.payload.get(at..at + 4)?.try_into().ok()?,
        ))
    };
    let attrs = message.attrs(16);
    let info = attrs.nested(IFLA_LINKINFO);
    Some(Found {
        name: attrs.str(IFLA_IFNAME)?.to_owned(),
        kind: info
            .and_then(|info| info.str(IFLA_INFO_KIND))
            .unwrap_or_default()
            .to_owned(),
        index: word(4)?,
        master: attrs.u32(IFLA_MASTER).unwrap_or(0),
        mtu: attrs.u32(IFLA_MTU).unwrap_or(1500),
        up: word(8)? & 1 != 0,
    })
}

/// What the host has addresses in or routes to, for [`super::pick_subnet`].
pub(crate) fn host_subnets() -> Result<Vec<Subnet>, NetError> {
    let route = Netlink::route().map_err(NetError::kernel("open a netlink socket"))?;
    let mut found = Vec::new();
    for (kind, header, attribute) in [(RTM_GETADDR, 8, 1), (RTM_GETROUTE, 12, 1)] {
        let mut batch = Batch::new();
        dump(&mut batch, kind);
        let subnets = route.collect(&batch.finish(), |message| {
            // Both kinds carry the length of the prefix in their second byte.
            let prefix = message.payload.get(1).copied().unwrap_or(0);
            let address = message.attrs(header).find(attribute).and_then(address);
            address
                .and_then(|address| Subnet::new(address, prefix))
                .into_iter()
                .collect()
        });
        found.extend(subnets.map_err(NetError::kernel("list the routes of this host"))?);
    }
    // The default route leads to everything and takes nothing.
    found.retain(|subnet| subnet.prefix() > 0);
    Ok(found)
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

/// The largest packet that leaves the host whole: that of the interface of the default route.
pub(crate) fn default_mtu() -> Result<u32, NetError> {
    const RTA_OIF: u16 = 4;
    let route = Netlink::route().map_err(NetError::kernel("open a netlink socket"))?;
    let mut batch = Batch::new();
    dump(&mut batch, RTM_GETROUTE);
    let ways_out = route.collect(&batch.finish(), |message| {
        let default = message.payload.get(1) == Some(&0);
        let attrs: Attrs<'_> = message.attrs(12);
        attrs.u32(RTA_OIF).filter(|_| default).into_iter().collect()
    });
    let ways_out = ways_out.map_err(NetError::kernel("list the routes of this host"))?;
    let all = links(&route)?;
    let mtus = all
        .iter()
        .filter(|link| ways_out.contains(&link.index))
        .map(|link| link.mtu);
    Ok(mtus.min().unwrap_or(1500).clamp(1280, 65_535))
}

/// Switches routing on if it is off; the last network switches it off again.
fn start_forwarding(route: &Netlink) -> Result<(), NetError> {
    let now = fs::read(FORWARDING).map_err(NetError::file("read", FORWARDING))?;
    if now.first() != Some(&b'0') {
        return Ok(());
    }
    // Whatever this host did not route between its other interfaces it will not route now.
    let all = links(route)?;
    let bridges: Vec<_> = all
        .iter()
        .filter(|link| link.name.starts_with(PREFIX))
        .collect();
    let foreign = all.iter().filter(|link| {
        link.up
            && link.name != "lo"
            && !link.name.starts_with(PREFIX)
            && !bridges.iter().any(|bridge| bridge.index == link.master)
    });
    let names: Vec<_> = foreign.map(|link| link.name.as_str()).collect();
    firewall::guard(&names)?;
    set_forwarding("1")
}

/// Switches routing on or off.
pub(super) fn set_forwarding(value: &'static str) -> Result<(), NetError> {
    fs::write(FORWARDING, value).map_err(NetError::file("write", FORWARDING))
}

/// Nobody asked for IPv6 on this interface: no address of its own making, no routes from others.
fn no_ipv6(interface: &str) -> Result<(), NetError> {
    for (setting, value) in [("disable_ipv6", "1"), ("accept_ra", "0")] {
        let path = format!("/proc/sys/net/ipv6/conf/{interface}/{setting}");
        match fs::write(&path, value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(NetError::file("write", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ_by_folder_and_network() {
        let name = bridge_name(Path::new("/var/lib/unmoor"), "shop-default");
        assert_eq!(name.len(), 14);
        assert_ne!(name, bridge_name(Path::new("/var/lib/unmoor"), "shop-back"));
        assert_ne!(name, bridge_name(Path::new("/tmp/unmoor"), "shop-default"));
        assert_eq!(veth_name(Ipv4Addr::new(10, 201, 0, 2)), "uv-0ac90002");
    }
}
