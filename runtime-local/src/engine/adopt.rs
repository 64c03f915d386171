//! Taking what is in no record of ours back into it, as it runs.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use unmoor_core::backend::{Applied, DesiredService};
use unmoor_core::name::{NetworkName, ReplicaId, StackName, VolumeName};
use unmoor_core::spec::{SecretBytes, Volume};

use super::rebuild::{entries, restore_addresses};
use super::{Runtime, subnet};
use crate::error::LocalError;
use crate::failpoint::failpoint;
use crate::sandbox::idmap::SIZE;
use crate::state::{
    DbFailure, Durability, Intent, IntentKind, NetworkRecord, ReplicaRecord, ServiceRecord,
    VolumeRecord, addresses, blobs, networks, read_json, replicas, services, volumes, write_json,
};

fn conflict(text: String) -> DbFailure {
    LocalError::Conflict(text).into()
}

/// The record beside what is to be taken over.
fn record_of<T: serde::de::DeserializeOwned>(folder: &Path, what: &str) -> Result<T, LocalError> {
    let absent = || LocalError::NotFound(format!("adopt {what}: it"));
    read_json(&folder.join("record"))?.ok_or_else(absent)
}

/// A name of ours that leads to a folder is one part of a path.
fn plain(from: &str) -> Result<&str, LocalError> {
    match from.is_empty() || from.starts_with('.') || from.contains('/') {
        true => Err(LocalError::NotFound(format!("adopt {from}: it"))),
        false => Ok(from),
    }
}

impl Runtime {
    /// Takes a network over, with the names that are on it.
    pub(crate) fn adopt_network(
        &self,
        stack: &StackName,
        from: &str,
        name: &NetworkName,
    ) -> Result<Applied, LocalError> {
        let from = plain(from)?;
        let load = |c: &_| networks::load(c, stack, name);
        if let Some(known) = self.db().read("read networks", load)? {
            return unchanged_if(known.id == from, || {
                format!("network {name} is ours already")
            });
        }
        let zone = self.layout().zones().join(from);
        let record: NetworkRecord = record_of(&zone, from)?;
        if (&record.stack, &record.name, record.id.as_str()) != (stack, name, from) {
            let text = format!(
                "adopt {from}: it is network {} of {}",
                record.name, record.stack
            );
            return Err(LocalError::Conflict(text));
        }
        let mut named: Vec<ServiceRecord> = Vec::new();
        for path in entries(&zone.join("services"))? {
            named.extend(read_json::<ServiceRecord>(&path)?.filter(|it| it.stack == *stack));
        }
        let intent = self
            .db()
            .write("record a network", Durability::Power, |c| {
                let own = subnet(&record)?;
                for other in networks::list(c, None)? {
                    if subnet(&other).is_ok_and(|other| other.overlaps(own)) {
                        let text = format!("adopt {from}: its subnet is that of {}", other.name);
                        return Err(conflict(text));
                    }
                }
                networks::store(c, &record)?;
                for service in &named {
                    if services::load(c, stack, &service.desired.name)?.is_none() {
                        services::store(c, service)?;
                    }
                    restore_addresses(c, service, std::slice::from_ref(&record))?;
                }
                Intent::begin(c, IntentKind::EnsureNetwork, stack, name.as_str())
            })?;
        failpoint("network.adopted");
        self.make_network(&record)?;
        self.db().end("record a network", intent)?;
        Ok(Applied::Changed)
    }

    /// Takes a volume over, with its data.
    pub(crate) fn adopt_volume(
        &self,
        stack: &StackName,
        from: &str,
        name: &VolumeName,
    ) -> Result<Applied, LocalError> {
        let from = plain(from)?;
        let folder = self.layout().volume(stack, name);
        let same = folder.file_name().is_some_and(|own| own == from);
        let load = |c: &_| volumes::load(c, stack, name);
        if let Some(known) = self.db().read("read volumes", load)? {
            let same = same && known.spec.external.is_none();
            return unchanged_if(same, || format!("volume {name} is ours already"));
        }
        if !same {
            let text = format!("adopt {from}: only `{stack}_{name}` can be volume {name}");
            return Err(LocalError::Conflict(text));
        }
        if !folder.join("_data").is_dir() {
            return Err(LocalError::NotFound(format!("adopt {from}: its data")));
        }
        let former = read_json::<VolumeRecord>(&folder.join("record"))
            .ok()
            .flatten();
        let record = VolumeRecord {
            stack: stack.clone(),
            name: name.clone(),
            spec: former.map_or_else(Volume::default, |former| former.spec),
        };
        self.db().write("record a volume", Durability::Power, |c| {
            volumes::store(c, &record)
        })?;
        failpoint("volume.adopted");
        write_json(&folder.join("record"), &record)?;
        Ok(Applied::Changed)
    }

