//! What is remembered of a stack: its file, what was changed by hand, a change under way.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::backend::Action;
use crate::error::{Error, ErrorKind, Result};
use crate::image::Digest;
use crate::label::ONE_OFF;
use crate::name::{ServiceName, StackName};
use crate::plan::{Plan, Scope};
use crate::spec::{Blob, BlobId, BlobKind, BlobSource, Link, Service, Stack};

/// Version of the record's form.
const VERSION: u32 = 1;

/// What was spawned, linked and scaled by hand; kept until removed by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hand {
    /// Services spawned.
    #[serde(default)]
    pub services: BTreeMap<ServiceName, Service>,
    /// Links added, by dependent; they replace links of the same alias.
    #[serde(default)]
    pub links: BTreeMap<ServiceName, Vec<Link>>,
    /// Numbers of replicas set.
    #[serde(default)]
    pub scale: BTreeMap<ServiceName, u32>,
}

/// A change that has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The plan.
    pub plan: String,
    /// Its actions in words.
    pub actions: Vec<String>,
    /// The services it is about; empty is the whole stack.
    #[serde(default)]
    pub services: Vec<ServiceName>,
}

impl Change {
    /// The mark of a change that begins; what was under way before is so still.
    pub(super) fn begun(plan: &Plan, scope: &Scope, former: Option<&Self>) -> Self {
        let mut services = match scope.names() {
            Some(names) => names.to_vec(),
            // What the plan leaves alone is not under way.
            None => changed(plan).into_iter().cloned().collect(),
        };
        if let Some(former) = former {
            let whole = services.is_empty() || former.services.is_empty();
            services.extend(former.services.clone());
            services.retain(|_| !whole);
            services.sort();
            services.dedup();
        }
        Self {
            plan: plan.id.clone(),
            actions: plan.actions(),
            services,
        }
    }

    /// The same, with rollouts that rest and so are under way still.
    pub(super) fn resting(
        change: Option<Self>,
        former: Option<&Self>,
        plan: &Plan,
    ) -> Option<Self> {
        if plan.halfway.is_empty() {
            return change;
        }
        let begun = || Self {
            services: Vec::new(),
            ..former.cloned().unwrap_or_else(|| Self {
                plan: plan.id.clone(),
                actions: plan.actions(),
                services: Vec::new(),
            })
        };
        let whole = change.as_ref().is_some_and(|c| c.services.is_empty());
        let mut change = change.unwrap_or_else(begun);
        if !whole {
            change.services.extend(plan.halfway.iter().cloned());
            change.services.sort();
            change.services.dedup();
        }
        Some(change)
    }

    /// What is still under way of `former` after a change of this scope has ended.
    pub(super) fn left(former: Option<Self>, scope: &Scope) -> Option<Self> {
        let mut change = former?;
        let names = scope.names()?;
        if change.services.is_empty() {
            return Some(change);
        }
        change.services.retain(|name| !names.contains(name));
        (!change.services.is_empty()).then_some(change)
    }
}

/// Services that a plan writes to.
fn changed(plan: &Plan) -> BTreeSet<&ServiceName> {
    let entries = plan.entries.iter();
    entries
        .filter_map(|entry| match &entry.action {
            Action::EnsureService { service } => Some(&service.name),
            Action::RemoveService { name } => Some(name),
            Action::StartReplica { replica, .. }
            | Action::CreateReplica { replica, .. }
            | Action::PauseReplica { replica }
            | Action::ResumeReplica { replica }
            | Action::DrainReplica { replica }
            | Action::StopReplica { replica, .. }
            | Action::RestartReplica { replica, .. }
            | Action::RemoveReplica { replica } => Some(&replica.service),
            _ => None,
        })
        .collect()
}

/// What a service was before its last change that was carried out whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// Its specification.
    pub service: Service,
    /// Digest of the image that ran, as its tag may have moved since.
    #[serde(default)]
    pub digest: Option<Digest>,
}

impl Former {
    /// The specification over the very image that ran, with so many replicas.
    pub(super) fn pinned(&self, replicas: u32) -> Service {
        let mut service = self.service.clone().replicas(replicas);
        if let Some(digest) = &self.digest {
            service.image = service.image.with_digest(digest.clone());
        }
        service
    }
}

/// What holds the rollouts of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutMark {
    /// Somebody paused them.
    #[serde(default)]
    pub paused: bool,
    /// Hash of the specification whose first replicas were approved, so that the rest may follow.
    #[serde(default)]
    pub approved: Option<String>,
}

