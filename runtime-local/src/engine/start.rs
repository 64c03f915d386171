//! Making a replica: what it is given, its directories, its shim.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use unmoor_core::backend::{Applied, DesiredService};
use unmoor_core::name::ReplicaId;

use super::across::has_across;
use super::compile::{self, Parts};
use super::publish::found;
use super::{Runtime, subnet};
use crate::error::LocalError;
use crate::failpoint::failpoint;
use crate::net;
use crate::sandbox::idmap;
use crate::shim::{self, Seen};
use crate::state::{
    DbFailure, Durability, Intent, IntentKind, NetworkRecord, ReplicaRecord, ServiceRecord,
    addresses, make_private_dir, now_ns, random_hex, replicas, services, write_json, write_private,
};
use crate::wire::control::{Request, VERSION};
use crate::wire::status::{Phase, Status};

/// Pause between two looks at a start that somebody else has begun.
const PAUSE: Duration = Duration::from_millis(2);

/// When a replica that is made is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    /// By another action.
    Later,
}

impl Runtime {
    /// Makes and starts a replica, or starts the one that is there.
    pub(crate) fn start_replica(
        &self,
        id: &ReplicaId,
        desired: &Arc<DesiredService>,
    ) -> Result<Applied, LocalError> {
        let (known, service, on) = self.db().read("read replicas", |c| {
            let service = services::load(c, &id.stack, &id.service)?;
            let on = Self::networks_in(c, &id.stack, &desired.spec)?;
            Ok((replicas::load(c, id)?, service, on))
        })?;
        if let Some(record) = known {
            if record.desired.spec_hash != desired.spec_hash {
                let text = format!("start {id}: a replica of another specification has this place");
                return Err(LocalError::Conflict(text));
            }
            return self.start_existing(&record);
        }
        let missing = || {
            LocalError::NotFound(format!(
                "start {id}: service {} is not declared",
                id.service
            ))
        };
        let service = service.ok_or_else(missing)?;
        let on = found(on, &id.service)?;
        self.make_replica(id, desired, (&service, &on), When::Now)?;
        Ok(Applied::Changed)
    }

    /// Makes a replica that waits to be started.
    pub(super) fn make_only(
        &self,
        id: &ReplicaId,
        desired: &Arc<DesiredService>,
    ) -> Result<(), LocalError> {
        let load = |c: &_| services::load(c, &id.stack, &id.service);
        let missing = || {
            let service = &id.service;
            LocalError::NotFound(format!("make {id}: service {service} is not declared"))
        };
        let service = self.db().read("read services", load)?.ok_or_else(missing)?;
        let on = self.network_records(&id.stack, &id.service, &desired.spec)?;
        self.make_replica(id, desired, (&service, &on), When::Later)
    }

    fn make_replica(
        &self,
        id: &ReplicaId,
        desired: &Arc<DesiredService>,
        (service, networks): (&ServiceRecord, &[NetworkRecord]),
        when: When,
    ) -> Result<(), LocalError> {
        let command = compile::command(desired)?;
        self.refuse_stray_replica(id)?;
        let delegated = idmap::delegated();
        let blank = ReplicaRecord {
            key: random_hex(6)?,
            id: id.clone(),
            desired: Arc::clone(desired),
            id_base: 0,
            addresses: BTreeMap::new(),
            ports: Vec::new(),
            layers: service.layers.clone(),
            command,
            created_ns: now_ns(),
            drained: false,
            waits: when == When::Later,
            problem: None,
        };
        let (record, intent) = self
            .db()
            .write("record a replica", Durability::Process, |c| {
                let record = give(c, blank, networks, &delegated)?;
                replicas::store(c, &record)?;
                let intent = Intent::begin(c, IntentKind::StartReplica, &id.stack, &record.key)?;
                Ok((record, intent))
            })?;
        failpoint("replica.recorded");
        let result = self.bring_up(record.clone(), service, networks, (intent, when));
        if let Err(error) = result {
            // The error is what the user needs to see; a failed clean-up is found by the intent.
            let undone = self.undo_start(&record.key, intent);
            return Err(undone.err().map_or(error, |left| {
                tracing::warn!(replica = %id, "clean up after a failed start: {left}");
                left
            }));
        }
        Ok(())
    }

    fn bring_up(
        &self,
        mut record: ReplicaRecord,
        service: &ServiceRecord,
        networks: &[NetworkRecord],
        (intent, when): (i64, When),
    ) -> Result<(), LocalError> {
        self.publish_own(&mut record, networks)?;
        let ports = Self::published_ports(&record, networks)?;
        self.make_directories(&record)?;
        let links = self.links_of(service)?;
        if !networks.is_empty() {
            net::write_links(&self.layout().run(&record.key).join("links"), &links)?;
        }
        if has_across(service) {
            self.permit_across(service, &record)?;
        }
        failpoint("replica.directories");
        let plan = self.compile(
            &record,
            &Parts {
                service,
                networks,
                ports,
            },
        )?;
        if when == When::Later {
            // Where the shim keeps it: a start finds it there, as after a reboot.
            write_private(
                &self.layout().replica(&record.key).join("plan"),
                &plan.encode(),
            )?;
            return self.commit(&record, intent);
        }
        let launching = shim::launch(self.program()?, &plan)?;
        failpoint("replica.launched");
        // The commit overlaps with the start. What it says is true either way: the replica has
        // been made; whether it runs is the shim's to say.
        self.commit(&record, intent)?;
        failpoint("replica.committed");
        launching.wait()
    }

    fn commit(&self, record: &ReplicaRecord, intent: i64) -> Result<(), LocalError> {
        // All but its ports was on record before it was made.
        if record.ports.is_empty() {
            return self.db().end("record a replica", intent);
        }
        self.db().write("record a replica", Durability::Power, |c| {
            replicas::store(c, record)?;
            Intent::end(c, intent)
        })
    }

