//! What is in the world and nobody of ours has made: seen as such, left alone, taken over.

use std::sync::Arc;

use unmoor_core::backend::{
    Action, Applied, Claim, DesiredService, Foreign, Form, Maker, StackPlace,
};
use unmoor_core::name::{ReplicaId, ServiceName, StackName};
use unmoor_core::{Error, ErrorKind, Result};

use super::inside::missing;
use super::{Holding, Model};
use crate::bug::Bug;

/// Everything of a stack that has a place.
fn places(stack: &StackName, holding: &Holding) -> Vec<StackPlace> {
    let networks = holding.networks.keys().map(|name| StackPlace::Network {
        stack: stack.clone(),
        name: name.clone(),
    });
    let own = holding
        .volumes
        .iter()
        .filter(|(_, (_, external))| !external);
    let volumes = own.map(|(name, _)| StackPlace::Volume {
        stack: stack.clone(),
        name: name.clone(),
    });
    let replicas = holding.replicas.values();
    let replicas = replicas.map(|replica| StackPlace::Replica {
        id: replica.id.clone(),
    });
    networks.chain(volumes).chain(replicas).collect()
}

/// The world's own name of something.
fn name_of(place: &StackPlace) -> String {
    match place {
        StackPlace::Network { stack, name } => format!("{stack}_{name}"),
        StackPlace::Volume { stack, name } => format!("{stack}_{name}"),
        StackPlace::Replica { id } => id.to_string(),
    }
}

/// The place that an action is about, if it is about one.
fn place_of(action: &Action, stack: &StackName) -> Option<StackPlace> {
    let stack = stack.clone();
    Some(match action {
        Action::EnsureNetwork { name, .. } | Action::RemoveNetwork { name } => {
            let name = name.clone();
            StackPlace::Network { stack, name }
        }
        Action::EnsureVolume { name, .. } | Action::RemoveVolume { name } => {
            let name = name.clone();
            StackPlace::Volume { stack, name }
        }
        Action::StartReplica { replica, .. }
        | Action::CreateReplica { replica, .. }
        | Action::PauseReplica { replica }
        | Action::ResumeReplica { replica }
        | Action::DrainReplica { replica }
        | Action::StopReplica { replica, .. }
        | Action::RestartReplica { replica, .. }
        | Action::RemoveReplica { replica } => StackPlace::Replica {
            id: replica.clone(),
        },
        _ => return None,
    })
}

impl Model {
    /// Makes all that a stack has somebody else's; it goes on as it is. False without the stack.
    pub(crate) fn disown(&mut self, stack: &StackName, maker: &Maker) -> bool {
        let Some(holding) = self.stacks.get(stack) else {
            return false;
        };
        for place in places(stack, holding) {
            self.foreign.insert(place, maker.clone());
        }
        let services = holding.services.keys();
        let services = services.map(|name| (stack.clone(), name.clone()));
        self.undeclared.extend(services);
        self.records.remove(stack);
        self.touch();
        true
    }

    pub(super) fn is_foreign(&self, place: &StackPlace) -> bool {
        self.foreign.contains_key(place)
    }

    /// True for a replica that is not ours.
    pub(crate) fn is_foreign_replica(&self, id: &ReplicaId) -> bool {
        !self.foreign.is_empty() && self.is_foreign(&StackPlace::Replica { id: id.clone() })
    }

    /// True for a service that only somebody else has declared.
    pub(super) fn is_undeclared(&self, stack: &StackName, name: &ServiceName) -> bool {
        !self.undeclared.is_empty() && self.undeclared.contains(&(stack.clone(), name.clone()))
    }

    /// What every question about the inside of a replica begins with.
    pub(crate) fn need_ours(&self, what: &str, id: &ReplicaId) -> Result<()> {
        match self.is_foreign_replica(id) {
            true => Err(missing(what, id)),
            false => Ok(()),
        }
    }

    /// What is not ours.
    pub(crate) fn foreign(&self, of: Option<&StackName>) -> Vec<Foreign> {
        let all = self.foreign.iter();
        let mut found: Vec<Foreign> = all
            .filter(|(place, _)| of.is_none_or(|stack| place.stack() == stack))
            .filter_map(|(place, maker)| self.foreign_at(place, maker))
            .collect();
        if self.bugs.has(Bug::ForeignHidden) {
            found.retain(|item| item.phase.is_none());
        }
        found
    }

