//! What a replica may do beyond the default, and what less.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A soft and a hard resource limit of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// In force.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// A device of the node that replicas may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its path on the node: a device, or a directory of devices.
    pub source: String,
    /// Its path inside.
    pub target: String,
    /// What may be done with it: some of `rwm`, for read, write, make.
    pub access: String,
}

/// Security settings of a service. The default is docker's default set, with a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Every capability and device of the node.
    pub privileged: bool,
    /// Capabilities to add, as `NET_ADMIN` or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities to take away.
    pub cap_drop: Vec<String>,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// Kernel parameters of the replica's own namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Process limits by name, as `nofile`.
    pub ulimits: BTreeMap<String, Rlimit>,
    /// Devices of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// A range of user and group ids of its own: root inside is nobody on the node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_ids: bool,
    /// Groups of the process besides those of its user, by name in the image or by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// No seccomp filter.
    pub seccomp_unconfined: bool,
    /// Allow set-user-id programs to gain privileges (docker's default); false sets
    /// `no_new_privs`.
    pub new_privileges: Option<bool>,
}
