//! Taking over what is on a platform and is not ours, as it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::planned::{Ground, Prepared};
use super::{Client, StackRecord, UpOptions};
use crate::apply::Report;
use crate::backend::{
    Action, Claim, DesiredService, Foreign, Form, ObservedStack, ResolvedImage, StackPlace,
};
use crate::error::{Error, ErrorKind, Result};
use crate::name::{NetworkName, ServiceName, StackName, VolumeName};
use crate::plan::{Desired, Plan, PlanOptions, facts};
use crate::spec::{Blob, BlobId, BlobKind, BlobSource, Stack};

/// Something to take over, by its name in the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdoptTarget {
    /// The replicas of a service, with the networks and volumes that they need.
    Service(ServiceName),
    /// A network.
    Network(NetworkName),
    /// A volume.
    Volume(VolumeName),
}

impl fmt::Display for AdoptTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service {name}"),
            Self::Network(name) => write!(f, "network {name}"),
            Self::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

/// What is taken over, and how.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AdoptOptions<'a> {
    /// Only these; empty is all that takes up places of the stack.
    pub only: Vec<AdoptTarget>,
    /// How the plan is shown and carried out.
    pub up: UpOptions<'a>,
}

impl<'a> AdoptOptions<'a> {
    /// All that takes up places of the stack.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds something; what it needs comes with it.
    #[must_use]
    pub fn only(mut self, target: AdoptTarget) -> Self {
        self.only.push(target);
        self
    }

    /// Shows and carries out the plan in this way; how a plan is made says nothing here.
    #[must_use]
    pub fn shown(mut self, up: UpOptions<'a>) -> Self {
        self.up = up;
        self
    }
}

impl Client {
    /// What is there and is not ours: all of it, or what takes up places of one stack. A read.
    ///
    /// # Errors
    /// `Unsupported` if the backend cannot take anything over; else as
    /// [`observe`](Self::observe).
    pub async fn foreign(&self, stack: Option<&StackName>) -> Result<Vec<Foreign>> {
        self.adoption_facet()?.foreign(stack).await
    }

    /// Takes over what takes up places of a stack and is not ours. Nothing is stopped or started.
    ///
    /// From then on it is a part of the stack, as if it had been applied as it runs; the next `up`
    /// with a file changes it to what the file says. Idempotent: where all is ours, nothing is
    /// written. *Cancelled*: a part is taken over; the same call again goes on.
    ///
    /// # Errors
    /// `Unsupported` if the backend cannot take anything over, or if something that is meant has no
    /// words in a stack, before anything is written; `NotFound` for a target that is not there;
    /// `Conflict` if somebody else takes it over meanwhile; else what the actions give.
    pub async fn adopt(&self, stack: &StackName, options: &AdoptOptions<'_>) -> Result<Report> {
        self.adoption_facet()?;
        let _lock = self.lock(stack).await?;
        let (former, revision) = self.load_record(stack).await?;
        let observed = self.whole(stack).await?;
        let foreign = self.foreign(Some(stack)).await?;
        let chosen = choose(stack, &foreign, &observed, &options.only)?;
        if chosen.is_empty() {
            let note = "nothing here is anybody else's".to_owned();
            return Ok(Report {
                notes: vec![note],
                ..Report::default()
            });
        }
        let mut record = former.clone();
        let mut desired = take_in(&mut record, stack, &chosen)?;
        let plan = plan(&mut desired, &observed, &chosen)?;
        record.settle(&desired.fingerprints);
        (options.up.on_plan)(&plan);
        let ground = Ground {
            record,
            former,
            revision,
            desired,
            options: PlanOptions::default(),
        };
        let notes = plan.notes.clone();
        let prepared = Prepared { plan, ground };
        let done = self.carry_out_once(prepared, options.up.run).await;
        let mut report = done.map_err(|stopped| stopped.error)?;
        report.notes.extend(notes);
        report.notes.dedup();
        Ok(report)
    }

    /// Refuses a plan that would make something where somebody else's stands.
    pub(super) async fn refuse_foreign(&self, plan: &Plan) -> Result<()> {
        match self.backend.adoption() {
            Some(adoption) if plan.makes_something() => {
                plan.refuse_over(&adoption.foreign(Some(&plan.stack)).await?)
            }
            _ => Ok(()),
        }
    }
}