/// The record of a stack, kept by the backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRecord {
    /// Version of the form.
    pub version: u32,
    /// The stack as last applied from a file or builder.
    pub file: Option<Stack>,
    /// What was changed by hand.
    #[serde(default)]
    pub hand: Hand,
    /// A change that has begun and not ended.
    #[serde(default)]
    pub change: Option<Change>,
    /// What services were before; [`Client::rollback`](super::Client::rollback) goes back to it.
    #[serde(default)]
    pub former: BTreeMap<ServiceName, Former>,
    /// What holds the rollouts of services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rollouts: BTreeMap<ServiceName, RolloutMark>,
}

impl Default for StackRecord {
    fn default() -> Self {
        Self {
            version: VERSION,
            file: None,
            hand: Hand::default(),
            change: None,
            former: BTreeMap::new(),
            rollouts: BTreeMap::new(),
        }
    }
}

impl StackRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged; `Unsupported` if a newer version wrote it.
    pub fn decode(stack: &StackName, bytes: &[u8]) -> Result<Self> {
        let corrupt = |source: serde_json::Error| {
            Error::new(ErrorKind::Corrupt, "read the record of the stack")
                .on(stack)
                .because(source)
        };
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(corrupt)?;
        let version = value
            .get("version")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
        if version > u64::from(VERSION) {
            let text = format!("its record has version {version}, this unmoor knows {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, text)
                .on(stack)
                .hint("use a newer unmoor"));
        }
        serde_json::from_value(value).map_err(corrupt)
    }

    /// The record as it is stored; contents of secrets are left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut stored = self.clone();
        if let Some(stack) = &mut stored.file {
            stack.secrets.values_mut().for_each(forget_content);
            stack.configs.values_mut().for_each(forget_content);
        }
        serde_json::to_vec(&stored).expect("a record is plain data")
    }

    /// Notes which contents were applied, so that a later change of one service neither needs the
    /// variables and files they came from, nor takes a new content up on the occasion.
    pub(super) fn settle(&mut self, fingerprints: &BTreeMap<BlobId, String>) {
        let Some(stack) = &mut self.file else { return };
        for (id, fingerprint) in fingerprints {
            let blobs = match id.kind {
                BlobKind::Secret => &mut stack.secrets,
                BlobKind::Config => &mut stack.configs,
            };
            if let Some(blob) = blobs.get_mut(&id.name) {
                blob.source = BlobSource::Stored(fingerprint.clone());
            }
        }
    }

    /// The stack that is wanted: the file with what was changed by hand on top.
    #[must_use]
    pub fn effective(&self, name: &StackName) -> Stack {
        let mut stack = self
            .file
            .clone()
            .unwrap_or_else(|| Stack::new(name.clone()));
        for (service, spec) in &self.hand.services {
            stack.services.insert(service.clone(), spec.clone());
        }
        for (service, links) in &self.hand.links {
            let Some(spec) = stack.services.get_mut(service) else {
                continue;
            };
            for link in links {
                spec.links.retain(|other| other.alias != link.alias);
                spec.links.push(link.clone());
            }
        }
        for (service, count) in &self.hand.scale {
            if let Some(spec) = stack.services.get_mut(service) {
                spec.replicas = *count;
            }
        }
        stack
    }

    /// A service as it was written, without the links and the count that the hand set.
    pub(super) fn written(&self, name: &ServiceName) -> Option<&Service> {
        let of_file = || self.file.as_ref()?.services.get(name);
        self.hand.services.get(name).or_else(of_file)
    }

    /// Writes a service where it is written: into the file, or beside it.
    pub(super) fn write(&mut self, name: &ServiceName, service: Service) {
        let file = self.file.as_mut();
        match file.and_then(|file| file.services.get_mut(name)) {
            Some(slot) if !self.hand.services.contains_key(name) => *slot = service,
            _ => drop(self.hand.services.insert(name.clone(), service)),
        }
    }

    /// Writes what became of a service as it was wanted, `before`, when somebody changed it to
    /// `after`: what the hand linked and counted stays the hand's.
    pub(super) fn rewrite(&mut self, name: &ServiceName, before: &Service, mut after: Service) {
        let written = self.written(name).cloned();
        if let Some(count) = self.hand.scale.get_mut(name) {
            *count = after.replicas;
            after.replicas = written
                .as_ref()
                .map_or(after.replicas, |spec| spec.replicas);
        }
        if let Some(by_hand) = self.hand.links.get_mut(name) {
            by_hand.retain(|link| after.links.contains(link));
            after.links.retain(|link| !by_hand.contains(link));
            let hidden = written.iter().flat_map(|spec| &spec.links);
            let hidden = hidden.filter(|link| !before.links.contains(link));
            after.links.extend(hidden.cloned());
        }
        self.write(name, after);
    }

    /// True if a change of the service has begun and not ended.
    pub(super) fn is_unfinished(&self, name: &ServiceName) -> bool {
        let change = self.change.as_ref();
        change.is_some_and(|c| c.services.is_empty() || c.services.contains(name))
    }

    /// Takes up what somebody wrote of rollouts since `marked` was written, if that is all that is
    /// different in `theirs`; else false.
    pub(super) fn take_up_rollouts(&mut self, marked: &Self, theirs: &Self) -> bool {
        let mut same = theirs.clone();
        same.rollouts.clone_from(&marked.rollouts);
        if same != *marked {
            return false;
        }
        let names = marked.rollouts.keys().chain(theirs.rollouts.keys());
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            let (before, now) = (marked.rollouts.get(name), theirs.rollouts.get(name));
            // Who has gone meanwhile has no rollouts.
            if before != now && self.written(name).is_some() {
                let paused = now.is_some_and(|mark| mark.paused);
                self.rollouts.entry(name.clone()).or_default().paused = paused;
            }
        }
        true
    }

    /// What of it was made by hand, in words.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let hand = &self.hand;
        let spawned = hand
            .services
            .iter()
            .filter(|(_, service)| !service.labels.contains_key(ONE_OFF))
            .map(|(name, _)| format!("service `{name}` was spawned by hand and is kept"));
        let linked = hand.links.iter().flat_map(|(name, links)| {
            links.iter().map(move |link| {
                format!(
                    "link `{}` of `{name}` was made by hand and is kept",
                    link.alias
                )
            })
        });
        let differs = |name, count| {
            let written = self.written(name);
            written.is_none_or(|service| service.replicas != count)
        };
        let scaled = hand
            .scale
            .iter()
            .filter(|(name, count)| differs(name, **count))
            .map(|(name, n)| format!("`{name}` was scaled to {n} by hand and stays so"));
        spawned.chain(linked).chain(scaled).collect()
    }
}

