//! Running replicas from outside: signalled, frozen, looked into; and replicas that wait to run.

use std::sync::Arc;

use unmoor_core::backend::{Applied, DesiredService, ProcessEntry, Usage};
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;
use unmoor_core::signal::Signal;

use super::Runtime;
use super::compile::is_on_node;
use super::replica::MARGIN;
use crate::copy::View;
use crate::error::LocalError;
use crate::sandbox::usage;
use crate::shim::{Control, Seen};
use crate::state::{ReplicaRecord, replicas};
use crate::wire::control::Request;
use crate::wire::status::{Phase, Status};

impl Runtime {
    /// A replica whose program is there, whether or not it rests.
    pub(crate) fn alive(
        &self,
        what: &str,
        id: &ReplicaId,
    ) -> Result<(ReplicaRecord, Status), LocalError> {
        let missing = || LocalError::NotFound(format!("replica {id}"));
        let record = self.replica(id)?.ok_or_else(missing)?;
        match self.see_alive(&record)? {
            Seen::Alive(status) if is_up(&status) => Ok((record, status)),
            _ => Err(does_not_run(what, id)),
        }
    }

    pub(super) fn control(&self, record: &ReplicaRecord) -> Result<Control, LocalError> {
        Control::connect(&self.layout().run(&record.key), &record.id.to_string())
    }

    /// Sends a signal to a replica's program; SIGKILL ends it for good.
    pub(crate) fn signal_replica(&self, id: &ReplicaId, signal: Signal) -> Result<(), LocalError> {
        let (record, status) = self.alive("signal", id)?;
        let mut control = self.control(&record)?;
        if signal == Signal::KILL {
            control.ask_within(&Request::Kill, MARGIN)?;
            return Ok(());
        }
        let number = u32::from(signal.number());
        control.ask(&Request::Signal { signal: number })?;
        if status.phase == Phase::Paused {
            control.ask(&Request::Resume)?;
        }
        Ok(())
    }

    /// Freezes a replica's processes.
    pub(crate) fn pause_replica(&self, id: &ReplicaId) -> Result<Applied, LocalError> {
        let (record, _) = self.alive("pause", id)?;
        self.with_shim(&record, |seen| match seen {
            Seen::Alive(status) if status.phase == Phase::Paused => Ok(Applied::Unchanged),
            Seen::Alive(status) if is_up(&status) => {
                self.control(&record)?.ask(&Request::Pause)?;
                Ok(Applied::Changed)
            }
            _ => Err(does_not_run("pause", id)),
        })
    }

    /// Lets a frozen replica go on.
    pub(crate) fn resume_replica(&self, id: &ReplicaId) -> Result<Applied, LocalError> {
        let missing = || LocalError::NotFound(format!("replica {id}"));
        let record = self.replica(id)?.ok_or_else(missing)?;
        self.with_shim(&record, |seen| match seen {
            Seen::Alive(status) if status.phase == Phase::Paused => {
                self.control(&record)?.ask(&Request::Resume)?;
                Ok(Applied::Changed)
            }
            _ => Ok(Applied::Unchanged),
        })
    }

    /// Makes a replica that waits to be started.
    pub(crate) fn create_replica(
        &self,
        id: &ReplicaId,
        desired: &Arc<DesiredService>,
    ) -> Result<Applied, LocalError> {
        match self.replica(id)? {
            Some(record) if record.desired.spec_hash == desired.spec_hash => Ok(Applied::Unchanged),
            Some(_) => {
                let text =
                    format!("create {id}: a replica of another specification has this place");
                Err(LocalError::Conflict(text))
            }
            None => {
                self.make_only(id, desired)?;
                Ok(Applied::Changed)
            }
        }
    }

    /// What the selected replicas that run have used.
    pub(crate) fn usage(&self, selector: &Selector) -> Result<Vec<Usage>, LocalError> {
        let mut found = Vec::new();
        for record in self.selected(selector)? {
            let Seen::Alive(status) = self.see_alive(&record)? else {
                continue;
            };
            if is_up(&status) {
                let accounts = self.hierarchies().accounts(&self.cgroup_path(&record.key));
                let usage = Usage::new(record.id.clone(), std::time::SystemTime::now());
                // What passes through the node's interfaces is not the replica's doing alone.
                let own_network = !is_on_node(&record.desired.spec);
                let init = own_network.then_some(status.init.pid);
                found.push(usage::of(&accounts, init, usage));
            }
        }
        found.sort_by(|a, b| a.replica.cmp(&b.replica));
        Ok(found)
    }

    /// The processes of a replica.
    pub(crate) fn processes(&self, id: &ReplicaId) -> Result<Vec<ProcessEntry>, LocalError> {
        let (record, _) = self.alive("list processes of", id)?;
        let accounts = self.hierarchies().accounts(&self.cgroup_path(&record.key));
        Ok(usage::processes(&accounts, record.id_base))
    }

    /// The files of a replica that runs.
    pub(crate) fn view(&self, id: &ReplicaId) -> Result<View, LocalError> {
        let (record, status) = self.alive("copy files of", id)?;
        View::open(status.init, record.id_base)?
            .ok_or_else(|| LocalError::WrongPhase(format!("copy files of {id}: it has just ended")))
    }

    /// The record of a replica, by its id.
    pub(crate) fn has_input(&self, id: &ReplicaId) -> Result<bool, LocalError> {
        let record = self.db().read("read replicas", |c| replicas::load(c, id))?;
        Ok(record.is_some_and(|r| r.desired.spec.stdin_open || r.desired.spec.tty))
    }
}

fn does_not_run(what: &str, id: &ReplicaId) -> LocalError {
    LocalError::WrongPhase(format!("{what} {id}: it does not run"))
}

fn is_up(status: &Status) -> bool {
    matches!(
        status.phase,
        Phase::Running | Phase::Paused | Phase::Stopping
    )
}
