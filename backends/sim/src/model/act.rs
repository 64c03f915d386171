//! Actions, as far as they happen at once; what takes time is begun here and finished later.

use std::sync::Arc;
use std::time::Duration;

use unmoor_core::backend::{Action, Applied, DesiredService, Phase};
use unmoor_core::name::{NetworkName, ReplicaId, ServiceName, StackName, VolumeName};
use unmoor_core::spec::{BlobId, LinuxCaps, Network, SecretBytes, Volume};
use unmoor_core::{Error, ErrorKind, Result};

use super::net::networks_of;
use super::{Declared, Model, Net, Tree};
use crate::bug::Bug;

/// How far an action came at once.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is done.
    Done(Applied),
    /// The replica is being stopped; the rest follows once it has.
    Stopping(ReplicaId),
}

fn refused(kind: ErrorKind, stack: &StackName, text: String) -> Error {
    Error::new(kind, text).on(stack)
}

impl Model {
    /// Does what can be done at once.
    pub(crate) fn begin(&mut self, action: &Action, stack: &StackName) -> Result<Begun> {
        if let Some(answer) = self.hands_off(action, stack) {
            return answer.map(Begun::Done);
        }
        let begun = match action {
            Action::EnsureNetwork { name, spec } => self.ensure_network(stack, name, spec)?,
            Action::RemoveNetwork { name } => self.remove_network(stack, name)?,
            Action::EnsureVolume { name, spec } => self.ensure_volume(stack, name, spec)?,
            Action::RemoveVolume { name } => self.remove_volume(stack, name)?,
            Action::EnsureBlob { id, content } => self.ensure_blob(stack, id, content),
            Action::RemoveBlob { id } => self.remove_blob(stack, id),
            Action::EnsureService { service } => self.ensure_service(stack, service)?,
            Action::Adopt { from, claim } => self.adopt(stack, from, claim)?,
            Action::RemoveService { name } => self.remove_service(stack, name)?,
            Action::StartReplica { replica, service } => self.ensure_replica(replica, service)?,
            Action::CreateReplica { replica, service } => self.create(replica, service)?,
            Action::PauseReplica { replica } => self.pause(replica)?,
            Action::ResumeReplica { replica } => self.resume(replica)?,
            Action::DrainReplica { replica } => self.drain(replica)?,
            Action::StopReplica { replica, grace } | Action::RestartReplica { replica, grace } => {
                return self.stop(action, replica, *grace);
            }
            Action::RemoveReplica { replica } => return self.stop(action, replica, None),
            _ => {
                let text = format!("{action} is carried out by the caller, not by a backend");
                return Err(Error::new(ErrorKind::Unsupported, text).on(stack));
            }
        };
        let begun = if self.bugs.has(Bug::AlwaysChanged) {
            Applied::Changed
        } else {
            begun
        };
        Ok(Begun::Done(begun))
    }

    /// Does what follows once the replica has stopped.
    pub(crate) fn finish(&mut self, action: &Action) -> Applied {
        match action {
            Action::RemoveReplica { replica } if !self.bugs.has(Bug::RemoveLeavesReplica) => {
                self.forget_replica(replica);
            }
            Action::RestartReplica { replica, .. } => {
                if let Some(replica) = self.replica_mut(replica) {
                    replica.draining = false;
                }
                self.start_replica(replica);
            }
            _ => {}
        }
        Applied::Changed
    }

    /// True once a replica that was told to stop does not run.
    pub(crate) fn has_stopped(&self, id: &ReplicaId) -> bool {
        self.replica(id)
            .is_none_or(|replica| !replica.phase.is_alive())
    }

    fn ensure_network(
        &mut self,
        stack: &StackName,
        name: &NetworkName,
        spec: &Network,
    ) -> Result<Applied> {
        let there = self
            .holding(stack)
            .and_then(|holding| holding.networks.get(name));
        if let Some(net) = there {
            let same = net.spec.internal == spec.internal
                && (spec.subnet.is_none() || net.spec.subnet == spec.subnet);
            let text = || format!("create network {name}: it exists with other settings");
            return if same {
                Ok(Applied::Unchanged)
            } else {
                Err(refused(ErrorKind::Conflict, stack, text()))
            };
        }
        let net = Net::new(spec, self.subnets)?;
        self.subnets += 1;
        let holding = self.stacks.entry(stack.clone()).or_default();
        holding.networks.insert(name.clone(), net);
        self.touch();
        Ok(Applied::Changed)
    }

    fn remove_network(&mut self, stack: &StackName, name: &NetworkName) -> Result<Applied> {
        let Some(holding) = self.stacks.get_mut(stack) else {
            return Ok(Applied::Unchanged);
        };
        let replica = holding
            .replicas
            .values()
            .find(|r| r.addresses.contains_key(name));
        let service = holding
            .services
            .iter()
            .find(|(_, s)| s.addresses.contains_key(name));
        let user = replica
            .map(|replica| format!("replica {}", replica.id))
            .or_else(|| service.map(|(service, _)| format!("service {service}")));
        if let Some(user) = user {
            let text = format!("remove network {name}: {user} uses it");
            return Err(refused(ErrorKind::WrongPhase, stack, text));
        }
        if self.bugs.has(Bug::RemoveLeavesNetwork) {
            return Ok(Applied::Changed);
        }
        let gone = holding.networks.remove(name).is_some();
        self.removed(stack, gone)
    }