    fn foreign_at(&self, place: &StackPlace, maker: &Maker) -> Option<Foreign> {
        let holding = self.stacks.get(place.stack())?;
        let (form, phase) = match place {
            StackPlace::Network { name, .. } => (
                Form::Network(holding.networks.get(name)?.spec.clone()),
                None,
            ),
            StackPlace::Volume { name, .. } => {
                holding.volumes.get(name)?;
                (Form::Volume, None)
            }
            StackPlace::Replica { id } => {
                let replica = self.replica(id)?;
                let form = Form::Replica(Arc::clone(&replica.service));
                (form, Some(replica.phase))
            }
        };
        Some(Foreign {
            id: name_of(place),
            maker: maker.clone(),
            place: Some(place.clone()),
            form,
            phase,
        })
    }

    /// How an action on what is not ours ends, if it is about that.
    pub(super) fn hands_off(&self, action: &Action, stack: &StackName) -> Option<Result<Applied>> {
        if self.foreign.is_empty() || self.bugs.has(Bug::ForeignTouched) {
            return None;
        }
        let place = place_of(action, stack)?;
        let maker = self.foreign.get(&place)?;
        let refused = |kind, text: String| Some(Err(Error::new(kind, text).on(stack)));
        match action {
            Action::EnsureNetwork { .. }
            | Action::EnsureVolume { .. }
            | Action::StartReplica { .. }
            | Action::CreateReplica { .. } => {
                let text = format!(
                    "{action}: {} is there and is not ours ({maker})",
                    name_of(&place)
                );
                refused(ErrorKind::AlreadyExists, text)
            }
            Action::RemoveNetwork { .. }
            | Action::RemoveVolume { .. }
            | Action::RemoveReplica { .. }
            | Action::StopReplica { .. }
            | Action::DrainReplica { .. } => Some(Ok(Applied::Unchanged)),
            _ => {
                let text = format!("{action}: there is no such replica of ours");
                refused(ErrorKind::NotFound, text)
            }
        }
    }

    /// Takes something over.
    pub(super) fn adopt(
        &mut self,
        stack: &StackName,
        from: &str,
        claim: &Claim,
    ) -> Result<Applied> {
        let place = claim.place(stack);
        let refused = |kind, text: String| Err(Error::new(kind, text).on(stack));
        if !self.is_foreign(&place) {
            return match self.is_ours_as(claim, stack, from) {
                Some(true) => Ok(Applied::Unchanged),
                Some(false) => refused(
                    ErrorKind::Conflict,
                    format!("adopt {from}: {place} is ours already"),
                ),
                None if self.foreign.keys().any(|other| name_of(other) == from) => refused(
                    ErrorKind::Conflict,
                    format!("adopt {from}: it is not {place}"),
                ),
                None => refused(
                    ErrorKind::NotFound,
                    format!("adopt {from}: it is not there"),
                ),
            };
        }
        if name_of(&place) != from {
            let text = format!("adopt {from}: {place} is taken by {}", name_of(&place));
            return refused(ErrorKind::Conflict, text);
        }
        if let Claim::Replica { replica, service } = claim {
            self.need_declared(replica)?;
            self.run_as(replica, service);
        }
        if self.bugs.has(Bug::AdoptTakesAll) {
            self.foreign.retain(|other, _| other.stack() != stack);
        }
        if !self.bugs.has(Bug::AdoptForgotten) {
            self.foreign.remove(&place);
        }
        self.touch();
        Ok(Applied::Changed)
    }

    /// Whether what has the place is ours, and is what was to be taken over.
    fn is_ours_as(&self, claim: &Claim, stack: &StackName, from: &str) -> Option<bool> {
        let holding = self.holding(stack)?;
        let same = name_of(&claim.place(stack)) == from;
        match claim {
            Claim::Network { name, .. } => holding.networks.get(name).map(|_| same),
            Claim::Volume { name } => holding.volumes.get(name).map(|_| same),
            Claim::Replica { replica, service } => self
                .replica(replica)
                .map(|seen| same && seen.service.spec_hash == service.spec_hash),
            _ => None,
        }
    }

    fn run_as(&mut self, id: &ReplicaId, service: &Arc<DesiredService>) {
        let restarts = self.bugs.has(Bug::AdoptRestarts);
        if let Some(replica) = self.replica_mut(id) {
            replica.service = Arc::clone(service);
        }
        if restarts {
            let _ = self.kill(id);
            self.start_replica(id);
        }
    }
}
