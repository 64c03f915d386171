//! What one replica's shim must know about the networks its replica is on.
//!
//! The library decides every name, address and path here; the shim only carries them out.

use std::net::{Ipv4Addr, SocketAddr};

use super::codec::{CodecError, Reader, Writer};

/// Transport protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Proto {
    /// The protocol's number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The protocol's name as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// Reads the name back.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            _ => None,
        }
    }
}

/// One network the replica is on; the n-th attachment becomes `eth<n>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Id of the network.
    pub network: String,
    /// Name of the network as users know it; `<service>.<network name>` resolves too.
    pub network_name: String,
    /// The network's shared zone: absolute path of the folder that holds `svc/` and `ep/`.
    pub zone_dir: String,
    /// The bridge in the host's network namespace.
    pub bridge: String,
    /// Name of the host's end of the pair, at most 15 bytes.
    pub host_if: String,
    /// The replica's address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// The host's address on the bridge; `None` leaves no way out by this network.
    pub gateway: Option<Ipv4Addr>,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// Nothing may leave or enter this network.
    pub internal: bool,
    /// Names this replica answers to here besides its service's: replica name, container name,
    /// aliases of its own.
    pub names: Vec<String>,
}

/// One port of the host that leads to the replica or to its service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublishedPort {
    /// Address of the host to answer on; 0.0.0.0 is every address.
    pub host_ip: Ipv4Addr,
    /// The host's port.
    pub host_port: u16,
    /// The replica's own port.
    pub port: u16,
    /// TCP or UDP.
    pub proto: Proto,
    /// Id of the network whose addresses the connections are sent to.
    pub network: String,
    /// It leads to this replica alone, and not to every ready one of the service.
    pub own: bool,
}

/// Stands beside the host's port for one that leads to a single replica: plans without it are read
/// as they were meant.
const OWN: u32 = 1 << 16;

/// Everything about the networks of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetPlan {
    /// Id of the replica; the name of its endpoint files.
    pub replica: String,
    /// The service it is a copy of.
    pub service: String,
    /// The networks it is on; empty means loopback only.
    pub attachments: Vec<Attachment>,
    /// File of this replica's private links; empty when there can be none.
    pub links: String,
    /// The host's resolvers, asked for names we do not know, in this order.
    pub upstreams: Vec<SocketAddr>,
    /// Ports of the host that lead to this replica or to its service.
    pub ports: Vec<PublishedPort>,
    /// Share of new connections, relative to the other replicas; 1 is the usual one.
    pub weight: u32,
}

impl Attachment {
    fn encode(&self, w: &mut Writer) {
        w.str(&self.network)
            .str(&self.network_name)
            .str(&self.zone_dir);
        w.str(&self.bridge).str(&self.host_if);
        w.u32(self.address.to_bits()).u8(self.prefix);
        w.option(self.gateway.as_ref(), |w, gateway| {
            w.u32(gateway.to_bits());
        });
        w.u32(self.mtu).bool(self.internal);
        w.list(&self.names, |w, name| {
            w.str(name);
        });
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            network: r.string()?,
            network_name: r.string()?,
            zone_dir: r.string()?,
            bridge: r.string()?,
            host_if: r.string()?,
            address: Ipv4Addr::from_bits(r.u32()?),
            prefix: r.u8()?,
            gateway: r.option(|r| r.u32().map(Ipv4Addr::from_bits))?,
            mtu: r.u32()?,
            internal: r.bool()?,
            names: r.list(Reader::string)?,
        })
    }
}

impl PublishedPort {
    fn encode(&self, w: &mut Writer) {
        let own = if self.own { OWN } else { 0 };
        w.u32(self.host_ip.to_bits())
            .u32(u32::from(self.host_port) | own)
            .u32(u32::from(self.port));
        w.u8(self.proto.number()).str(&self.network);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (host_ip, host_port) = (Ipv4Addr::from_bits(r.u32()?), r.u32()?);
        Ok(Self {
            host_ip,
            host_port: port(host_port & !OWN)?,
            port: port(r.u32()?)?,
            proto: match r.u8()? {
                6 => Proto::Tcp,
                17 => Proto::Udp,
                other => return Err(CodecError::Unknown(u32::from(other))),
            },
            network: r.string()?,
            own: host_port & OWN != 0,
        })
    }
}

impl NetPlan {
    /// Appends the plan to a message.
    pub fn encode(&self, w: &mut Writer) {
        w.str(&self.replica).str(&self.service);
        w.list(&self.attachments, |w, attachment| attachment.encode(w));
        w.str(&self.links);
        w.list(&self.upstreams, |w, upstream| {
            w.str(&upstream.to_string());
        });
        w.list(&self.ports, |w, port| port.encode(w));
        w.u32(self.weight);
    }

    /// Reads a plan from a message.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            replica: r.string()?,
            service: r.string()?,
            attachments: r.list(Attachment::decode)?,
            links: r.string()?,
            upstreams: r.list(|r| r.str()?.parse().map_err(|_| CodecError::Unknown(0)))?,
            ports: r.list(PublishedPort::decode)?,
            weight: r.u32()?,
        })
    }
}

fn port(value: u32) -> Result<u16, CodecError> {
    u16::try_from(value).map_err(|_| CodecError::Unknown(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(own: bool) -> PublishedPort {
        PublishedPort {
            host_ip: Ipv4Addr::UNSPECIFIED,
            host_port: 8080,
            port: 80,
            proto: Proto::Tcp,
            network: "shop-default".into(),
            own,
        }
    }

    fn sample() -> NetPlan {
        NetPlan {
            replica: "shop-web-1".into(),
            service: "web".into(),
            attachments: vec![Attachment {
                network: "shop-default".into(),
                network_name: "default".into(),
                zone_dir: "/run/x/net/shop-default".into(),
                bridge: "um-0123456789a".into(),
                host_if: "uv-0ac90002".into(),
                address: Ipv4Addr::new(10, 201, 0, 2),
                prefix: 24,
                gateway: Some(Ipv4Addr::new(10, 201, 0, 1)),
                mtu: 1500,
                internal: false,
                names: vec!["web-1".into()],
            }],
            links: "/run/x/links".into(),
            upstreams: vec![
                "127.0.0.53:53".parse().unwrap(),
                "[::1]:53".parse().unwrap(),
            ],
            ports: [false, true].map(published).to_vec(),
            weight: 1,
        }
    }

    #[test]
    fn comes_back_as_it_was() {
        let mut w = Writer::new();
        sample().encode(&mut w);
        let bytes = w.finish();
        let mut r = Reader::new(&bytes);
        assert_eq!(NetPlan::decode(&mut r), Ok(sample()));
        assert!(r.is_empty());
    }

    #[test]
    fn every_cut_is_an_error() {
        let mut w = Writer::new();
        sample().encode(&mut w);
        let bytes = w.finish();
        for len in 0..bytes.len() {
            assert!(
                NetPlan::decode(&mut Reader::new(&bytes[..len])).is_err(),
                "cut at {len}"
            );
        }
    }
}
