//! What a platform says there is: partial, and old by the time it is read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::label::Labels;
use crate::name::{NetworkName, ReplicaId, ServiceName, StackName, VolumeName};
use crate::spec::{BlobId, Link, Network, Published};

/// Where a replica stands in its life.
///
/// `Pending → Starting → Running → Stopping → Stopped`; any may become `Failed`; `Failed` and
/// `Stopped` may become `Starting` again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Accepted; nothing runs yet.
    Pending,
    /// Being started, or between two restarts.
    Starting,
    /// Its process runs.
    Running,
    /// Its process is frozen.
    Paused,
    /// The stop signal was sent.
    Stopping,
    /// Ended: on request, or by itself with exit code 0.
    Stopped,
    /// Ended by itself with an error, or could not start.
    Failed,
}

impl Phase {
    /// The phase in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// True if its process is there.
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Stopping)
    }
}

/// What a health check says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// There is no check.
    #[default]
    None,
    /// Not known yet.
    Starting,
    /// Passed.
    Healthy,
    /// Failed as often as allowed.
    Unhealthy,
}

/// How a replica ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + signal if a signal ended it.
    pub code: i32,
    /// It was killed for want of memory.
    pub out_of_memory: bool,
}

/// One replica as seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedReplica {
    /// Which.
    pub id: ReplicaId,
    /// Hash of the specification it was made from.
    pub spec_hash: String,
    /// Image reference as written.
    pub image: String,
    /// Image digest.
    pub image_digest: String,
    /// Command as run.
    pub command: Vec<String>,
    /// Where it stands.
    pub phase: Phase,
    /// What its health check says.
    pub health: HealthState,
    /// Gets new connections.
    pub in_discovery: bool,
    /// How it ended, if it did.
    pub exit: Option<Exit>,
    /// The platform's words on a failure.
    pub message: Option<String>,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When its process last started.
    pub started: Option<SystemTime>,
    /// How often it was restarted by its policy.
    pub restarts: u32,
    /// Its addresses by network.
    pub addresses: BTreeMap<NetworkName, IpAddr>,
    /// Ports published on the node, with the host port in force.
    pub ports: Vec<Published>,
    /// Labels.
    pub labels: Labels,
}

impl ObservedReplica {
    /// True if it runs and is healthy or has no check.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running
            && matches!(self.health, HealthState::None | HealthState::Healthy)
    }
}

/// One declared service as seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedService {
    /// Its stack.
    pub stack: StackName,
    /// Its name.
    pub name: ServiceName,
    /// Hash of the specification last declared.
    pub spec_hash: String,
    /// Explicit links in force.
    pub links: Vec<Link>,
    /// Its stable addresses by network.
    pub addresses: BTreeMap<NetworkName, IpAddr>,
}

/// What there is of one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedStack {
    /// Networks.
    pub networks: BTreeMap<NetworkName, Network>,
    /// Volumes.
    pub volumes: std::collections::BTreeSet<VolumeName>,
    /// Fingerprints of secrets and configs.
    pub blobs: BTreeMap<BlobId, String>,
    /// Services declared.
    pub services: BTreeMap<ServiceName, ObservedService>,
    /// Replicas.
    pub replicas: Vec<ObservedReplica>,
}

impl ObservedStack {
    /// True if there is nothing of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
            && self.volumes.is_empty()
            && self.blobs.is_empty()
            && self.services.is_empty()
            && self.replicas.is_empty()
    }

    /// The replicas of one service, by slot.
    pub fn replicas_of<'a>(
        &'a self,
        service: &'a ServiceName,
    ) -> impl Iterator<Item = &'a ObservedReplica> {
        self.replicas
            .iter()
            .filter(move |replica| replica.id.service == *service)
    }
}

/// What a platform says there is.
#[derive(Debug, Default)]
pub struct Observed {
    /// By stack.
    pub stacks: BTreeMap<StackName, ObservedStack>,
    /// True if something may be missing; nothing is ever removed on the strength of such a list.
    pub partial: bool,
    /// Items that could not be read.
    pub unreadable: Vec<Error>,
}

impl Observed {
    /// What there is of one stack; nothing if it is not there.
    #[must_use]
    pub fn stack(&self, name: &StackName) -> ObservedStack {
        self.stacks.get(name).cloned().unwrap_or_default()
    }

    /// Every replica of every stack.
    pub fn replicas(&self) -> impl Iterator<Item = &ObservedReplica> {
        self.stacks.values().flat_map(|stack| stack.replicas.iter())
    }
}
