//! What there is: records, and what the shims say.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use unmoor_core::backend::{
    Exit, HealthState, Observed, ObservedReplica, ObservedService, ObservedStack, Phase,
};
use unmoor_core::label::Selector;

use super::Runtime;
use super::strays::Lost;
use crate::error::LocalError;
use crate::shim::{self, Seen};
use crate::state::{
    DbFailure, ReplicaRecord, ServiceRecord, blobs, networks, replicas, services, volumes,
};
use crate::wire::status::{self, Status};

/// Replicas that are looked at in no time.
const FEW: usize = 8;

/// A replica on record, and what its shim says.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) record: ReplicaRecord,
    pub(super) seen: Seen,
    /// What was removed while it ran.
    lost: Option<Lost>,
}

impl Sight {
    pub(super) fn phase(&self) -> Phase {
        match &self.seen {
            Seen::Nothing if self.lost.is_some() || self.record.problem.is_some() => Phase::Failed,
            Seen::Alive(_) if self.lost.is_some() => Phase::Failed,
            seen => phase_of(seen),
        }
    }

    pub(super) fn health(&self) -> HealthState {
        let Seen::Alive(status) = &self.seen else {
            return HealthState::None;
        };
        match status.health {
            status::HealthState::None => HealthState::None,
            status::HealthState::Starting => HealthState::Starting,
            status::HealthState::Healthy => HealthState::Healthy,
            status::HealthState::Unhealthy => HealthState::Unhealthy,
        }
    }

    /// True while new connections are sent to it.
    pub(super) fn serves(&self) -> bool {
        let ready = matches!(&self.seen, Seen::Alive(status) if status.serves());
        ready && !self.record.drained && self.lost.is_none()
    }

    fn exit(&self) -> Option<Exit> {
        let status = self.seen.status()?;
        let waits = status.phase == status::Phase::Restarting;
        if !waits && !matches!(self.phase(), Phase::Stopped | Phase::Failed) {
            return None;
        }
        let code = status.exit_code?;
        Some(Exit {
            code,
            out_of_memory: status.oom_killed,
        })
    }

    fn message(&self) -> Option<String> {
        if self.record.problem.is_some() {
            return self.record.problem.clone();
        }
        if let Some(lost) = self.lost {
            let what = match lost {
                Lost::RunDirectory => "its run directory was removed",
                Lost::Interface => "its network interface was removed, so that nobody reaches it",
            };
            return Some(format!("{what}; starting it again puts it right"));
        }
        let status = self.seen.status()?;
        if !status.error.is_empty() {
            return Some(status.error.clone());
        }
        let lost = match &self.seen {
            Seen::Past(_) if self.phase() == Phase::Failed => "the node went down while it ran",
            Seen::Orphan(_) => "its shim has died and could not be replaced",
            _ if status.exit_unknown => "it ended unseen while its shim was dead",
            _ => return None,
        };
        Some(lost.to_owned())
    }

    fn observed(&self) -> ObservedReplica {
        let record = &self.record;
        let status = self.seen.status();
        let spec = &record.desired.spec;
        ObservedReplica {
            id: record.id.clone(),
            spec_hash: record.desired.spec_hash.clone(),
            image: record.desired.image.reference.familiar(),
            image_digest: record.desired.image.digest.to_string(),
            command: record.command.clone(),
            phase: self.phase(),
            health: self.health(),
            in_discovery: self.serves(),
            drained: record.drained,
            stop_grace: Some(record.desired.stop_grace()),
            exit: self.exit(),
            message: self.message(),
            created: time(record.created_ns),
            started: status.and_then(|status| time(status.started_ns)),
            ended: status.and_then(|status| time(status.finished_ns)),
            restarts: status.map_or(0, |status| status.restarts),
            addresses: record
                .addresses
                .iter()
                .map(|(network, address)| (network.clone(), IpAddr::V4(*address)))
                .collect(),
            ports: record.ports.clone(),
            labels: spec.labels.clone(),
        }
    }
}

/// Where a replica stands by what its shim says, or said last.
pub(super) fn phase_of(seen: &Seen) -> Phase {
    match seen {
        Seen::Nothing => Phase::Pending,
        Seen::Alive(status) => phase(status),
        Seen::Orphan(status) | Seen::Past(status) => match phase(status) {
            Phase::Stopped => Phase::Stopped,
            _ => Phase::Failed,
        },
    }
}

fn phase(status: &Status) -> Phase {
    match status.phase {
        status::Phase::Creating | status::Phase::Starting | status::Phase::Restarting => {
            Phase::Starting
        }
        status::Phase::Running => Phase::Running,
        status::Phase::Paused => Phase::Paused,
        status::Phase::Stopping => Phase::Stopping,
        status::Phase::Exited if status.stop_requested || status.exit_code == Some(0) => {
            Phase::Stopped
        }
        status::Phase::Exited | status::Phase::Failed => Phase::Failed,
    }
}