    fn make_directories(&self, record: &ReplicaRecord) -> Result<(), LocalError> {
        let directory = self.layout().replica(&record.key);
        make_private_dir(&directory)?;
        write_json(&directory.join("record"), record)?;
        make_private_dir(&self.layout().run(&record.key))
    }

    /// Removes what a start that failed, or was killed, has left.
    pub(super) fn undo_start(&self, key: &str, intent: i64) -> Result<(), LocalError> {
        let record = self
            .db()
            .read("read replicas", |c| replicas::by_key(c, key))?;
        match record {
            Some(record) => self.erase(&record, Some(intent), Durability::Process),
            None => self
                .db()
                .write("forget an intent", Durability::Process, |c| {
                    Intent::end(c, intent)
                }),
        }
    }

    /// Starts a replica that is on record, unless it runs.
    pub(super) fn start_existing(&self, record: &ReplicaRecord) -> Result<Applied, LocalError> {
        self.with_shim(record, |seen| match seen {
            Seen::Alive(status) => self.start_by_shim(record, status),
            Seen::Orphan(_) | Seen::Past(_) | Seen::Nothing => {
                self.relaunch(record)?;
                self.note_started(record)?;
                Ok(Applied::Changed)
            }
        })
    }

    fn start_by_shim(&self, record: &ReplicaRecord, seen: Status) -> Result<Applied, LocalError> {
        let status = self.when_started(record, seen)?;
        if self.lacks_interface(record, &status)? {
            return self.start_anew(record, &status);
        }
        match status.phase {
            Phase::Stopping => {
                let text = format!("start {}: it is being stopped", record.id);
                Err(LocalError::WrongPhase(text))
            }
            // Its end is the occasion to give it a shim of this version.
            Phase::Exited | Phase::Failed if status.speaks < VERSION => {
                self.start_anew(record, &status)
            }
            Phase::Exited | Phase::Failed => {
                self.note_started(record)?;
                self.control(record)?.ask(&Request::Start)?;
                Ok(Applied::Changed)
            }
            _ if record.drained => self.undrain(record),
            _ => Ok(Applied::Unchanged),
        }
    }

    /// Starts a replica under a new shim.
    fn start_anew(&self, record: &ReplicaRecord, status: &Status) -> Result<Applied, LocalError> {
        self.send_away(record, status)?;
        self.relaunch(record)?;
        self.note_started(record)?;
        Ok(Applied::Changed)
    }

    /// What becomes of a start that somebody else has begun: that it is under way does not say
    /// that it succeeds, nor that the shim still lives.
    fn when_started(&self, record: &ReplicaRecord, seen: Status) -> Result<Status, LocalError> {
        let mut status = seen;
        let begun = Instant::now();
        while matches!(status.phase, Phase::Creating | Phase::Starting) {
            if begun.elapsed() > shim::PATIENCE {
                return Err(shim::silence(&record.id.to_string(), shim::PATIENCE));
            }
            let version = VERSION;
            self.control(record)?.ask(&Request::Hello { version })?;
            std::thread::park_timeout(PAUSE);
            match shim::see(&self.layout().run(&record.key))? {
                Seen::Alive(now) => status = now,
                _ => {
                    return Err(LocalError::Gone {
                        replica: record.id.to_string(),
                        problem: "ended before the replica was started".to_owned(),
                    });
                }
            }
        }
        Ok(status)
    }

    /// Starts a new shim for a replica that has none, as after a reboot, by the plan that is kept.
    pub(super) fn relaunch(&self, record: &ReplicaRecord) -> Result<(), LocalError> {
        let plan = self.kept_plan(record)?;
        let service = self.db().read("read services", |c| {
            services::load(c, &record.id.stack, &record.id.service)
        })?;
        if !self.layout().run(&record.key).exists() {
            self.end_strays(record);
            self.clear_traces(record, &self.networks_of_replica(record)?)?;
            // The names lie beside it and are gone with it.
            if let Some(service) = &service {
                self.restore_service(service)?;
            }
        }
        make_private_dir(&self.layout().run(&record.key))?;
        if let Some(service) = service
            && !record.addresses.is_empty()
        {
            if has_across(&service) {
                self.permit_across(&service, record)?;
            }
            let links = self.links_of(&service)?;
            net::write_links(&self.layout().run(&record.key).join("links"), &links)?;
        }
        shim::launch(self.program()?, &plan)?.wait()
    }
}

/// Gives a replica its range of ids and its addresses.
fn give(
    c: &rusqlite::Connection,
    mut record: ReplicaRecord,
    networks: &[NetworkRecord],
    delegated: &idmap::Taken,
) -> Result<ReplicaRecord, DbFailure> {
    if let Some(other) = replicas::load(c, &record.id)? {
        let text = format!("start {}: somebody else has just made it", other.id);
        return Err(LocalError::Conflict(text).into());
    }
    let mut taken = replicas::id_ranges(c)?;
    taken.extend(delegated);
    record.id_base = idmap::lowest_free(&taken)?;
    let owner = format!("replica {}", record.key);
    for network in networks {
        let subnet = subnet(network)?;
        let gateway = Some(subnet.gateway());
        let kind = addresses::Kind::Replica;
        let address = addresses::give_next(c, &network.id, kind, &owner, |taken, after| {
            net::next_replica(subnet, gateway, taken, after)
        })?;
        let full = || LocalError::Taken(format!("network `{}` has no free address", network.name));
        record
            .addresses
            .insert(network.name.clone(), address.ok_or_else(full)?);
    }
    Ok(record)
}
