//! The life of a replica after its start: drained, stopped, restarted, removed, adopted.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use unmoor_core::backend::Applied;
use unmoor_core::name::ReplicaId;

use super::compile::grace;
use super::{Runtime, networks_of};
use crate::error::LocalError;
use crate::failpoint::failpoint;
use crate::net;
use crate::shim::{self, Control, Seen};
use crate::state::{
    Durability, Intent, IntentKind, NetworkRecord, ReplicaRecord, addresses, networks,
    remove_if_empty, remove_tree, replicas, start_time, write_json,
};
use crate::wire::control::Request;
use crate::wire::status::{Phase, ProcessId};

/// What a shim may take beyond the grace to kill, collect and tidy.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a shim that was told to quit may take to be gone.
const LEAVE: Duration = Duration::from_secs(5);
/// Tries to remove a cgroup whose last process is just leaving.
const TRIES: u32 = 200;

impl Runtime {
    pub(super) fn replica(&self, id: &ReplicaId) -> Result<Option<ReplicaRecord>, LocalError> {
        self.db().read("read replicas", |c| replicas::load(c, id))
    }

    /// Looks at a replica; one whose shim has died gets a new one.
    pub(super) fn see_alive(&self, record: &ReplicaRecord) -> Result<Seen, LocalError> {
        let run = self.layout().run(&record.key);
        let seen = shim::see(&run)?;
        if !matches!(seen, Seen::Orphan(_)) {
            return Ok(seen);
        }
        let directory = self.layout().replica(&record.key);
        let adopted = shim::adopt(self.program()?, &directory, &record.id.to_string())
            .and_then(shim::Launching::wait);
        if let Err(error) = adopted {
            // Another command may have been faster.
            return match shim::see(&run)? {
                Seen::Alive(status) => Ok(Seen::Alive(status)),
                _ => Err(error),
            };
        }
        if record.drained {
            self.ask_to_drain(record, true)?;
        }
        shim::see(&run)
    }

    /// The networks that a replica has addresses on.
    pub(super) fn networks_of_replica(
        &self,
        record: &ReplicaRecord,
    ) -> Result<Vec<NetworkRecord>, LocalError> {
        let names = networks_of(&record.desired.spec);
        self.db().read("read networks", |c| {
            let mut found = Vec::new();
            for name in &names {
                found.extend(networks::load(c, &record.id.stack, name)?);
            }
            Ok(found)
        })
    }

    /// Changes a replica's record, in both places.
    pub(super) fn update(
        &self,
        record: &ReplicaRecord,
        change: impl FnOnce(&mut ReplicaRecord),
    ) -> Result<(), LocalError> {
        let mut changed = record.clone();
        change(&mut changed);
        if changed == *record {
            return Ok(());
        }
        write_json(&self.layout().replica(&record.key).join("record"), &changed)?;
        let store = |c: &_| replicas::store(c, &changed);
        self.db()
            .write("record a replica", Durability::Power, store)
    }

    /// A replica that was started anew is in discovery.
    pub(super) fn note_started(&self, record: &ReplicaRecord) -> Result<(), LocalError> {
        self.update(record, |record| {
            record.drained = false;
            record.problem = None;
        })
    }

    /// Takes a replica out of discovery: no new connection reaches it.
    pub(crate) fn drain_replica(&self, id: &ReplicaId) -> Result<Applied, LocalError> {
        let Some(record) = self.replica(id)? else {
            return Ok(Applied::Unchanged);
        };
        if record.drained {
            return Ok(Applied::Unchanged);
        }
        self.update(&record, |record| record.drained = true)?;
        failpoint("replica.drained");
        if let Seen::Alive(_) = self.see_alive(&record)? {
            self.ask_to_drain(&record, true)?;
        }
        Ok(Applied::Changed)
    }

    /// Tells the shim to keep its replica out of discovery, or to let it in again.
    fn ask_to_drain(&self, record: &ReplicaRecord, drained: bool) -> Result<(), LocalError> {
        let run = self.layout().run(&record.key);
        Control::connect(&run, &record.id.to_string())?.ask(&Request::Drain { drained })?;
        Ok(())
    }

    /// Puts a drained replica back into discovery.
    pub(super) fn undrain(&self, record: &ReplicaRecord) -> Result<Applied, LocalError> {
        self.note_started(record)?;
        self.ask_to_drain(record, false)?;
        Ok(Applied::Changed)
    }

    /// Stops a replica and keeps it; absent or stopped is success.
    pub(crate) fn stop_replica(
        &self,
        id: &ReplicaId,
        limit: Option<Duration>,
    ) -> Result<Applied, LocalError> {
        let Some(record) = self.replica(id)? else {
            return Ok(Applied::Unchanged);
        };
        match self.see_alive(&record)? {
            Seen::Alive(status) if !matches!(status.phase, Phase::Exited | Phase::Failed) => {
                self.ask_to_stop(&record, limit)?;
                Ok(Applied::Changed)
            }
            _ => Ok(Applied::Unchanged),
        }
    }

    fn ask_to_stop(
        &self,
        record: &ReplicaRecord,
        limit: Option<Duration>,
    ) -> Result<(), LocalError> {
        let run = self.layout().run(&record.key);
        let mut control = Control::connect(&run, &record.id.to_string())?;
        let patience = limit.unwrap_or_else(|| grace(&record.desired.spec)) + MARGIN;
        let grace_ms = limit.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        control.ask_within(
            &Request::Stop {
                signal: 0,
                grace_ms,
            },
            patience,
        )?;
        Ok(())
    }

