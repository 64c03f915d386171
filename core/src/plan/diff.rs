//! The way from observed to desired: what is shared first, then services in the order of their
//! dependencies, then orphans.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::desired::Services;
use super::judge::{choose, least_serving_last, reached, same_network};
use super::order::{networks_of, start_order};
use super::retire::{Retirement, retire};
use super::{Desired, Orphans, Plan, PlanOptions, Recreate, Scope};
use crate::backend::{
    Action, Actor, Capabilities, DesiredService, Feature, ObservedReplica, ObservedStack, Phase,
    Until,
};
use crate::error::{Error, ErrorKind, Result};
use crate::label::ONE_OFF;
use crate::name::{NetworkName, ReplicaId, ServiceName, VolumeName};
use crate::spec::{BlobId, Condition, Dependency, Role, Service};

/// From where to where, and how.
pub(super) struct Way<'a> {
    pub(super) desired: &'a Desired,
    pub(super) services: Services,
    pub(super) observed: &'a ObservedStack,
    pub(super) options: &'a PlanOptions,
}

/// Everything the planning of one stack looks at.
pub(super) struct Planner<'a> {
    pub(super) plan: &'a mut Plan,
    pub(super) desired: &'a Desired,
    pub(super) services: Services,
    pub(super) observed: &'a ObservedStack,
    /// The replicas of each service, by slot.
    replicas: HashMap<&'a ServiceName, Vec<&'a ObservedReplica>>,
    pub(super) options: &'a PlanOptions,
    pub(super) platform_acts: bool,
    drains: bool,
    /// Services that others wait for until they are complete.
    awaited: HashSet<&'a ServiceName>,
    /// The last entries of each service planned so far.
    done: BTreeMap<ServiceName, Vec<usize>>,
    /// Services whose replicas this plan replaces.
    pub(super) replaced: BTreeSet<ServiceName>,
}

pub(super) fn diff(plan: &mut Plan, way: Way<'_>, capabilities: &Capabilities) -> Result<()> {
    let platform_acts = capabilities.actor(Feature::RollingUpdate) == Some(Actor::Platform);
    let mut replicas: HashMap<&ServiceName, Vec<&ObservedReplica>> = HashMap::new();
    for replica in &way.observed.replicas {
        replicas
            .entry(&replica.id.service)
            .or_default()
            .push(replica);
    }
    let completes = |d: &Dependency| d.condition == Condition::CompletedSuccessfully;
    let all = way.desired.stack.services.values();
    let awaited = all.flat_map(|service| &service.depends_on);
    let awaited = awaited.filter(|(_, dependency)| completes(dependency));
    let mut planner = Planner {
        plan,
        desired: way.desired,
        services: way.services,
        observed: way.observed,
        replicas,
        options: way.options,
        platform_acts,
        drains: capabilities.has(Feature::Drain),
        awaited: awaited.map(|(name, _)| name).collect(),
        done: BTreeMap::new(),
        replaced: BTreeSet::new(),
    };
    let selected = planner.selected()?;
    let declared = planner.declared(&selected);
    planner.shared(&declared)?;
    planner.declare(&declared)?;
    // Every replica waits for what was planned so far.
    planner.plan.ground = planner.plan.entries.len();
    let changed = planner.with_replicas(selected);
    for name in start_order(planner.desired, &changed) {
        let service = planner.service(&name)?;
        let after = planner.dependencies(&service)?;
        let last = planner.replicas(&service, &after);
        planner.done.insert(name, last);
    }
    planner.plan.ground = 0;
    planner.orphans();
    planner.final_wait(&changed);
    Ok(())
}

impl<'a> Planner<'a> {
    /// The replicas of a service that are observed, by slot.
    pub(super) fn seen(&self, service: &ServiceName) -> &[&'a ObservedReplica] {
        self.replicas.get(service).map_or(&[], Vec::as_slice)
    }

    /// Networks, volumes, secrets and configs that selected services use.
    fn shared(&mut self, selected: &BTreeSet<ServiceName>) -> Result<()> {
        let stack = &self.desired.stack;
        let services = || selected.iter().map(|name| &stack.services[name]);
        let networks: BTreeSet<NetworkName> = services().flat_map(networks_of).collect();
        for name in networks {
            let spec = stack.networks.get(&name).cloned().unwrap_or_default();
            match self.observed.networks.get(&name) {
                None => {
                    let action = Action::EnsureNetwork { name, spec };
                    self.plan.push(action, "it is missing", &[]);
                }
                Some(there) if same_network(there, &spec) => {}
                Some(_) => {
                    let text = format!("network `{name}` exists with other settings");
                    return Err(Error::new(ErrorKind::Conflict, text)
                        .on(&stack.name)
                        .hint("take the stack down first; its volumes stay"));
                }
            }
        }
        let used: BTreeSet<&VolumeName> = services().flat_map(Service::volumes).collect();
        let all = self.options.only == Scope::All;
        for (name, spec) in stack
            .volumes
            .iter()
            .filter(|(name, _)| all || used.contains(name))
        {
            let reason = if !self.observed.volumes.contains(name) {
                "it is missing"
            } else if spec.external.is_some() && self.is_for_changed(name, selected) {
                "it belongs to others and must be there"
            } else {
                continue;
            };
            let action = Action::EnsureVolume {
                name: name.clone(),
                spec: spec.clone(),
            };
            self.plan.push(action, reason, &[]);
        }
        let used: BTreeSet<BlobId> = services().flat_map(Service::blobs).collect();
        self.blobs(&used)
    }

