//! What a platform holds that is not what was applied last. Pure, as a plan is.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::desired::{hash_over, others_of};
use super::judge::same_network;
use super::order::networks_of;
use crate::backend::{Capabilities, Feature, HealthState, ObservedReplica, ObservedStack, Phase};
use crate::label::ONE_OFF;
use crate::name::{ServiceName, StackName};
use crate::spec::{
    Blob, BlobId, BlobKind, BlobSource, Condition, DriftPolicy, Role, Service, Stack,
};

/// How something differs from what was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DriftKind {
    /// It was applied and is not there.
    Missing,
    /// It is there and was not applied.
    Surplus,
    /// It is there with other settings.
    Differs,
    /// It is as it was applied and does not serve.
    Idle,
}

impl DriftKind {
    /// The kind in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Surplus => "surplus",
            Self::Differs => "differs",
            Self::Idle => "idle",
        }
    }
}

/// One difference between what was applied and what there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftItem {
    /// What it is about, as `replica shop-web-1`.
    pub subject: String,
    /// The service it belongs to.
    pub service: Option<ServiceName>,
    /// How it differs.
    pub kind: DriftKind,
    /// What was applied, in words.
    pub wanted: String,
    /// What there is, in words.
    pub found: String,
    /// What its service wants to become of it.
    pub policy: DriftPolicy,
}

impl fmt::Display for DriftItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            kind,
            wanted,
            found,
            ..
        } = self;
        write!(f, "{subject}: {}: {wanted}, found {found}", kind.as_str())
    }
}

/// Everything that differs from what was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The stack.
    pub stack: StackName,
    /// What differs.
    pub items: Vec<DriftItem>,
}

impl Drift {
    /// What is not to be ignored.
    pub fn told(&self) -> impl Iterator<Item = &DriftItem> {
        let ignored = |item: &&DriftItem| item.policy != DriftPolicy::Ignore;
        self.items.iter().filter(ignored)
    }
}

/// Compares a stack as it was applied last with what there is of it.
///
/// A replica is compared by the hash of its specification, its image, its phase and its place in
/// discovery, where the backend can take one out of it; what a platform does not tell, as a limit
/// changed by hand, is not seen.
#[must_use]
pub fn drift(applied: &Stack, observed: &ObservedStack, capabilities: &Capabilities) -> Drift {
    let mut look = Look {
        applied,
        observed,
        drains: capabilities.has(Feature::Drain),
        items: Vec::new(),
    };
    look.shared();
    for (name, service) in &applied.services {
        look.service(name, service);
    }
    look.strays();
    Drift {
        stack: applied.name.clone(),
        items: look.items,
    }
}

struct Look<'a> {
    applied: &'a Stack,
    observed: &'a ObservedStack,
    drains: bool,
    items: Vec<DriftItem>,
}

