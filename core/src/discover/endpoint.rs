//! One address that answers for a service, and what can happen to it.

use std::hash::{DefaultHasher, Hash, Hasher};
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// A place in a watch, to resume from: the digest of the list that the watcher has there.
///
/// It holds across callers and machines. Another build may digest otherwise: then a watch that
/// resumes starts over with a `Resync`, which is never wrong.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Cursor(pub u64);

impl Cursor {
    /// What every JSON reader holds exactly.
    const MASK: u64 = (1 << 53) - 1;

    /// The cursor of a list, whatever its order.
    #[must_use]
    pub fn of(list: &[Endpoint]) -> Self {
        list.iter().fold(Self(0), |cursor, e| cursor.with(e))
    }

    /// The cursor of the list with one endpoint more.
    #[must_use]
    pub fn with(self, endpoint: &Endpoint) -> Self {
        Self(self.0.wrapping_add(digest(endpoint)) & Self::MASK)
    }

    /// The cursor of the list with one endpoint less.
    #[must_use]
    pub fn without(self, endpoint: &Endpoint) -> Self {
        Self(self.0.wrapping_sub(digest(endpoint)) & Self::MASK)
    }
}

fn digest(endpoint: &Endpoint) -> u64 {
    let mut hasher = DefaultHasher::new();
    endpoint.hash(&mut hasher);
    hasher.finish()
}

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

impl EndpointEvent {
    /// Where it is in the watch.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        match self {
            Self::Resync { cursor, .. }
            | Self::Added { cursor, .. }
            | Self::Changed { cursor, .. }
            | Self::Removed { cursor, .. } => *cursor,
        }
    }

    /// Takes the event into the list of a watcher.
    pub fn apply_to(self, list: &mut Vec<Endpoint>) {
        match self {
            Self::Resync { endpoints, .. } => *list = endpoints,
            Self::Added { endpoint, .. } | Self::Changed { endpoint, .. } => {
                let key = endpoint.key();
                list.retain(|known| known.key() != key);
                list.push(endpoint);
            }
            Self::Removed { endpoint, .. } => {
                let key = endpoint.key();
                list.retain(|known| known.key() != key);
            }
        }
    }
}
