//! What a platform says there is: partial, and old by the time it is read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::label::{Labels, Selector};
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
    /// Was taken out of discovery: it gets no connection though it be ready, until it is started.
    #[serde(default)]
    pub drained: bool,
    /// Time between its stop signal and the kill, where the platform tells.
    #[serde(default)]
    pub stop_grace: Option<Duration>,
    /// How its last run ended, if it has ended or waits to be restarted.
    pub exit: Option<Exit>,
    /// The platform's words on a failure.
    pub message: Option<String>,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// When its process last started.
    pub started: Option<SystemTime>,
    /// When its process last ended.
    pub ended: Option<SystemTime>,
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

    fn narrow(&mut self, name: &StackName, selector: &Selector) {
        if !selector.matches_stack(name) {
            *self = Self::default();
            return;
        }
        let partly = selector.slot.is_some() || !selector.labels.is_empty();
        if partly || !selector.services.is_empty() {
            (self.networks, self.volumes, self.blobs) = Default::default();
        }
        self.replicas
            .retain(|replica| selector.matches(&replica.id, &replica.labels));
        let replicas = &self.replicas;
        self.services.retain(|service, _| {
            // Its labels are known from its replicas only.
            let labelled = selector.labels.is_empty()
                || replicas
                    .iter()
                    .any(|replica| replica.id.service == *service);
            labelled && (selector.services.is_empty() || selector.services.contains(service))
        });
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

    /// Only what is selected, for backends whose platform cannot be asked for less.
    ///
    /// A selector of services, slots or labels leaves replicas and services alone; networks,
    /// volumes, secrets and configs belong to the whole stack. What has nothing left is left out.
    #[must_use]
    pub fn narrowed(mut self, selector: &Selector) -> Self {
        self.stacks.retain(|name, stack| {
            stack.narrow(name, selector);
            !stack.is_empty()
        });
        self
    }

    /// Every replica of every stack.
    pub fn replicas(&self) -> impl Iterator<Item = &ObservedReplica> {
        self.stacks.values().flat_map(|stack| stack.replicas.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::default_network;

    #[test]
    fn a_narrow_selection_has_neither_networks_nor_other_stacks() {
        let mut observed = Observed::default();
        for stack in ["a", "b"] {
            let name = StackName::parse(stack).expect("valid name");
            let stack = observed.stacks.entry(name.clone()).or_default();
            stack.networks.insert(default_network(), Network::default());
            for service in ["web", "db"] {
                let service = ServiceName::parse(service).expect("valid name");
                let seen = ObservedService {
                    stack: name.clone(),
                    name: service.clone(),
                    spec_hash: String::new(),
                    links: Vec::new(),
                    addresses: BTreeMap::new(),
                };
                stack.services.insert(service, seen);
            }
        }
        let stack = StackName::parse("a").expect("valid name");
        let web = ServiceName::parse("web").expect("valid name");
        let whole = Selector::stack(stack.clone());
        let part = Selector::service(stack, web);
        let observed = observed.narrowed(&whole);
        assert_eq!(observed.stacks.len(), 1);
        let seen = &observed.stacks[&whole.stack.clone().expect("it has one")];
        assert_eq!((seen.networks.len(), seen.services.len()), (1, 2));
        let observed = observed.narrowed(&part);
        let seen = &observed.stacks[&whole.stack.expect("it has one")];
        assert_eq!((seen.networks.len(), seen.services.len()), (0, 1));
        let none = observed.narrowed(&Selector::all().with_label("x", "y"));
        assert!(none.stacks.is_empty());
    }
}