fn time(nanos: u64) -> Option<SystemTime> {
    (nanos > 0).then(|| UNIX_EPOCH + Duration::from_nanos(nanos))
}

impl Runtime {
    /// Looks at a replica; one whose shim has died gets a new one, and only if that fails it is
    /// seen as it was left.
    pub(super) fn sight(&self, record: ReplicaRecord) -> Result<Sight, LocalError> {
        let seen = match self.see_alive(&record) {
            Ok(seen) => seen,
            Err(LocalError::InTheWay) => return Err(LocalError::InTheWay),
            Err(_) => shim::see(&self.layout().run(&record.key))?,
        };
        let lost = self.lost(&record, &seen)?;
        Ok(Sight { record, seen, lost })
    }

    /// Where the status records of the selected replicas are.
    pub(crate) fn run_directories(&self, selector: &Selector) -> Result<Vec<PathBuf>, LocalError> {
        let (_, all) = self
            .db()
            .read("read replicas", |c| self.selected_in(c, selector))?;
        let selected = all
            .iter()
            .filter(|record| selector.matches(&record.id, &record.desired.spec.labels));
        Ok(selected
            .map(|record| self.layout().run(&record.key))
            .collect())
    }

    /// The services and replicas among which the selected ones are: few if services are named.
    fn selected_in(
        &self,
        c: &Connection,
        selector: &Selector,
    ) -> Result<(Vec<ServiceRecord>, Vec<ReplicaRecord>), DbFailure> {
        let stack = selector.stack.as_ref();
        let (Some(stack), false) = (stack, selector.services.is_empty()) else {
            if replicas::count_of(c, stack)? > FEW {
                self.may_wait()?;
            }
            return Ok((services::list(c, stack)?, replicas::list(c, stack)?));
        };
        let (mut found, mut running) = (Vec::new(), Vec::new());
        for name in BTreeSet::from_iter(&selector.services) {
            found.extend(services::load(c, stack, name)?);
            running.extend(replicas::of_service(c, stack, name)?);
        }
        Ok((found, running))
    }

    /// What there is of the selected stacks.
    pub(crate) fn observe(&self, selector: &Selector) -> Result<Observed, LocalError> {
        let mut observed = Observed::default();
        let stack = selector.stack.as_ref();
        let narrow =
            !selector.services.is_empty() || !selector.labels.is_empty() || selector.slot.is_some();
        let (services, replicas) = self.db().read("read the record", |c| {
            if !narrow {
                for record in networks::list(c, stack)? {
                    let seen = observed.stacks.entry(record.stack).or_default();
                    seen.networks.insert(record.name, record.spec);
                }
                for record in volumes::list(c, stack)? {
                    let seen = observed.stacks.entry(record.stack).or_default();
                    seen.volumes.insert(record.name);
                }
                for (stack, id, fingerprint) in blobs::list(c, stack)? {
                    observed
                        .stacks
                        .entry(stack)
                        .or_default()
                        .blobs
                        .insert(id, fingerprint);
                }
            }
            self.selected_in(c, selector)
        })?;
        for record in services {
            let (name, labels) = (&record.desired.name, &record.desired.spec.labels);
            if selector.matches_service(&record.stack, name, labels) {
                let seen = observed.stacks.entry(record.stack.clone()).or_default();
                seen.services
                    .insert(name.clone(), observed_service(&record));
            }
        }
        let is_selected = |record: &ReplicaRecord| {
            let labels = &record.desired.spec.labels;
            selector.matches(&record.id, labels)
        };
        let selected: Vec<_> = replicas.into_iter().filter(is_selected).collect();
        if selected.len() > FEW {
            self.may_wait()?;
        }
        for record in selected {
            let id = record.id.clone();
            match self.sight(record) {
                Err(LocalError::InTheWay) => return Err(LocalError::InTheWay),
                Ok(sight) => {
                    let seen: &mut ObservedStack =
                        observed.stacks.entry(id.stack.clone()).or_default();
                    seen.replicas.push(sight.observed());
                }
                Err(error) => {
                    observed.partial = true;
                    observed
                        .unreadable
                        .push(unmoor_core::Error::from(error).on(&id));
                }
            }
        }
        Ok(observed)
    }
}

fn observed_service(record: &ServiceRecord) -> ObservedService {
    ObservedService {
        stack: record.stack.clone(),
        name: record.desired.name.clone(),
        spec_hash: record.desired.spec_hash.clone(),
        links: record.desired.links.clone(),
        addresses: record
            .addresses
            .iter()
            .map(|(network, address)| (network.clone(), IpAddr::V4(*address)))
            .collect(),
    }
}