    /// Takes a replica over; its shim goes on and notices nothing.
    pub(crate) fn adopt_replica(
        &self,
        from: &str,
        id: &ReplicaId,
        desired: &Arc<DesiredService>,
    ) -> Result<Applied, LocalError> {
        let from = plain(from)?;
        if let Some(known) = self.replica(id)? {
            let same = known.key == from && known.desired.spec_hash == desired.spec_hash;
            return unchanged_if(same, || format!("replica {id} is ours already"));
        }
        let folder = self.layout().replica(from);
        let mut record: ReplicaRecord = record_of(&folder, from)?;
        if record.id != *id || record.key != from {
            let text = format!("adopt {from}: it is replica {}", record.id);
            return Err(LocalError::Conflict(text));
        }
        record.desired = Arc::clone(desired);
        let found = self.blobs_of(&id.stack, desired)?;
        let store = |c: &Connection| {
            can_be_given(c, &record)?;
            for (blob, fingerprint) in &found {
                blobs::store(c, &id.stack, blob, fingerprint)?;
            }
            replicas::store(c, &record)
        };
        self.db()
            .write("record a replica", Durability::Power, store)?;
        failpoint("replica.adopted");
        write_json(&folder.join("record"), &record)?;
        Ok(Applied::Changed)
    }

    /// The secrets and configs of a service that are there as it has them.
    fn blobs_of(
        &self,
        stack: &StackName,
        desired: &DesiredService,
    ) -> Result<Vec<(unmoor_core::spec::BlobId, String)>, LocalError> {
        let mut found = Vec::new();
        for (id, fingerprint) in &desired.blobs {
            let path = self.layout().blob(stack, id);
            match std::fs::read(&path).map(|bytes| SecretBytes::new(bytes).fingerprint()) {
                Ok(there) if there == *fingerprint => found.push((id.clone(), there)),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(LocalError::io("read", &path, source)),
            }
        }
        Ok(found)
    }
}

fn unchanged_if(same: bool, other: impl FnOnce() -> String) -> Result<Applied, LocalError> {
    match same {
        true => Ok(Applied::Unchanged),
        false => Err(LocalError::Conflict(other())),
    }
}

/// Records the addresses of a replica that comes back; what it has may be another's by now.
fn can_be_given(c: &Connection, record: &ReplicaRecord) -> Result<(), DbFailure> {
    let (id, stack) = (&record.id, &record.id.stack);
    if services::load(c, stack, &id.service)?.is_none() {
        let text = format!("adopt {id}: the declaration of service {}", id.service);
        return Err(LocalError::NotFound(text).into());
    }
    let meets = |start: u64, end: u64| {
        let own = u64::from(record.id_base);
        own < end && start < own + u64::from(SIZE)
    };
    let taken = replicas::id_ranges(c)?;
    if taken.iter().any(|(start, end)| meets(*start, *end)) {
        return Err(conflict(format!(
            "adopt {id}: its user ids were given to another replica meanwhile; remove either"
        )));
    }
    let owner = format!("replica {}", record.key);
    for (name, address) in &record.addresses {
        let Some(network) = networks::load(c, stack, name)? else {
            let text = format!("adopt {id}: network {name} is not ours; adopt it first");
            return Err(LocalError::WrongPhase(text).into());
        };
        if addresses::is_taken(c, &network.id, *address)? {
            return Err(conflict(format!(
                "adopt {id}: its address {address} was given to another meanwhile; remove either"
            )));
        }
        addresses::give(c, &network.id, *address, &owner)?;
    }
    Ok(())
}
