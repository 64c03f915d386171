//! One address that answers for a service.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::backend::HealthState;
use crate::name::{NetworkName, ReplicaId, ServiceName, StackName};
use crate::spec::Protocol;

/// From where an address can be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// From services on this network of the stack (and, where the backend says so, its node).
    Network(NetworkName),
    /// From outside the backend.
    External,
}

/// An address that answers for a service now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// Stack.
    pub stack: StackName,
    /// Service.
    pub service: ServiceName,
    /// The replica behind it; `None` for an address of the service as a whole.
    pub replica: Option<ReplicaId>,
    /// Address.
    pub address: IpAddr,
    /// Port; `None` if the service declared none, and every port is reachable.
    pub port: Option<u16>,
    /// Protocol.
    pub protocol: Protocol,
    /// From where it can be reached.
    pub scope: Scope,
    /// What the health check says.
    pub health: Readiness,
    /// Share of new connections; 0 while draining.
    pub weight: u16,
    /// Zone, where the platform has zones.
    pub zone: Option<String>,
    /// Scheme of the backend it is on.
    pub backend: String,
}

/// Health of an endpoint, ordered so that endpoints can be sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// Gets new connections.
    Ready,
    /// Does not.
    NotReady,
}

impl From<HealthState> for Readiness {
    fn from(state: HealthState) -> Self {
        match state {
            HealthState::None | HealthState::Healthy => Self::Ready,
            HealthState::Starting | HealthState::Unhealthy => Self::NotReady,
        }
    }
}

impl Endpoint {
    /// What stays the same while health and weight change.
    #[must_use]
    pub fn key(
        &self,
    ) -> (
        StackName,
        ServiceName,
        Option<u32>,
        IpAddr,
        Option<u16>,
        Protocol,
        Scope,
    ) {
        (
            self.stack.clone(),
            self.service.clone(),
            self.replica.as_ref().map(|id| id.slot),
            self.address,
            self.port,
            self.protocol,
            self.scope.clone(),
        )
    }
}

/// A place in a watch, to resume from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor(pub u64);

/// A change of endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EndpointEvent {
    /// The whole list; what it omits is gone.
    Resync {
        /// Every endpoint.
        endpoints: Vec<Endpoint>,
        /// Where this is in the watch.
        cursor: Cursor,
    },
    /// A new endpoint.
    Added {
        /// It.
        endpoint: Endpoint,
        /// Where this is in the watch.
        cursor: Cursor,
    },
    /// Health or weight of an endpoint changed.
    Changed {
        /// As it is now.
        endpoint: Endpoint,
        /// Where this is in the watch.
        cursor: Cursor,
    },
    /// An endpoint has gone.
    Removed {
        /// As it was.
        endpoint: Endpoint,
        /// Where this is in the watch.
        cursor: Cursor,
    },
}
