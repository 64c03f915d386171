//! What is kept about each thing; the same JSON stands in the database and beside the thing, so
//! that a lost database can be rebuilt.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unmoor_core::backend::DesiredService;
use unmoor_core::name::{Alias, NetworkName, ReplicaId, StackName, VolumeName};
use unmoor_core::spec::{Network, Published, Volume};
use unmoor_image::LayerId;

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    /// Its stack.
    pub(crate) stack: StackName,
    /// Its name.
    pub(crate) name: NetworkName,
    /// Names it in the kernel and on disk.
    pub(crate) id: String,
    /// As wanted.
    pub(crate) spec: Network,
    /// First address of the subnet.
    pub(crate) subnet: Ipv4Addr,
    /// Length of its prefix.
    pub(crate) prefix: u8,
    /// Largest packet.
    pub(crate) mtu: u32,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    /// Its stack.
    pub(crate) stack: StackName,
    /// Its name.
    pub(crate) name: VolumeName,
    /// As wanted.
    pub(crate) spec: Volume,
}

/// A declared service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceRecord {
    /// Its stack.
    pub(crate) stack: StackName,
    /// As declared.
    pub(crate) desired: Arc<DesiredService>,
    /// Its stable address by network.
    pub(crate) addresses: BTreeMap<NetworkName, Ipv4Addr>,
    /// Stable addresses of its explicit links, by alias, and the network they are on.
    #[serde(default)]
    pub(crate) links: BTreeMap<Alias, (NetworkName, Ipv4Addr)>,
    /// Unpacked layers of its image, lowest first.
    pub(crate) layers: Vec<LayerId>,
}

/// A replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicaRecord {
    /// Names its directories, cgroups and interfaces.
    pub(crate) key: String,
    /// Which replica.
    pub(crate) id: ReplicaId,
    /// What it was made from.
    pub(crate) desired: Arc<DesiredService>,
    /// First host id of its range.
    pub(crate) id_base: u32,
    /// Its address by network.
    pub(crate) addresses: BTreeMap<NetworkName, Ipv4Addr>,
    /// Published ports with the host ports in force.
    pub(crate) ports: Vec<Published>,
    /// Unpacked layers of its image, lowest first.
    pub(crate) layers: Vec<LayerId>,
    /// The command as run.
    pub(crate) command: Vec<String>,
    /// When it was made, nanoseconds since 1970.
    pub(crate) created_ns: u64,
    /// Taken out of discovery on request.
    #[serde(default)]
    pub(crate) drained: bool,
    /// Made and not started yet; a reboot does not start it either.
    #[serde(default)]
    pub(crate) waits: bool,
    /// Why it could not be started again after a reboot.
    #[serde(default)]
    pub(crate) problem: Option<String>,
}