/// What is meant of what is there, with what it needs; refuses what cannot be taken over.
fn choose<'f>(
    stack: &StackName,
    foreign: &'f [Foreign],
    observed: &ObservedStack,
    only: &[AdoptTarget],
) -> Result<Vec<&'f Foreign>> {
    let of_stack = |item: &&Foreign| item.place.as_ref().is_some_and(|p| p.stack() == stack);
    let there: Vec<&Foreign> = foreign.iter().filter(of_stack).collect();
    let mut places: BTreeSet<&StackPlace> = BTreeSet::new();
    for target in only {
        let meant = there.iter().filter(|item| is_meant(target, item));
        let meant: Vec<&StackPlace> = meant.filter_map(|item| item.place.as_ref()).collect();
        if meant.is_empty() && !is_ours(target, observed) {
            let text = format!("adopt {target}: there is none that is not ours");
            let hint = "`unmoor ls --all` shows what there is";
            return Err(Error::new(ErrorKind::NotFound, text).on(stack).hint(hint));
        }
        places.extend(meant);
    }
    let is_chosen = |item: &Foreign| {
        let place = item.place.as_ref();
        only.is_empty() || place.is_some_and(|place| places.contains(place))
    };
    let mut chosen: Vec<&Foreign> = there.iter().copied().filter(|i| is_chosen(i)).collect();
    let needed = |item: &Foreign| chosen.iter().any(|user| needs(user, item));
    let further = there.iter().copied();
    let further: Vec<&Foreign> = further.filter(|i| !is_chosen(i) && needed(i)).collect();
    chosen.extend(further);
    let mut closed = chosen
        .iter()
        .filter_map(|item| Some((item, item.closed()?)));
    let Some((first, why)) = closed.next() else {
        return Ok(chosen);
    };
    let mut text = format!("adopt {} `{}`: {why}", first.kind(), first.id);
    for (item, why) in closed {
        text.push_str(&format!("; {} `{}`: {why}", item.kind(), item.id));
    }
    let error = Error::new(ErrorKind::Unsupported, text).on(stack);
    Err(error.hint("name what is to be taken over, and leave this out"))
}

fn is_meant(target: &AdoptTarget, item: &Foreign) -> bool {
    match (target, &item.place) {
        (AdoptTarget::Service(name), Some(StackPlace::Replica { id })) => id.service == *name,
        (AdoptTarget::Network(wanted), Some(StackPlace::Network { name, .. })) => name == wanted,
        (AdoptTarget::Volume(wanted), Some(StackPlace::Volume { name, .. })) => name == wanted,
        _ => false,
    }
}

/// True for what has been taken over before.
fn is_ours(target: &AdoptTarget, observed: &ObservedStack) -> bool {
    match target {
        AdoptTarget::Service(name) => observed.replicas_of(name).next().is_some(),
        AdoptTarget::Network(name) => observed.networks.contains_key(name),
        AdoptTarget::Volume(name) => observed.volumes.contains(name),
    }
}

/// True if a replica is on this network, or has this volume.
fn needs(user: &Foreign, item: &Foreign) -> bool {
    let Form::Replica(service) = &user.form else {
        return false;
    };
    match &item.place {
        Some(StackPlace::Network { name, .. }) => {
            crate::plan::networks_of(&service.spec).contains(name)
        }
        Some(StackPlace::Volume { name, .. }) => service.spec.volumes().any(|used| used == name),
        _ => false,
    }
}

fn replicas<'f>(
    chosen: &[&'f Foreign],
) -> impl Iterator<
    Item = (
        &'f Foreign,
        &'f crate::name::ReplicaId,
        &'f Arc<DesiredService>,
    ),
> {
    let all = chosen.iter().copied();
    all.filter_map(|item| match (&item.form, &item.place) {
        (Form::Replica(service), Some(StackPlace::Replica { id })) => Some((item, id, service)),
        _ => None,
    })
    .collect::<Vec<_>>()
    .into_iter()
}

