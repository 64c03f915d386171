//! What there is: declared networks and services, replicas, and how actions change them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use unmoor::backend::{Action, Applied, DesiredService, Observed, ObservedService, ResolvedImage};
use unmoor::image::ImageRef;
use unmoor::name::{NetworkName, ReplicaId, ServiceName, StackName};
use unmoor::spec::Network;
use unmoor::{Error, ErrorKind, Result};

use crate::ProcBackend;
use crate::process::Process;
use crate::state::Records;

/// Everything that the backend knows.
#[derive(Debug, Default)]
pub(crate) struct World {
    networks: BTreeMap<(StackName, NetworkName), Network>,
    services: BTreeMap<(StackName, ServiceName), Arc<DesiredService>>,
    pub(crate) replicas: BTreeMap<ReplicaId, Process>,
    pub(crate) images: BTreeMap<ImageRef, ResolvedImage>,
    pub(crate) records: Records,
}

fn changed(is: bool) -> Applied {
    if is {
        Applied::Changed
    } else {
        Applied::Unchanged
    }
}

impl World {
    pub(crate) fn observe(&self) -> Observed {
        let mut observed = Observed::default();
        for ((stack, name), spec) in &self.networks {
            let stack = observed.stacks.entry(stack.clone()).or_default();
            stack.networks.insert(name.clone(), spec.clone());
        }
        for ((stack, name), service) in &self.services {
            let seen = ObservedService {
                stack: stack.clone(),
                name: name.clone(),
                spec_hash: service.spec_hash.clone(),
                links: service.links.clone(),
                addresses: BTreeMap::new(),
            };
            let stack = observed.stacks.entry(stack.clone()).or_default();
            stack.services.insert(name.clone(), seen);
        }
        for (id, process) in &self.replicas {
            let stack = observed.stacks.entry(id.stack.clone()).or_default();
            stack.replicas.push(process.observe(id));
        }
        observed
    }

    /// The actions that only change what is known.
    pub(crate) fn declare(&mut self, action: &Action, stack: &StackName) -> Result<Applied> {
        match action {
            Action::EnsureNetwork { name, spec } => {
                let key = (stack.clone(), name.clone());
                Ok(changed(self.networks.insert(key, spec.clone()).is_none()))
            }
            Action::RemoveNetwork { name } => {
                let key = (stack.clone(), name.clone());
                Ok(changed(self.networks.remove(&key).is_some()))
            }
            Action::EnsureService { service } => {
                let key = (stack.clone(), service.name.clone());
                let former = self.services.insert(key, Arc::clone(service));
                Ok(changed(former.as_ref() != Some(service)))
            }
            Action::RemoveService { name } => {
                let key = (stack.clone(), name.clone());
                Ok(changed(self.services.remove(&key).is_some()))
            }
            // Whoever plans over the gaps gets an error here, and no success that is not one.
            other => {
                let text = format!("{other}: processes have no such thing");
                Err(Error::new(ErrorKind::Unsupported, text).on(stack))
            }
        }
    }

    /// Idempotent: what runs is left alone, what ended is started again.
    pub(crate) fn start(
        &mut self,
        id: &ReplicaId,
        service: &Arc<DesiredService>,
        folder: &Path,
    ) -> Result<Applied> {
        if let Some(there) = self.replicas.get(id) {
            if there.service.spec_hash != service.spec_hash {
                let text = "start: the slot has a replica of another specification";
                return Err(Error::new(ErrorKind::Conflict, text).on(id));
            }
            return self.start_again(id);
        }
        let process = Process::start(id, service, folder)?;
        self.replicas.insert(id.clone(), process);
        Ok(Applied::Changed)
    }

    pub(crate) fn start_again(&mut self, id: &ReplicaId) -> Result<Applied> {
        let there = self.replica(id)?;
        if there.is_alive() {
            return Ok(Applied::Unchanged);
        }
        let again = there.again(id)?;
        self.replicas.insert(id.clone(), again);
        Ok(Applied::Changed)
    }

    pub(crate) fn remove(&mut self, id: &ReplicaId) -> Applied {
        changed(self.replicas.remove(id).is_some())
    }

    pub(crate) fn replica(&self, id: &ReplicaId) -> Result<&Process> {
        self.replicas
            .get(id)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "there is no such replica").on(id))
    }
}

impl ProcBackend {
    /// Idempotent: absent and ended are success. Dropped in the middle, the signal is sent and the
    /// same call again goes on waiting.
    pub(crate) async fn stop(&self, id: &ReplicaId, grace: Option<Duration>) -> Result<Applied> {
        let Some(mut stopping) = self.world().replicas.get_mut(id).and_then(Process::stop) else {
            return Ok(Applied::Unchanged);
        };
        stopping.wait(grace).await;
        Ok(Applied::Changed)
    }
}