pub(super) fn forget_content(blob: &mut Blob) {
    if let BlobSource::Inline(content) = &blob.source {
        blob.source = BlobSource::Stored(content.fingerprint());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<ServiceName> {
        let parse = |text: &&str| ServiceName::parse(*text).expect("valid name");
        list.iter().map(parse).collect()
    }

    #[test]
    fn a_count_by_hand_that_the_file_has_too_is_no_news() {
        let web: ServiceName = names(&["web"]).remove(0);
        let name = StackName::parse("shop").expect("valid name");
        let image = "web:1".parse().expect("a reference");
        let mut file = Stack::new(name);
        file.services.insert(web.clone(), Service::new(image));
        let mut record = StackRecord {
            file: Some(file),
            ..StackRecord::default()
        };
        record.hand.scale.insert(web.clone(), 1);
        assert_eq!(record.notes(), Vec::<String>::new());
        record.hand.scale.insert(web, 2);
        assert_eq!(
            record.notes(),
            ["`web` was scaled to 2 by hand and stays so"]
        );
    }

    fn under_way(services: &[&str]) -> Option<Change> {
        Some(Change {
            plan: "p".to_owned(),
            actions: Vec::new(),
            services: names(services),
        })
    }

    #[test]
    fn a_change_of_one_service_does_not_end_that_of_another() {
        let change = |list: &[&str]| Scope::Change(names(list));
        assert_eq!(Change::left(under_way(&[]), &Scope::All), None);
        assert_eq!(Change::left(None, &change(&["a"])), None);
        assert_eq!(Change::left(under_way(&["a"]), &change(&["a"])), None);
        assert_eq!(
            Change::left(under_way(&["a", "b"]), &change(&["a"])),
            under_way(&["b"])
        );
        assert_eq!(
            Change::left(under_way(&[]), &change(&["a"])),
            under_way(&[])
        );
    }

    #[test]
    fn what_was_applied_is_known_without_the_place_it_came_from() {
        let mut stack = Stack::new(StackName::parse("t").expect("valid name"));
        let name: crate::name::BlobName = "key".parse().expect("valid name");
        let blob = Blob {
            source: BlobSource::Environment("UNSET_HERE".to_owned()),
        };
        stack.secrets.insert(name.clone(), blob);
        let mut record = StackRecord {
            file: Some(stack),
            ..StackRecord::default()
        };
        let id = BlobId {
            kind: BlobKind::Secret,
            name: name.clone(),
        };
        record.settle(&BTreeMap::from([(id, "f".to_owned())]));
        let stack = record.file.expect("there is one");
        assert_eq!(
            stack.secrets[&name].source,
            BlobSource::Stored("f".to_owned())
        );
    }
}
