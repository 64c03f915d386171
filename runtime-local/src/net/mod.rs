//! The host's side of networks: bridges, subnets, the firewall, published ports, shared zones.
//!
//! Everything here is synchronous, short, and made to be repeated: doing it twice is the same as
//! doing it once, and removing what is not there is fine. Changes of links and rules are netlink
//! messages built in `wire`; no program is run. What happens inside a replica's own network
//! namespace, and while it runs, is its shim's (`shim/net`).

mod across;
mod bridge;
mod exchanges;
mod firewall;
mod foreign;
mod ipam;
mod netlink;
mod resolv;
mod subnet;
mod zone;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;

use thiserror::Error;

pub(crate) use across::{Across, link, relead, unlink};
pub(crate) use bridge::{
    HostSide, Interface, NetworkConfig, attach, await_interfaces, bridge_name, create_network,
    default_mtu, find_interfaces, has_interface, host_side, host_subnets, remove_interface,
    remove_network, veth_name,
};
pub(crate) use exchanges::Exchanges;
pub(crate) use firewall::{
    Publication, Rules, is_published, publish, republish, restore, unpublish,
};
pub(crate) use foreign::forward_blockers;
pub(crate) use ipam::{next_replica, next_stable};
pub(crate) use resolv::{host_resolvers, replica_resolv_conf};
pub(crate) use subnet::{Subnet, pick_subnet};
pub(crate) use zone::{
    has_zone, read_endpoints, remove_endpoint, remove_service, remove_zone, write_links,
    write_service, zone_dir,
};

/// A failed operation on the host's networks.
#[derive(Debug, Error)]
pub(crate) enum NetError {
    /// The kernel said no.
    #[error("{what}")]
    Kernel {
        /// What was tried, on what.
        what: String,
        /// Its answer.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("{what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another program has a port that is to be published.
    #[error("port {address}/{proto} of this host cannot be published: another program uses it")]
    PortInUse {
        /// The port.
        address: SocketAddrV4,
        /// TCP or UDP.
        proto: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Another service has a port that is to be published.
    #[error("port {address}/{proto} of this host is already published for another service")]
    PortPublished {
        /// The port.
        address: SocketAddrV4,
        /// TCP or UDP.
        proto: &'static str,
    },
    /// An interface of that name is something else.
    #[error("{0} exists and is not a bridge; remove it or rename the network")]
    NotABridge(String),
    /// Something is not a name that files and DNS can carry.
    #[error("{0:?} cannot be the name of a service, replica, alias or network")]
    BadName(String),
    /// Somebody changes the firewall without end.
    #[error("the firewall of this host keeps changing; {0} was given up")]
    Busy(&'static str),
}

impl NetError {
    fn kernel(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Kernel {
            what: what.into(),
            source,
        }
    }

    fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            what,
            path: path.into(),
            source,
        }
    }
}
