//! Ports that a service listens on and those published to the outside.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::name::PortName;

/// Transport protocol.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// An inclusive range of ports, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

impl PortRange {
    /// One port.
    #[must_use]
    pub fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// How many ports it has.
    #[must_use]
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A container port that other services may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Exposed {
    /// Container port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// A container port published on the node's addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Published {
    /// Container port.
    pub target: u16,
    /// Port on the node; `None` lets the backend choose; a range gives one to each replica.
    pub host_port: Option<PortRange>,
    /// Address on the node; `None` is every address.
    pub host_ip: Option<IpAddr>,
    /// Protocol.
    pub protocol: Protocol,
    /// The container port's name: `_name._tcp.service` resolves to it, where names do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PortName>,
}

impl Published {
    /// Publishes container port `target` on the node's `host` port, TCP, every address.
    #[must_use]
    pub fn tcp(host: u16, target: u16) -> Self {
        let host_port = Some(PortRange::one(host));
        Self {
            target,
            host_port,
            host_ip: None,
            protocol: Protocol::Tcp,
            name: None,
        }
    }

    /// Names its container port.
    #[must_use]
    pub fn named(mut self, name: PortName) -> Self {
        self.name = Some(name);
        self
    }

    /// Restricts it to one address of the node.
    #[must_use]
    pub fn on(mut self, address: IpAddr) -> Self {
        self.host_ip = Some(address);
        self
    }

    /// True if some address of the node belongs to both.
    #[must_use]
    pub fn shares_address_with(&self, other: &Self) -> bool {
        match (self.host_ip, other.host_ip) {
            (Some(own), Some(other)) if own.is_ipv4() == other.is_ipv4() => {
                own == other || own.is_unspecified() || other.is_unspecified()
            }
            (Some(_), Some(_)) => false,
            _ => true,
        }
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(ip) => write!(f, "{ip}:")?,
            None => {}
        }
        if let Some(range) = self.host_port {
            write!(f, "{range}->")?;
        }
        write!(f, "{}/{}", self.target, self.protocol)
    }
}