    /// Stops and starts a replica again.
    pub(crate) fn restart_replica(
        &self,
        id: &ReplicaId,
        limit: Option<Duration>,
    ) -> Result<Applied, LocalError> {
        let missing = || LocalError::NotFound(format!("replica {id}"));
        let record = self.replica(id)?.ok_or_else(missing)?;
        self.stop_replica(id, limit)?;
        failpoint("replica.between");
        self.start_existing(record)?;
        Ok(Applied::Changed)
    }

    /// Removes a replica with its writable layer; absent is success.
    pub(crate) fn remove_replica(&self, id: &ReplicaId) -> Result<Applied, LocalError> {
        let begun = self
            .db()
            .write("remove a replica", Durability::Process, |c| {
                let Some(record) = replicas::load(c, id)? else {
                    return Ok(None);
                };
                let kind = IntentKind::RemoveReplica;
                let intent = Intent::begin(c, kind, &id.stack, &record.key)?;
                Ok(Some((record, intent)))
            })?;
        let Some((record, intent)) = begun else {
            return Ok(Applied::Unchanged);
        };
        failpoint("replica.leaving");
        self.erase(&record, Some(intent), Durability::Power)?;
        Ok(Applied::Changed)
    }

    /// Ends a replica and removes every trace of it, however much there is.
    pub(super) fn erase(
        &self,
        record: &ReplicaRecord,
        intent: Option<i64>,
        durability: Durability,
    ) -> Result<(), LocalError> {
        let left = self.dismiss(record)?;
        failpoint("replica.dismissed");
        let on = self.networks_of_replica(record)?;
        if left == Left::Unclean {
            self.clear_traces(record, &on)?;
        }
        self.unpublish_own(record, &on)?;
        remove_tree(&self.layout().run(&record.key))?;
        remove_tree(&self.layout().replica(&record.key))?;
        failpoint("replica.erased");
        self.db().write("forget a replica", durability, |c| {
            addresses::take_back(c, &format!("replica {}", record.key))?;
            replicas::remove(c, &record.key)?;
            match intent {
                Some(intent) => Intent::end(c, intent),
                None => Ok(()),
            }
        })
    }

    /// Removes what a shim removes when it goes, for one that could not.
    fn clear_traces(&self, record: &ReplicaRecord, on: &[NetworkRecord]) -> Result<(), LocalError> {
        for network in on {
            net::remove_endpoint(&self.zone(network)?, &record.key)?;
        }
        let ports = Self::published_ports(record, on)?;
        net::republish(&self.publication(&record.id.service, ports, on)?)?;
        for address in record.addresses.values() {
            net::remove_interface(&net::veth_name(*address))?;
        }
        for path in self
            .hierarchies()
            .directories(&self.cgroup_path(&record.key))
        {
            remove_cgroup(&path)?;
        }
        Ok(())
    }

    /// Stops a replica and lets its shim go.
    fn dismiss(&self, record: &ReplicaRecord) -> Result<Left, LocalError> {
        let run = self.layout().run(&record.key);
        let seen = match self.see_alive(record) {
            Ok(seen) => seen,
            // Nobody can be asked any more: end its processes ourselves.
            Err(error) => {
                tracing::warn!(replica = %record.id, "its shim cannot be replaced: {error}");
                shim::see(&run)?
            }
        };
        match seen {
            Seen::Alive(status) => {
                if !matches!(status.phase, Phase::Exited | Phase::Failed) {
                    // A shim in the middle of its first start ends when it is told to stop.
                    match self.ask_to_stop(record, None) {
                        Err(error) if shim::is_shim_alive(&run) => return Err(error),
                        Ok(()) | Err(_) => {}
                    }
                }
                let shim = open_process(status.shim);
                let quit = Control::connect(&run, &record.id.to_string())
                    .and_then(|mut control| control.ask(&Request::Quit));
                let left = match quit {
                    Ok(_) => Left::Clean,
                    Err(_) if !shim::is_shim_alive(&run) => Left::Unclean,
                    Err(error) => return Err(error),
                };
                if let Some(shim) = shim {
                    wait_for_end(&shim, LEAVE);
                }
                Ok(left)
            }
            Seen::Orphan(status) => {
                if let Some(init) = open_process(status.init) {
                    let _ = pidfd_send_signal(&init, Signal::KILL);
                    wait_for_end(&init, LEAVE);
                }
                Ok(Left::Unclean)
            }
            Seen::Past(_) | Seen::Nothing => Ok(Left::Unclean),
        }
    }
}

/// How a shim has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// By itself, with everything that it had made.
    Clean,
    /// It is dead, or never was; what it had made may be there.
    Unclean,
}

/// A descriptor of a process, if it is still the one meant.
fn open_process(id: ProcessId) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(id.pid).ok()?)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Looked at with the descriptor held: the number cannot change hands any more.
    (start_time(id.pid) == Some(id.start_time)).then_some(process)
}

fn wait_for_end(process: &OwnedFd, limit: Duration) {
    let limit = Timespec::try_from(limit).ok();
    // A signal that interrupts the wait shortens it; whoever comes next finds what is left.
    let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], limit.as_ref());
}

/// Removes a cgroup and those that we may have made above it; absent is fine.
fn remove_cgroup(path: &std::path::Path) -> Result<(), LocalError> {
    use std::io::ErrorKind;
    for _ in 0..TRIES {
        match std::fs::remove_dir(path) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                let kill = path.join("cgroup.kill");
                let _ = std::fs::write(kill, "1");
                // The kernel tells nobody when a group has become empty on version 1.
                std::thread::park_timeout(Duration::from_millis(10));
            }
            Err(source) => return Err(LocalError::io("remove cgroup", path, source)),
        }
    }
    for parent in path.ancestors().skip(1).take(2) {
        remove_if_empty(parent);
    }
    Ok(())
}
