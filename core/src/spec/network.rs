//! Networks of a stack, and how services are on them.

use serde::{Deserialize, Serialize};

use crate::label::Labels;
use crate::name::{Alias, NetworkName};

/// The network of services that name none: Compose calls it `default`.
#[must_use]
pub fn default_network() -> NetworkName {
    NetworkName::parse("default").expect("`default` is a valid name")
}

/// A network of a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// No way out of the network, and none in.
    pub internal: bool,
    /// A fixed IPv4 subnet such as `10.5.0.0/24`; `None` lets the backend choose.
    pub subnet: Option<String>,
    /// Labels.
    pub labels: Labels,
}

/// How a service is on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Further names of the service on this network.
    pub aliases: Vec<Alias>,
}

/// What a service's name resolves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressMode {
    /// One address that outlives the replicas, with connections balanced over those that are ready.
    Stable,
    /// The addresses of the replicas that are ready.
    Replicas,
}

/// Which network stack a service has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NetworkMode {
    /// Its own, on the stack's networks.
    #[default]
    Networks,
    /// Its own, with only the loopback interface.
    None,
    /// The node's.
    Host,
}