    fn removed(&mut self, stack: &StackName, gone: bool) -> Result<Applied> {
        if !gone {
            return Ok(Applied::Unchanged);
        }
        self.touch();
        self.tidy(stack);
        Ok(Applied::Changed)
    }

    fn ensure_volume(
        &mut self,
        stack: &StackName,
        name: &VolumeName,
        spec: &Volume,
    ) -> Result<Applied> {
        let physical = spec
            .external
            .clone()
            .unwrap_or_else(|| format!("{stack}_{}", self.told_apart(name)));
        let wanted = (physical.clone(), spec.external.is_some());
        let known = self.holding(stack).and_then(|h| h.volumes.get(name));
        if known == Some(&wanted) {
            return Ok(Applied::Unchanged);
        }
        if spec.external.is_some() && !self.volumes.contains_key(&physical) {
            let text = format!("use volume {name}: `{physical}` does not exist");
            return Err(refused(ErrorKind::NotFound, stack, text));
        }
        self.volumes.entry(physical).or_insert_with(Tree::new);
        let holding = self.stacks.entry(stack.clone()).or_default();
        holding.volumes.insert(name.clone(), wanted);
        self.touch();
        Ok(Applied::Changed)
    }

    /// What of a volume's name tells it from others.
    fn told_apart(&self, name: &VolumeName) -> String {
        let name = name.as_str();
        match self.bugs.has(Bug::SimilarVolumesShared) {
            true => name.to_ascii_lowercase().replace(['-', '.'], "_"),
            false => name.to_owned(),
        }
    }

    fn remove_volume(&mut self, stack: &StackName, name: &VolumeName) -> Result<Applied> {
        let Some(holding) = self.stacks.get_mut(stack) else {
            return Ok(Applied::Unchanged);
        };
        let Some((physical, external)) = holding.volumes.get(name).cloned() else {
            return Ok(Applied::Unchanged);
        };
        let uses =
            |source: &super::Source| matches!(source, super::Source::Volume(v) if *v == physical);
        let user = holding
            .replicas
            .values()
            .find(|replica| replica.mounts.iter().any(|mount| uses(&mount.source)));
        if let Some(user) = user {
            let text = format!("remove volume {name}: replica {} uses it", user.id);
            return Err(refused(ErrorKind::WrongPhase, stack, text));
        }
        holding.volumes.remove(name);
        if !external && !self.bugs.has(Bug::VolumeKeepsData) {
            self.volumes.remove(&physical);
        }
        self.removed(stack, true)
    }

    fn ensure_blob(&mut self, stack: &StackName, id: &BlobId, content: &SecretBytes) -> Applied {
        let holding = self.stacks.entry(stack.clone()).or_default();
        if holding.blobs.get(id) == Some(content) {
            return Applied::Unchanged;
        }
        holding.blobs.insert(id.clone(), content.clone());
        self.touch();
        Applied::Changed
    }

    fn remove_blob(&mut self, stack: &StackName, id: &BlobId) -> Applied {
        let holding = self.stacks.get_mut(stack);
        let gone = holding.is_some_and(|holding| holding.blobs.remove(id).is_some());
        self.removed(stack, gone).unwrap_or(Applied::Unchanged)
    }

    fn ensure_service(
        &mut self,
        stack: &StackName,
        service: &Arc<DesiredService>,
    ) -> Result<Applied> {
        let former = self
            .holding(stack)
            .and_then(|holding| holding.services.get(&service.name));
        if let Some(former) = former
            && same_service(&former.service, service)
            && !self.is_undeclared(stack, &service.name)
        {
            return Ok(Applied::Unchanged);
        }
        for network in networks_of(&service.spec) {
            let known = self
                .holding(stack)
                .is_some_and(|h| h.networks.contains_key(&network));
            if !known {
                let text = format!(
                    "declare {}: network `{network}` does not exist",
                    service.name
                );
                return Err(refused(ErrorKind::NotFound, stack, text));
            }
        }
        LinuxCaps::of(&service.spec.security).map_err(|error| error.on(&service.name))?;
        self.reserve_ports(stack, service)?;
        let addresses = self.service_addresses(stack, &service.name, &service.spec)?;
        let fewer = |former: &Declared| service.links.len() < former.service.links.len();
        let former = self.holding(stack);
        let former = former.and_then(|holding| holding.services.get(&service.name));
        let mut service = Arc::clone(service);
        if self.bugs.has(Bug::UnlinkTakesAll) && former.is_some_and(fewer) {
            Arc::make_mut(&mut service).links.clear();
        }
        let name = service.name.clone();
        let declared = Declared {
            service,
            since: self.now,
            addresses,
        };
        let holding = self.stacks.entry(stack.clone()).or_default();
        holding.services.insert(name.clone(), declared);
        self.undeclared.remove(&(stack.clone(), name));
        self.touch();
        Ok(Applied::Changed)
    }