/// Writes what is taken over into the stack's record, as what was applied; a service that is in it
/// already stays as it is wanted. Returns what is desired of it.
fn take_in(record: &mut StackRecord, stack: &StackName, chosen: &[&Foreign]) -> Result<Desired> {
    let wanted = record.effective(stack);
    let file = record.file.get_or_insert_with(|| Stack::new(stack.clone()));
    let mut images = BTreeMap::new();
    let mut fingerprints = BTreeMap::new();
    for item in chosen {
        match (&item.form, &item.place) {
            (Form::Network(spec), Some(StackPlace::Network { name, .. })) => {
                let known = file.networks.entry(name.clone());
                known.or_insert_with(|| spec.clone());
            }
            (Form::Volume, Some(StackPlace::Volume { name, .. })) => {
                file.volumes.entry(name.clone()).or_default();
            }
            _ => {}
        }
    }
    let mut found: BTreeMap<&ServiceName, Vec<&Arc<DesiredService>>> = BTreeMap::new();
    for (_, id, service) in replicas(chosen) {
        found.entry(&id.service).or_default().push(service);
    }
    for (name, services) in found {
        let count = |like: &DesiredService| services.iter().filter(|s| s.spec == like.spec).count();
        let Some(first) = services.iter().rev().max_by_key(|service| count(service)) else {
            continue;
        };
        for (id, fingerprint) in &first.blobs {
            remember_blob(file, id, fingerprint);
            fingerprints.insert(id.clone(), fingerprint.clone());
        }
        images.insert(name.clone(), first.image.clone());
        if !wanted.services.contains_key(name) {
            let total = u32::try_from(services.len()).unwrap_or(u32::MAX);
            let spec = first.spec.clone().replicas(total);
            file.services.insert(name.clone(), spec);
        }
    }
    let stack = record.effective(stack);
    if let Some(problem) = stack.problems().into_iter().next() {
        return Err(problem);
    }
    Ok(Desired {
        stack,
        images,
        fingerprints,
        contents: BTreeMap::new(),
        left: BTreeSet::new(),
        holds: BTreeMap::new(),
    })
}

fn remember_blob(file: &mut Stack, id: &BlobId, fingerprint: &str) {
    let blobs = match id.kind {
        BlobKind::Secret => &mut file.secrets,
        BlobKind::Config => &mut file.configs,
    };
    blobs.entry(id.name.clone()).or_insert_with(|| Blob {
        source: BlobSource::Stored(fingerprint.to_owned()),
    });
}

/// Networks and volumes, then the names of the services, then the replicas.
fn plan(desired: &mut Desired, observed: &ObservedStack, chosen: &[&Foreign]) -> Result<Plan> {
    let name = desired.stack.name.clone();
    let id = format!("adopt-{}", facts(observed));
    let mut plan = Plan::new(name, id, facts(observed));
    let reason = |item: &Foreign| format!("it is there, made by {}", maker(item));
    for item in chosen {
        let claim = match (&item.form, &item.place) {
            (Form::Network(spec), Some(StackPlace::Network { name, .. })) => Claim::Network {
                name: name.clone(),
                spec: spec.clone(),
            },
            (Form::Volume, Some(StackPlace::Volume { name, .. })) => {
                Claim::Volume { name: name.clone() }
            }
            _ => continue,
        };
        let from = item.id.clone();
        plan.push(Action::Adopt { from, claim }, reason(item), &[]);
    }
    plan.stand_on_all();
    let services: BTreeSet<ServiceName> = replicas(chosen)
        .map(|(_, id, _)| id.service.clone())
        .collect();
    for service in &services {
        if observed.services.contains_key(service) {
            continue;
        }
        let service = as_it_runs(desired, service, None)?;
        plan.push(Action::EnsureService { service }, "its replicas run", &[]);
    }
    plan.stand_on_all();
    for (item, id, running) in replicas(chosen) {
        let service = as_it_runs(desired, &id.service, Some(running))?;
        let wanted = as_it_runs(desired, &id.service, None)?;
        if wanted.spec_hash != service.spec_hash {
            let note = format!("{id} is not as its service is wanted; the next `up` replaces it");
            plan.notes.push(note);
        }
        let claim = Claim::Replica {
            replica: id.clone(),
            service,
        };
        let from = item.id.clone();
        plan.push(Action::Adopt { from, claim }, reason(item), &[]);
    }
    Ok(plan)
}

fn maker(item: &Foreign) -> String {
    match &item.maker {
        crate::backend::Maker::Unlabelled => "nobody knows whom".to_owned(),
        crate::backend::Maker::Stray => "us, and its record was lost".to_owned(),
        other => other.to_string(),
    }
}

/// A service as it is wanted, or as a replica runs, with the hash that follows from that.
fn as_it_runs(
    desired: &mut Desired,
    name: &ServiceName,
    running: Option<&Arc<DesiredService>>,
) -> Result<Arc<DesiredService>> {
    let wanted = desired.stack.services.get(name).cloned();
    let image: Option<ResolvedImage> = desired.images.get(name).cloned();
    if let (Some(running), Some(wanted)) = (running, &wanted) {
        let spec = running.spec.clone().replicas(wanted.replicas);
        desired.stack.services.insert(name.clone(), spec);
        desired.images.insert(name.clone(), running.image.clone());
    }
    let service = desired.service(name);
    if let (Some(wanted), Some(image)) = (wanted, image) {
        desired.stack.services.insert(name.clone(), wanted);
        desired.images.insert(name.clone(), image);
    }
    service.ok_or_else(|| {
        let text = format!("service `{name}` has no image on record");
        Error::new(ErrorKind::Internal, text)
    })
}
