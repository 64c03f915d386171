//! The life of a replica after its start: drained, stopped, restarted, removed, adopted.

use std::time::{Duration, Instant};

use rustix::process::Pid;
use unmoor_core::backend::Applied;
use unmoor_core::name::ReplicaId;

use super::compile::grace;
use super::{Runtime, networks_of};
use crate::error::LocalError;
use crate::failpoint::failpoint;
use crate::net::Exchanges;
use crate::shim::{self, Control, Seen};
use crate::state::{
    Durability, Intent, IntentKind, NetworkRecord, ReplicaRecord, addresses, networks,
    remove_claimed, remove_tree, replicas, write_json,
};
use crate::wire::control::Request;
use crate::wire::status::Phase;

/// What a shim may take beyond the grace to kill, collect and tidy.
pub(super) const MARGIN: Duration = Duration::from_secs(30);

/// Longest wait for the slowest address map; only a shim that is stopped or starved takes so long.
const SETTLED: Duration = Duration::from_secs(5);

/// Time for a change of endpoints to reach the address map of a shim that is too old to be asked:
/// some 4 ms, and much more on a busy machine.
const SPREAD: Duration = Duration::from_millis(150);

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
        self.may_wait()?;
        let directory = self.layout().replica(&record.key);
        let adopted = shim::adopt(self.program()?, &directory, &record.id.to_string())
            .and_then(shim::Launching::wait);
        if let Err(error) = adopted {
            // Another command may have been faster.
            return match shim::see(&run)? {
                Seen::Alive(status) => Ok(Seen::Alive(status)),
                _ => {
                    // Or the replica is gone, and the new shim's group came after the old one's
                    // was removed.
                    self.sweep_shim_groups();
                    Err(error)
                }
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
            record.waits = false;
            record.problem = None;
        })
    }

    /// Takes a replica out of discovery: no new connection reaches it.
    pub(crate) fn drain_replica(&self, id: &ReplicaId) -> Result<Applied, LocalError> {
        let Some(record) = self.replica(id)? else {
            return Ok(Applied::Unchanged);
        };
        shim::obeys(&self.layout().run(&record.key), &id.to_string())?;
        self.update(&record, |record| record.drained = true)?;
        failpoint("replica.drained");
        self.with_shim(&record, |seen| {
            let Seen::Alive(status) = &seen else {
                return Ok(());
            };
            // Also when it is on record: whoever wrote that may have died before this.
            if !record.drained || status.serves() {
                self.ask_to_drain(&record, true)?;
            }
            // Whoever ends the replica next must come after the last map that leads to it.
            self.settle(&self.networks_of_replica(&record)?)
        })?;
        Ok(match record.drained {
            true => Applied::Unchanged,
            false => Applied::Changed,
        })
    }

    /// The connections of a replica that serves, and how long an answer may take: nothing where
    /// there is nobody to wait for.
    pub(crate) fn exchanges(
        &self,
        id: &ReplicaId,
    ) -> Result<Option<(Exchanges, Duration)>, LocalError> {
        let Some(record) = self.replica(id)?.filter(|it| !it.addresses.is_empty()) else {
            return Ok(None);
        };
        let Seen::Alive(status) = self.see_alive(&record)? else {
            return Ok(None);
        };
        let pid = i32::try_from(status.init.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|_| status.phase == Phase::Running) else {
            return Ok(None);
        };
        match Exchanges::of(pid) {
            Ok(exchanges) => Ok(Some((exchanges, grace(&record.desired.spec)))),
            Err(error) => {
                tracing::warn!(replica = %id, %error, "its connections cannot be seen");
                Ok(None)
            }
        }
    }

    /// Returns when every address map on these networks holds what their zones say now.
    fn settle(&self, on: &[NetworkRecord]) -> Result<(), LocalError> {
        let all = self
            .db()
            .read("read replicas", |c| replicas::list(c, None))?;
        let follows = |record: &&ReplicaRecord| {
            let is_on = |network: &NetworkRecord| {
                network.stack == record.id.stack && record.addresses.contains_key(&network.name)
            };
            on.iter().any(is_on)
        };
        self.settle_these(all.iter().filter(follows));
        Ok(())
    }

    /// The same for the maps of these replicas, whatever they follow.
    pub(super) fn settle_these<'r>(&self, replicas: impl Iterator<Item = &'r ReplicaRecord>) {
        let followers: Vec<_> = replicas
            .map(|record| shim::Follower {
                replica: record.id.to_string(),
                run: self.layout().run(&record.key),
            })
            .collect();
        let begun = Instant::now();
        let answers = shim::settle(&followers, begun + SETTLED);
        if answers.older > 0 {
            std::thread::park_timeout(SPREAD.saturating_sub(begun.elapsed()));
        }
        for replica in answers.late {
            tracing::warn!(
                replica,
                "its address map has not followed a change: connections \
                from there may still go where nobody is soon"
            );
        }
    }

    /// Tells the shim to keep its replica out of discovery, or to let it in again.
    fn ask_to_drain(&self, record: &ReplicaRecord, drained: bool) -> Result<(), LocalError> {
        let run = self.layout().run(&record.key);
        Control::connect(&run, &record.id.to_string())?.ask(&Request::Drain { drained })?;
        Ok(())
    }

    /// Puts a drained replica back into discovery.
    pub(super) fn undrain(&self, record: &ReplicaRecord) -> Result<Applied, LocalError> {
        // The shim first: killed in between, the record says still that there is something to do.
        self.ask_to_drain(record, false)?;
        self.note_started(record)?;
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
        self.with_shim(&record, |seen| match seen {
            Seen::Alive(status) if !matches!(status.phase, Phase::Exited | Phase::Failed) => {
                self.ask_to_stop(&record, limit)?;
                Ok(Applied::Changed)
            }
            _ => Ok(Applied::Unchanged),
        })
    }

    pub(super) fn ask_to_stop(
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
        self.start_existing(&record)?;
        Ok(Applied::Changed)
    }

    /// Removes a replica with its writable layer; absent is success.
    pub(crate) fn remove_replica(&self, id: &ReplicaId) -> Result<Applied, LocalError> {
        if let Some(record) = self.replica(id)? {
            shim::obeys(&self.layout().run(&record.key), &id.to_string())?;
        }
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
        let interfaces = self.take_down(record);
        failpoint("replica.dismissed");
        let on = self.networks_of_replica(record)?;
        if !left.is_clean() {
            self.clear_traces(record, &on)?;
        }
        self.remove_shim_group(record)?;
        self.unpublish_own(record, &on)?;
        self.forbid_across(record)?;
        remove_claimed(&self.layout().run(&record.key))?;
        remove_tree(&self.layout().replica(&record.key))?;
        drop(left);
        interfaces.wait()?;
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
}