impl Look<'_> {
    fn note(&mut self, about: (String, Option<&ServiceName>), kind: DriftKind, text: [&str; 2]) {
        let (subject, service) = about;
        let policy = service.and_then(|name| self.applied.services.get(name));
        let [wanted, found] = text.map(str::to_owned);
        self.items.push(DriftItem {
            subject,
            service: service.cloned(),
            kind,
            wanted,
            found,
            policy: policy.map_or(DriftPolicy::default(), |service| service.drift),
        });
    }

    /// Networks, volumes, secrets and configs.
    fn shared(&mut self) {
        let stack = self.applied;
        let networks = stack.services.values().flat_map(networks_of);
        for name in networks.collect::<std::collections::BTreeSet<_>>() {
            let wanted = stack.networks.get(&name).cloned().unwrap_or_default();
            let subject = || (format!("network {name}"), None);
            match self.observed.networks.get(&name) {
                None => self.note(subject(), DriftKind::Missing, ["it was made", "nothing"]),
                Some(there) if same_network(there, &wanted) => {}
                Some(_) => {
                    let text = ["its settings", "others"];
                    self.note(subject(), DriftKind::Differs, text);
                }
            }
        }
        for name in stack.volumes.keys() {
            if !self.observed.volumes.contains(name) {
                let subject = (format!("volume {name}"), None);
                self.note(subject, DriftKind::Missing, ["it was made", "nothing"]);
            }
        }
        for (id, wanted) in fingerprints(stack) {
            let subject = || (format!("{} {}", id.kind.as_str(), id.name), None);
            match self.observed.blobs.get(&id) {
                None => self.note(subject(), DriftKind::Missing, ["it was stored", "nothing"]),
                Some(found) if *found == wanted => {}
                Some(_) => {
                    let text = ["its content", "another"];
                    self.note(subject(), DriftKind::Differs, text);
                }
            }
        }
    }

    fn service(&mut self, name: &ServiceName, service: &Service) {
        if service.labels.contains_key(ONE_OFF) {
            return;
        }
        let about = || (format!("service {name}"), Some(name));
        match self.observed.services.get(name) {
            None => self.note(about(), DriftKind::Missing, ["it was declared", "nothing"]),
            Some(declared) if declared.links == service.links => {}
            Some(_) => self.note(about(), DriftKind::Differs, ["its links", "others"]),
        }
        let replicas: Vec<&ObservedReplica> = self.observed.replicas_of(name).collect();
        let wanted = service.replicas as usize;
        let kind = match replicas.len() {
            found if found < wanted => Some(DriftKind::Missing),
            found if found > wanted => Some(DriftKind::Surplus),
            _ => None,
        };
        if let Some(kind) = kind {
            let (wanted, found) = (count(wanted), count(replicas.len()));
            self.note(about(), kind, [&wanted, &found]);
        }
        for replica in replicas {
            self.replica(service, replica);
        }
    }

    fn replica(&mut self, service: &Service, replica: &ObservedReplica) {
        let name = &replica.id.service;
        let about = (format!("replica {}", replica.id), Some(name));
        let digest = service.image.digest().map(ToString::to_string);
        if let Some(pinned) = digest.filter(|pinned| *pinned != replica.image_digest) {
            return self.note(about, DriftKind::Differs, [&pinned, &replica.image_digest]);
        }
        let blobs = blobs_of(service, self.applied);
        let others = others_of(service, self.applied);
        let hash = hash_over(service, &replica.image_digest, &blobs, &others);
        if replica.spec_hash != hash {
            let text = ["the specification that was applied", "another"];
            return self.note(about, DriftKind::Differs, text);
        }
        // A name may lead elsewhere by now: what was declared last knows which image was meant.
        let declared = self.observed.services.get(name);
        if declared.is_some_and(|declared| declared.spec_hash != hash) {
            let text = ["the image that was applied", &replica.image_digest];
            return self.note(about, DriftKind::Differs, text);
        }
        if let Some(found) = self.idle(name, service, replica) {
            let wanted = match self.is_job(name, service) {
                true => "a run to its end",
                false => "a replica that serves",
            };
            self.note(about, DriftKind::Idle, [wanted, &found]);
        }
    }

    fn is_job(&self, name: &ServiceName, service: &Service) -> bool {
        let awaits = |other: &Service| {
            let dependency = other.depends_on.get(name);
            dependency.is_some_and(|d| d.condition == Condition::CompletedSuccessfully)
        };
        service.role == Role::Job || self.applied.services.values().any(awaits)
    }

    /// What a replica that is as applied does instead of serving; `None` for one on its way there.
    fn idle(
        &self,
        name: &ServiceName,
        service: &Service,
        replica: &ObservedReplica,
    ) -> Option<String> {
        let code = replica.exit.map(|exit| exit.code);
        let phase = replica.phase.as_str();
        match replica.phase {
            Phase::Starting | Phase::Running if self.is_out(replica) => {
                Some("one out of discovery".to_owned())
            }
            Phase::Starting => None,
            Phase::Running if replica.health == HealthState::Unhealthy => {
                Some("an unhealthy one".to_owned())
            }
            Phase::Running => None,
            Phase::Stopped if code == Some(0) && self.is_job(name, service) => None,
            Phase::Stopped | Phase::Failed => Some(match code {
                Some(code) => format!("one that is {phase} (exit code {code})"),
                None => format!("one that is {phase}"),
            }),
            Phase::Pending | Phase::Paused | Phase::Stopping => {
                Some(format!("one that is {phase}"))
            }
        }
    }

    /// True for a replica that gets no connection, or will get none, because it was taken out.
    fn is_out(&self, replica: &ObservedReplica) -> bool {
        self.drains && (replica.drained || (replica.is_ready() && !replica.in_discovery))
    }

    /// Services that were not applied.
    fn strays(&mut self) {
        let observed = self.observed;
        let replicas = observed.replicas.iter().map(|replica| &replica.id.service);
        let mut names: Vec<&ServiceName> = observed.services.keys().chain(replicas).collect();
        names.sort();
        names.dedup();
        names.retain(|name| !self.applied.services.contains_key(*name));
        for name in names {
            let found = count(observed.replicas_of(name).count());
            let about = (format!("service {name}"), Some(name));
            self.note(about, DriftKind::Surplus, ["no such service", &found]);
        }
    }
}

fn count(replicas: usize) -> String {
    match replicas {
        1 => "1 replica".to_owned(),
        many => format!("{many} replicas"),
    }
}

/// The contents that were applied, as far as the stack says them.
fn fingerprints(stack: &Stack) -> BTreeMap<BlobId, String> {
    let used = stack.services.values().flat_map(Service::blobs);
    let known = used.filter_map(|id| Some((id.clone(), fingerprint(stack, &id)?)));
    known.collect()
}

fn fingerprint(stack: &Stack, id: &BlobId) -> Option<String> {
    let blobs = match id.kind {
        BlobKind::Secret => &stack.secrets,
        BlobKind::Config => &stack.configs,
    };
    match blobs.get(&id.name) {
        Some(Blob {
            source: BlobSource::Stored(fingerprint),
        }) => Some(fingerprint.clone()),
        _ => None,
    }
}

fn blobs_of(service: &Service, stack: &Stack) -> BTreeMap<BlobId, String> {
    let hash = |id: BlobId| {
        let hash = fingerprint(stack, &id).unwrap_or_default();
        (id, hash)
    };
    service.blobs().map(hash).collect()
}
