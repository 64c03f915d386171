//! What would be observed after an action.

use std::collections::BTreeMap;

use crate::backend::{
    Action, Claim, DesiredService, Exit, HealthState, Observed, ObservedReplica, ObservedService,
    ObservedStack, Phase,
};
use crate::label::Selector;
use crate::name::{ReplicaId, StackName};
use crate::spec::{HealthWish, Role};

/// Changes what was observed as the action would have changed it.
pub(super) fn lay(observed: &mut Observed, name: &StackName, action: &Action) {
    let stack = observed.stacks.entry(name.clone()).or_default();
    match action {
        Action::EnsureNetwork { name, spec } => {
            stack.networks.insert(name.clone(), spec.clone());
        }
        Action::RemoveNetwork { name } => drop(stack.networks.remove(name)),
        Action::EnsureVolume { name, .. } => drop(stack.volumes.insert(name.clone())),
        Action::RemoveVolume { name } => drop(stack.volumes.remove(name)),
        Action::EnsureBlob { id, content } => {
            stack.blobs.insert(id.clone(), content.fingerprint());
        }
        Action::RemoveBlob { id } => drop(stack.blobs.remove(id)),
        Action::EnsureService { service } => {
            let declared = declared(stack, name, service);
            stack.services.insert(service.name.clone(), declared);
        }
        Action::RemoveService { name } => drop(stack.services.remove(name)),
        Action::Adopt { claim, .. } => adopt(stack, claim),
        action => lay_replica(stack, action),
    }
    if stack.is_empty() {
        observed.stacks.remove(name);
    }
}

/// What was taken over runs as it did.
fn adopt(stack: &mut ObservedStack, claim: &Claim) {
    match claim {
        Claim::Network { name, spec } => drop(stack.networks.insert(name.clone(), spec.clone())),
        Claim::Volume { name } => drop(stack.volumes.insert(name.clone())),
        Claim::Replica { replica, service } => {
            make(stack, replica, service);
            change(stack, replica, |seen| start(seen, service, false));
        }
    }
}

fn lay_replica(stack: &mut ObservedStack, action: &Action) {
    match action {
        Action::CreateReplica { replica, service } => make(stack, replica, service),
        Action::StartReplica { replica, service } => {
            make(stack, replica, service);
            let ends = service.spec.role == Role::Job;
            change(stack, replica, |seen| start(seen, service, ends));
        }
        Action::DrainReplica { replica } => change(stack, replica, |seen| {
            seen.in_discovery = false;
            seen.drained = true;
        }),
        Action::StopReplica { replica, .. } => change(stack, replica, end),
        Action::RestartReplica { replica, .. } | Action::ResumeReplica { replica } => {
            change(stack, replica, |seen| {
                seen.phase = Phase::Running;
                seen.in_discovery = true;
                seen.exit = None;
            });
        }
        Action::PauseReplica { replica } => change(stack, replica, |seen| {
            seen.phase = Phase::Paused;
            seen.in_discovery = false;
        }),
        Action::RemoveReplica { replica } => stack.replicas.retain(|seen| seen.id != *replica),
        _ => {}
    }
}

/// Adds a replica unless it is there.
fn make(stack: &mut ObservedStack, id: &ReplicaId, service: &DesiredService) {
    if !stack.replicas.iter().any(|seen| seen.id == *id) {
        stack.replicas.push(made(id, service));
    }
}

fn change(stack: &mut ObservedStack, id: &ReplicaId, how: impl FnOnce(&mut ObservedReplica)) {
    if let Some(seen) = stack.replicas.iter_mut().find(|seen| seen.id == *id) {
        how(seen);
    }
}

fn declared(stack: &ObservedStack, name: &StackName, service: &DesiredService) -> ObservedService {
    let former = stack.services.get(&service.name);
    ObservedService {
        stack: name.clone(),
        name: service.name.clone(),
        spec_hash: service.spec_hash.clone(),
        links: service.links.clone(),
        addresses: former
            .map(|former| former.addresses.clone())
            .unwrap_or_default(),
    }
}

/// A replica that would have been made.
fn made(id: &ReplicaId, service: &DesiredService) -> ObservedReplica {
    ObservedReplica {
        id: id.clone(),
        spec_hash: service.spec_hash.clone(),
        image: service.image.reference.familiar(),
        image_digest: service.image.digest.to_string(),
        command: service.spec.command.clone().unwrap_or_default(),
        phase: Phase::Pending,
        health: HealthState::None,
        in_discovery: false,
        drained: false,
        stop_grace: Some(service.stop_grace()),
        exit: None,
        message: None,
        created: None,
        started: None,
        ended: None,
        restarts: 0,
        addresses: BTreeMap::new(),
        ports: service.spec.ports.clone(),
        labels: service.spec.labels.clone(),
    }
}

/// It is taken to do what is hoped of it: to serve, or to end with 0.
fn start(seen: &mut ObservedReplica, service: &DesiredService, ends: bool) {
    if ends {
        return end(seen);
    }
    seen.phase = Phase::Running;
    seen.in_discovery = true;
    seen.drained = false;
    seen.exit = None;
    seen.health = match service.spec.health {
        HealthWish::Check(_) => HealthState::Healthy,
        HealthWish::FromImage if service.image.defaults.health.is_some() => HealthState::Healthy,
        _ => HealthState::None,
    };
}

fn end(seen: &mut ObservedReplica) {
    seen.phase = Phase::Stopped;
    seen.in_discovery = false;
    seen.exit = Some(Exit {
        code: 0,
        out_of_memory: false,
    });
}

/// Leaves only what the selector selects.
pub(super) fn narrow(observed: &mut Observed, selector: &Selector) {
    let whole =
        selector.services.is_empty() && selector.labels.is_empty() && selector.slot.is_none();
    if whole {
        return;
    }
    for stack in observed.stacks.values_mut() {
        stack.networks.clear();
        stack.volumes.clear();
        stack.blobs.clear();
        let all = selector.services.is_empty();
        stack
            .services
            .retain(|name, _| all || selector.services.contains(name));
        stack
            .replicas
            .retain(|seen| selector.matches(&seen.id, &seen.labels));
    }
    observed.stacks.retain(|_, stack| !stack.is_empty());
}
