//! What goes on inside replicas: pauses, signals, use, processes, attached streams.

use std::sync::Arc;
use std::time::Duration;

use unmoor_core::backend::{
    Applied, DesiredService, ExecOutput, Phase, ProcessEntry, Transfer, Usage,
};
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;
use unmoor_core::signal::Signal;
use unmoor_core::{Error, ErrorKind, Result};

use super::{Event, Model, Replica};
use crate::bug::Bug;

/// What a program of the model needs.
const MEMORY: u64 = 4 << 20;

pub(crate) fn missing(what: &str, id: &ReplicaId) -> Error {
    let text = format!("{what} {id}: there is no such replica");
    Error::new(ErrorKind::NotFound, text)
}

pub(crate) fn wrong_phase(what: &str, replica: &Replica) -> Error {
    let text = format!("{what} {}: it is {}", replica.id, replica.phase.as_str());
    Error::new(ErrorKind::WrongPhase, text)
}

impl Model {
    /// A replica whose program is there.
    pub(crate) fn alive(&self, what: &str, id: &ReplicaId) -> Result<&Replica> {
        let replica = self.replica(id).ok_or_else(|| missing(what, id))?;
        match replica.phase.is_alive() {
            true => Ok(replica),
            false => Err(wrong_phase(what, replica)),
        }
    }

    /// Makes a replica that is not there.
    pub(super) fn create(
        &mut self,
        id: &ReplicaId,
        service: &Arc<DesiredService>,
    ) -> Result<Applied> {
        self.need_declared(id)?;
        match self.replica(id) {
            None => {
                self.make_replica(id, service)?;
                Ok(Applied::Changed)
            }
            Some(replica) if replica.service.spec_hash == service.spec_hash => {
                Ok(Applied::Unchanged)
            }
            Some(_) => {
                let text =
                    format!("create {id}: a replica of another specification has this place");
                Err(Error::new(ErrorKind::Conflict, text).on(&id.stack))
            }
        }
    }

    pub(super) fn pause(&mut self, id: &ReplicaId) -> Result<Applied> {
        let ignored = self.bugs.has(Bug::PauseIgnored);
        let replica = self.replica_mut(id).ok_or_else(|| missing("pause", id))?;
        match replica.phase {
            Phase::Paused => Ok(Applied::Unchanged),
            Phase::Running => {
                if !ignored {
                    replica.phase = Phase::Paused;
                    self.touch();
                }
                Ok(Applied::Changed)
            }
            _ => Err(wrong_phase("pause", replica)),
        }
    }

    pub(super) fn resume(&mut self, id: &ReplicaId) -> Result<Applied> {
        let replica = self.replica(id).ok_or_else(|| missing("resume", id))?;
        if replica.phase != Phase::Paused {
            return Ok(Applied::Unchanged);
        }
        self.thaw(id);
        self.plan_check(id);
        Ok(Applied::Changed)
    }

    /// Lets a frozen replica's programs do what they could not do meanwhile.
    pub(super) fn thaw(&mut self, id: &ReplicaId) {
        let Some(replica) = self.replica_mut(id).filter(|r| r.phase == Phase::Paused) else {
            return;
        };
        replica.phase = Phase::Running;
        for (pid, timer) in std::mem::take(&mut replica.held) {
            self.schedule(Duration::ZERO, Event::Process(pid, timer));
        }
        self.touch();
    }

    /// Keeps a timer of a frozen program for later; true if it was.
    pub(super) fn hold(&mut self, pid: u64, timer: crate::probe::Timer) -> bool {
        let Some(process) = self.processes.get(&pid) else {
            return false;
        };
        let id = process.replica.clone();
        match self.replica_mut(&id) {
            Some(replica) if replica.phase == Phase::Paused => {
                replica.held.push((pid, timer));
                true
            }
            _ => false,
        }
    }

    pub(crate) fn signal_replica(&mut self, id: &ReplicaId, signal: Signal) -> Result<()> {
        let main = self.alive("signal", id)?.main;
        self.thaw(id);
        if self.bugs.has(Bug::SignalLost) {
            return Ok(());
        }
        if signal == Signal::KILL
            && let Some(replica) = self.replica_mut(id)
        {
            replica.stop_requested = true;
        }
        if let Some(pid) = main {
            self.signal(pid, i32::from(signal.number()));
        }
        Ok(())
    }

    pub(crate) fn usage_of_all(&self, selector: &Selector) -> Vec<Usage> {
        let all = self
            .stacks
            .values()
            .flat_map(|stack| stack.replicas.values());
        let selected = all.filter(|replica| {
            replica.phase.is_alive()
                && selector.matches(&replica.id, &replica.service.spec.labels)
                && !self.is_foreign_replica(&replica.id)
        });
        selected.map(|replica| self.usage_of(replica)).collect()
    }

    fn usage_of(&self, replica: &Replica) -> Usage {
        let mut usage = Usage::new(replica.id.clone(), self.wall());
        let limits = &replica.service.spec.resources;
        // Programs of the model take no time and send no packets.
        usage.cpu = Some(Duration::ZERO);
        usage.memory = Some(MEMORY);
        usage.memory_limit = limits.memory.map(|limit| limit.0);
        usage.pids = Some(self.inside(&replica.id).count() as u64);
        usage.pids_limit = limits.pids.map(u64::from);
        usage.network = Some(Transfer::default());
        usage
    }

    fn inside<'a>(
        &'a self,
        id: &'a ReplicaId,
    ) -> impl Iterator<Item = (&'a u64, &'a crate::probe::Process)> {
        self.processes
            .iter()
            .filter(move |(_, process)| process.replica == *id && process.exit.is_none())
    }

    pub(crate) fn list_processes(&self, id: &ReplicaId) -> Result<Vec<ProcessEntry>> {
        self.alive("list processes of", id)?;
        let mut list: Vec<ProcessEntry> = self
            .inside(id)
            .map(|(number, process)| ProcessEntry {
                // As the probe's own command `id` tells it.
                pid: if process.main {
                    1
                } else {
                    u32::try_from(number + 1).unwrap_or(u32::MAX)
                },
                node_pid: None,
                parent: 0,
                user: process.who.uid,
                cpu: Duration::ZERO,
                started: Some(process.started),
                command: process.argv.clone(),
            })
            .collect();
        list.sort_by_key(|process| process.pid);
        Ok(list)
    }

    /// What an attached session sees next, from this line of the log on.
    pub(crate) fn attached(
        &self,
        id: &ReplicaId,
        run: u64,
        line: &mut usize,
    ) -> Option<ExecOutput> {
        let Some(replica) = self.replica(id) else {
            return Some(ExecOutput::Exited(137));
        };
        if let Some(next) = replica.logs.get(*line) {
            *line += 1;
            let bytes = format!("{}\n", next.text).into_bytes();
            return Some(match next.channel {
                unmoor_core::backend::Channel::Stdout => ExecOutput::Stdout(bytes),
                unmoor_core::backend::Channel::Stderr => ExecOutput::Stderr(bytes),
            });
        }
        let over = replica.run != run || !replica.phase.is_alive();
        over.then(|| ExecOutput::Exited(replica.exit.map_or(0, |exit| exit.code)))
    }
}