    /// True if a service that mounts this volume is not there as it is wanted.
    fn is_for_changed(&self, volume: &VolumeName, selected: &BTreeSet<ServiceName>) -> bool {
        let stack = &self.desired.stack;
        let mounts = |name: &&ServiceName| stack.services[*name].volumes().any(|one| one == volume);
        selected.iter().filter(mounts).any(|name| {
            let seen = self.observed.services.get(name);
            let wanted = self.services.get(name);
            seen.map(|seen| &seen.spec_hash) != wanted.map(|wanted| &wanted.spec_hash)
        })
    }

    fn blobs(&mut self, used: &BTreeSet<BlobId>) -> Result<()> {
        for (id, hash) in &self.desired.fingerprints {
            if !used.contains(id) || self.observed.blobs.get(id) == Some(hash) {
                continue;
            }
            let Some(content) = self.desired.contents.get(id) else {
                let text = format!(
                    "the content of {} `{}` is not at hand",
                    id.kind.as_str(),
                    id.name
                );
                return Err(Error::new(ErrorKind::NotFound, text).on(&self.plan.stack));
            };
            let known = self.observed.blobs.contains_key(id);
            let reason = if known {
                "its content changed"
            } else {
                "it is missing"
            };
            let action = Action::EnsureBlob {
                id: id.clone(),
                content: content.clone(),
            };
            self.plan.push(action, reason, &[]);
        }
        Ok(())
    }

    /// Declares every selected service, so that all names resolve before anything starts.
    fn declare(&mut self, selected: &BTreeSet<ServiceName>) -> Result<()> {
        // After the networks, volumes, secrets and configs.
        self.plan.ground = self.plan.entries.len();
        let (order, givers) = super::handover::order(self.desired, self.observed, selected);
        let mut declared: BTreeMap<&ServiceName, usize> = BTreeMap::new();
        for name in order {
            let service = self.service(name)?;
            let reason = match self.observed.services.get(name) {
                None => Some("it is new"),
                Some(seen) if seen.spec_hash != service.spec_hash => {
                    Some("its specification changed")
                }
                Some(seen) if seen.links != service.links => Some("its links changed"),
                Some(_) => None,
            };
            if let Some(reason) = reason.filter(|_| !self.platform_acts) {
                let action = Action::EnsureService { service };
                let before = givers.get(name).into_iter().flatten();
                let before: Vec<usize> = before
                    .filter_map(|giver| declared.get(giver).copied())
                    .collect();
                declared.insert(name, self.plan.push(action, reason, &before));
            }
        }
        Ok(())
    }

    /// What the replicas of a service wait for, with waits added where a condition demands one.
    fn dependencies(&mut self, service: &DesiredService) -> Result<Vec<usize>> {
        let mut after = Vec::new();
        let starts = self.will_start(service);
        for (name, dependency) in &service.spec.depends_on {
            let last = match self.done.get(name) {
                Some(last) => last.clone(),
                None if self.is_left_running(name) => Vec::new(),
                None => continue,
            };
            let until = match dependency.condition {
                Condition::Started => None,
                Condition::Healthy => Some(Until::Ready),
                Condition::CompletedSuccessfully => Some(Until::Completed),
            };
            let Some(until) =
                until.filter(|_| starts && dependency.required && self.is_wanted(name))
            else {
                after.extend(last);
                continue;
            };
            let seen = self.seen(name);
            let reached = last.is_empty() && seen.iter().all(|r| reached(r, until));
            if reached && !seen.is_empty() {
                continue;
            }
            let action = Action::Await {
                service: name.clone(),
                slots: Vec::new(),
                until,
                deadline: self.options.dependency_deadline,
            };
            let index = self
                .plan
                .push(action, format!("`{}` needs it", service.name), &last);
            after.push(index);
        }
        Ok(after)
    }