    fn remove_service(&mut self, stack: &StackName, name: &ServiceName) -> Result<Applied> {
        if self.is_undeclared(stack, name) {
            return Ok(Applied::Unchanged);
        }
        if let Some(replica) = self.replicas_of(stack, name).next() {
            let text = format!("remove service {name}: replica {} is there", replica.id);
            return Err(refused(ErrorKind::WrongPhase, stack, text));
        }
        let holding = self.stacks.get_mut(stack);
        let Some(gone) = holding.and_then(|holding| holding.services.remove(name)) else {
            return Ok(Applied::Unchanged);
        };
        if self.bugs.has(Bug::NamesakesSuffer) {
            let namesakes = self.stacks.values_mut();
            for holding in namesakes.filter_map(|holding| holding.services.get_mut(name)) {
                holding.addresses.clear();
            }
        }
        self.give_back(stack, &gone.addresses);
        self.release_service_ports(stack, name);
        self.removed(stack, true)
    }

    pub(super) fn need_declared(&self, id: &ReplicaId) -> Result<()> {
        let holding = self.holding(&id.stack);
        let declared = holding.is_some_and(|h| h.services.contains_key(&id.service));
        if declared && !self.is_undeclared(&id.stack, &id.service) {
            return Ok(());
        }
        let text = format!("make {id}: service {} is not declared", id.service);
        Err(refused(ErrorKind::NotFound, &id.stack, text))
    }

    fn ensure_replica(&mut self, id: &ReplicaId, service: &Arc<DesiredService>) -> Result<Applied> {
        self.need_declared(id)?;
        let Some(replica) = self.replica_mut(id) else {
            self.make_replica(id, service)?;
            self.start_replica(id);
            if self.bugs.has(Bug::StartWakesAll) {
                self.wake_all(&id.stack);
            }
            return Ok(Applied::Changed);
        };
        if replica.service.spec_hash != service.spec_hash {
            let text = format!("start {id}: a replica of another specification has this place");
            return Err(refused(ErrorKind::Conflict, &id.stack, text));
        }
        match replica.phase {
            Phase::Running | Phase::Starting | Phase::Paused if replica.draining => {
                replica.draining = false;
                self.touch();
                Ok(Applied::Changed)
            }
            Phase::Running | Phase::Starting | Phase::Paused => Ok(Applied::Unchanged),
            Phase::Stopping => {
                let text = format!("start {id}: it is being stopped");
                Err(refused(ErrorKind::WrongPhase, &id.stack, text))
            }
            Phase::Pending | Phase::Stopped | Phase::Failed => {
                replica.in_a_row = 0;
                replica.draining = false;
                self.start_replica(id);
                Ok(Applied::Changed)
            }
        }
    }

    fn wake_all(&mut self, stack: &StackName) {
        let all = self.stacks.get(stack).into_iter();
        let all = all.flat_map(|holding| holding.replicas.values());
        let asleep = all.filter(|replica| replica.phase == Phase::Stopped);
        for id in asleep.map(|replica| replica.id.clone()).collect::<Vec<_>>() {
            self.start_replica(&id);
        }
    }

    fn drain(&mut self, id: &ReplicaId) -> Result<Applied> {
        let Some(replica) = self.replica_mut(id) else {
            return Ok(Applied::Unchanged);
        };
        if replica.draining {
            return Ok(Applied::Unchanged);
        }
        replica.draining = true;
        self.touch();
        Ok(Applied::Changed)
    }

    fn stop(&mut self, action: &Action, id: &ReplicaId, grace: Option<Duration>) -> Result<Begun> {
        let Some(replica) = self.replica(id) else {
            return if matches!(action, Action::RestartReplica { .. }) {
                let text = format!("restart {id}: there is no such replica");
                Err(refused(ErrorKind::NotFound, &id.stack, text))
            } else {
                Ok(Begun::Done(Applied::Unchanged))
            };
        };
        let ended = matches!(replica.phase, Phase::Stopped | Phase::Failed);
        if ended && matches!(action, Action::StopReplica { .. }) {
            return Ok(Begun::Done(Applied::Unchanged));
        }
        self.begin_stop(id, grace);
        Ok(Begun::Stopping(id.clone()))
    }
}

/// True if nothing that a declaration decides differs; the count is the planner's business.
fn same_service(former: &DesiredService, new: &DesiredService) -> bool {
    former.spec_hash == new.spec_hash && former.links == new.links && {
        let mut plain = former.spec.clone();
        plain.replicas = new.spec.replicas;
        plain == new.spec
    }
}