    /// True unless the service was scaled to nothing, so that there is nothing to wait for.
    fn is_wanted(&self, name: &ServiceName) -> bool {
        let service = self.desired.stack.services.get(name);
        service.is_some_and(|service| service.replicas > 0)
    }

    /// True if a replica of the service is going to be started by this plan.
    pub(super) fn will_start(&self, service: &DesiredService) -> bool {
        let good = self
            .seen(&service.name)
            .iter()
            .filter(|r| self.is_current(r, service) && !self.needs_start(r, service));
        good.count() < service.spec.replicas as usize
    }

    /// A dependency that this plan replaces, and whose dependent goes along.
    pub(super) fn restarting_dependency<'s>(
        &self,
        service: &'s DesiredService,
    ) -> Option<&'s ServiceName> {
        let dependencies = service.spec.depends_on.iter();
        let mut along = dependencies.filter(|(_, dependency)| dependency.restart);
        let found = along.find(|(name, _)| self.replaced.contains(*name));
        found.map(|(name, _)| name)
    }

    fn is_current(&self, replica: &ObservedReplica, service: &DesiredService) -> bool {
        let along = self.restarting_dependency(service).is_some() && replica.phase.is_alive();
        if along && self.options.recreate != Recreate::Never {
            return false;
        }
        let anew = match self.options.only.is_about(&service.name) {
            true => self.options.recreate == Recreate::Always,
            false => self.options.recreate_dependencies,
        };
        match self.options.recreate {
            _ if anew => false,
            Recreate::Never => true,
            Recreate::Always | Recreate::Changed => replica.spec_hash == service.spec_hash,
        }
    }

    /// True for a service that is wanted as it was applied last, and left as somebody made it.
    fn is_left(&self, service: &DesiredService) -> bool {
        let declared = self.observed.services.get(&service.name);
        declared.is_some_and(|declared| declared.spec_hash == service.spec_hash)
            && self.desired.left.contains(&service.name)
            && self.options.recreate == Recreate::Changed
    }

    /// True for a replica that is as wanted but does not serve and should.
    fn needs_start(&self, replica: &ObservedReplica, service: &DesiredService) -> bool {
        let job = self.is_job(&service.name);
        match replica.phase {
            Phase::Stopped | Phase::Failed if service.spec.labels.contains_key(ONE_OFF) => false,
            Phase::Stopped => !(job && replica.exit.is_some_and(|exit| exit.code == 0)),
            Phase::Failed | Phase::Pending => true,
            // Whoever asked for that has died or given up: nobody is going to start it again.
            Phase::Stopping => !service.spec.labels.contains_key(ONE_OFF),
            _ => self.is_drained(replica),
        }
    }

    /// True for a replica that was taken out of discovery, by a change that was not finished. One
    /// that is not ready yet would stay out for ever once it is.
    fn is_drained(&self, replica: &ObservedReplica) -> bool {
        self.drains && (replica.drained || (replica.is_ready() && !replica.in_discovery))
    }

    /// True for a service that runs to completion, by its own word or that of a dependent.
    pub(super) fn is_job(&self, name: &ServiceName) -> bool {
        let own = self.desired.stack.services.get(name);
        own.is_some_and(|service| service.role == Role::Job) || self.awaited.contains(name)
    }

    /// Brings the replicas of one service to what is wanted; returns its last entries.
    fn replicas(&mut self, service: &Arc<DesiredService>, after: &[usize]) -> Vec<usize> {
        if self.is_left(service) || self.is_paused(service) {
            return Vec::new();
        }
        if self.platform_acts {
            let seen = self.observed.services.get(&service.name);
            let same =
                seen.is_some_and(|s| s.spec_hash == service.spec_hash && s.links == service.links);
            if same && self.seen(&service.name).len() == service.spec.replicas as usize {
                return Vec::new();
            }
            let action = Action::EnsureService {
                service: Arc::clone(service),
            };
            return vec![
                self.plan
                    .push(action, "its specification or number changed", after),
            ];
        }
        let mut seen: Vec<&ObservedReplica> = self.seen(&service.name).to_vec();
        seen.sort_by_key(|replica| replica.id.slot);
        let (current, outdated): (Vec<&ObservedReplica>, Vec<&ObservedReplica>) = seen
            .iter()
            .copied()
            .partition(|replica| self.is_current(replica, service));
        let wanted = service.spec.replicas as usize;
        let (kept, surplus) = choose(&current, wanted);
        let missing = wanted - kept.len();
        let outdated = least_serving_last(&outdated, missing);
        let (canary, more) = self.canary(service, &kept, &outdated, missing);
        let outdated = canary.as_deref().unwrap_or(&outdated);
        let missing = missing - more;
        let (pairs, extra) = outdated.split_at(missing.min(outdated.len()));
        let stop_first = self.pace(service, pairs.len()).surge == 0;
        let mut last = Vec::new();
        let mut after = after.to_vec();
        if stop_first {
            // Nobody may start beside one that holds the same data or place.
            let gone = extra
                .iter()
                .map(|replica| self.retire(service, replica, "it is outdated", &after))
                .collect::<Vec<_>>();
            after.extend(&gone);
            last.extend(gone);
        }
        let mut unready = Vec::new();
        for replica in &kept {
            let started = self.revive(service, replica, &after);
            last.extend(started);
            if started.is_some() || !replica.is_ready() {
                unready.push(replica.id.slot);
            }
        }
        let mut before = after.clone();
        before.extend(&last);
        let replaced = self.replace(service, pairs, missing, &seen, &after);
        last.extend(&replaced);
        if !stop_first {
            before.extend(&replaced);
            last.extend(self.retire_extra(service, extra, &unready, &before));
        }
        for replica in surplus {
            last.push(self.retire(service, replica, &format!("{wanted} are wanted"), &after));
        }
        last
    }

    /// Starts a replica that is as wanted and does not serve, if it should.
    fn revive(
        &mut self,
        service: &Arc<DesiredService>,
        replica: &ObservedReplica,
        after: &[usize],
    ) -> Option<usize> {
        if !self.needs_start(replica, service) {
            return None;
        }
        if replica.phase == Phase::Stopping {
            let action = Action::RestartReplica {
                replica: replica.id.clone(),
                grace: None,
            };
            let reason = "it is being stopped";
            return Some(self.plan.push_on(replica, action, reason, after));
        }
        let state = match self.is_drained(replica) {
            true => "drained",
            false => replica.phase.as_str(),
        };
        let reason = format!("it is {state}");
        Some(self.start(service, replica.id.slot, &reason, after))
    }

    pub(super) fn start(
        &mut self,
        service: &Arc<DesiredService>,
        slot: u32,
        reason: &str,
        after: &[usize],
    ) -> usize {
        let replica = ReplicaId::new(self.plan.stack.clone(), service.name.clone(), slot);
        let action = Action::StartReplica {
            replica,
            service: Arc::clone(service),
        };
        self.plan.push(action, reason, after)
    }

    /// Drain, wait, remove; returns the entry of the removal.
    pub(super) fn retire(
        &mut self,
        service: &DesiredService,
        replica: &ObservedReplica,
        reason: &str,
        after: &[usize],
    ) -> usize {
        let way = self.way(self.policy(service).drain, reason);
        retire(self.plan, replica, way, after)
    }

    fn way<'r>(&self, drain: Duration, reason: &'r str) -> Retirement<'r> {
        Retirement {
            drains: self.drains,
            drain,
            grace: self.options.grace,
            reason,
        }
    }

    fn orphans(&mut self) {
        let known = &self.desired.stack.services;
        let mut names: BTreeSet<&ServiceName> = self
            .observed
            .replicas
            .iter()
            .map(|replica| &replica.id.service)
            .collect();
        names.extend(self.observed.services.keys());
        let left_out = &self.options.left_out;
        names.retain(|name| !known.contains_key(*name) && !left_out.contains(name));
        for name in names {
            if !self.options.orphans.goes(name) {
                let whole = matches!(self.options.only, Scope::All | Scope::WithDependencies(_));
                if !whole || self.options.orphans == Orphans::Ignore {
                    continue;
                }
                let text = format!("service `{name}` runs but is not in the stack any more");
                self.plan
                    .notes
                    .push(format!("{text}; --remove-orphans removes it"));
                continue;
            }
            let mut gone = Vec::new();
            for replica in self.seen(name).to_vec() {
                let way = self.way(Duration::ZERO, "it is an orphan");
                let end = retire(self.plan, replica, way, &[]);
                gone.push(end);
            }
            self.plan.push(
                Action::RemoveService { name: name.clone() },
                "it is an orphan",
                &gone,
            );
        }
    }

    fn final_wait(&mut self, selected: &BTreeSet<ServiceName>) {
        let Some(deadline) = self.options.wait else {
            return;
        };
        for name in selected {
            let service = &self.desired.stack.services[name];
            // Where a rollout rests, nobody does anything that could be waited for.
            let left = self.desired.left.contains(name) || self.plan.resting.contains(name);
            if left || service.replicas == 0 || service.labels.contains_key(ONE_OFF) {
                continue;
            }
            let job = self.is_job(name);
            let until = if job { Until::Completed } else { Until::Ready };
            let after = self.done.get(name).cloned().unwrap_or_default();
            let action = Action::Await {
                service: name.clone(),
                slots: Vec::new(),
                until,
                deadline,
            };
            self.plan.push(action, "", &after);
        }
    }
}
