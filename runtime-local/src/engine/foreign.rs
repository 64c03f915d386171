//! What lies beneath the installation's directory and is in no record of ours: what a lost record
//! has left behind, and volumes that somebody put there by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use unmoor_core::backend::{Foreign, Form, Maker, Phase, StackPlace};
use unmoor_core::name::{NetworkName, ReplicaId, StackName, VolumeName};

use super::Runtime;
use super::observe::phase_of;
use super::rebuild::{entries, name as name_of};
use crate::error::LocalError;
use crate::shim;
use crate::state::{
    NetworkRecord, ReplicaRecord, VolumeRecord, networks, read_json, replicas, volumes,
};

/// The record beside a thing; one that cannot be read belongs to nobody's thing that we know.
fn record<T: serde::de::DeserializeOwned>(folder: &Path) -> Option<T> {
    read_json(&folder.join("record")).ok().flatten()
}

/// Which stack's volume a folder would be; of names that can be read in two ways, the first.
fn volume_place(folder: &str, of: Option<&StackName>) -> Option<StackPlace> {
    let place = |stack: StackName, name: &str| {
        let name = VolumeName::parse(name).ok()?;
        Some(StackPlace::Volume { stack, name })
    };
    if let Some(stack) = of {
        let rest = folder.strip_prefix(stack.as_str())?.strip_prefix('_')?;
        return place(stack.clone(), rest);
    }
    let cuts = folder.match_indices('_');
    let mut places = cuts.filter_map(|(at, _)| {
        let stack = StackName::parse(&folder[..at]).ok()?;
        place(stack, &folder[at + 1..])
    });
    places.next()
}

impl Runtime {
    /// What is there and not on record: all of it, or what has places of one stack.
    pub(crate) fn foreign(&self, of: Option<&StackName>) -> Result<Vec<Foreign>, LocalError> {
        // Listed before the record is read: what is made is recorded before it has a folder.
        let folders = (
            entries(&self.layout().zones())?,
            entries(&self.layout().volumes())?,
            entries(&self.layout().replicas())?,
        );
        let (known_networks, known_volumes, known_replicas) =
            self.db().read("read the record", |c| {
                Ok((
                    networks::list(c, None)?,
                    volumes::list(c, None)?,
                    replicas::list(c, None)?,
                ))
            })?;
        let (zones, data, made) = folders;
        let is_known = |folder: &PathBuf, known: &dyn Fn(&str) -> bool| {
            name_of(folder).is_none_or(|name| name.starts_with('.') || known(name))
        };
        let mut found = Vec::new();
        for folder in zones {
            let known = |id: &str| known_networks.iter().any(|known| known.id == id);
            if !is_known(&folder, &known) {
                found.extend(stray_network(&folder));
            }
        }
        for folder in data {
            let known = |name: &str| {
                let mut own = known_volumes.iter().filter(|v| v.spec.external.is_none());
                own.any(|v| format!("{}_{}", v.stack, v.name) == name)
            };
            if !is_known(&folder, &known) {
                found.extend(foreign_volume(&folder, of));
            }
        }
        for folder in made {
            let known = |key: &str| known_replicas.iter().any(|known| known.key == key);
            if !is_known(&folder, &known) {
                found.extend(self.stray_replica(&folder));
            }
        }
        found.retain(|item| {
            let place = item.place.as_ref();
            of.is_none_or(|stack| place.is_some_and(|place| place.stack() == stack))
        });
        Ok(found)
    }

    /// Refuses to make a network where one that is not on record has its place.
    pub(super) fn refuse_stray_network(
        &self,
        stack: &StackName,
        name: &NetworkName,
    ) -> Result<(), LocalError> {
        let zones = entries(&self.layout().zones())?;
        let known = self
            .db()
            .read("read networks", |c| networks::list(c, None))?;
        let unknown = zones.iter().filter(|folder| {
            let id = name_of(folder);
            known.iter().all(|known| Some(known.id.as_str()) != id)
        });
        let mut records = unknown.filter_map(|folder| record::<NetworkRecord>(folder));
        match records.any(|found| found.stack == *stack && found.name == *name) {
            true => Err(LocalError::Foreign(format!(
                "network {name} of {stack} is there and is not on record"
            ))),
            false => Ok(()),
        }
    }

    /// Refuses to make a replica where one that is not on record has its place.
    pub(super) fn refuse_stray_replica(&self, id: &ReplicaId) -> Result<(), LocalError> {
        let folders = entries(&self.layout().replicas())?;
        let known = self.db().read("read replicas", replicas::keys)?;
        let unknown = folders.iter().filter(|folder| {
            name_of(folder).is_some_and(|key| !key.starts_with('.') && !known.contains(key))
        });
        let mut records = unknown.filter_map(|folder| record::<ReplicaRecord>(folder));
        match records.any(|found| found.id == *id) {
            true => Err(LocalError::Foreign(format!(
                "replica {id} is there and is not on record"
            ))),
            false => Ok(()),
        }
    }

    fn stray_replica(&self, folder: &Path) -> Option<Foreign> {
        let key = name_of(folder)?;
        let record: ReplicaRecord = record(folder)?;
        let seen = shim::see(&self.layout().run(key));
        let phase = seen.as_ref().ok().map_or(Phase::Failed, phase_of);
        let form = match (record.key == key, seen) {
            (false, _) => Form::Closed(format!("its record is that of {}", record.key)),
            (true, Err(error)) => Form::Closed(error.to_string()),
            (true, Ok(_)) => Form::Replica(Arc::clone(&record.desired)),
        };
        // What was removed meanwhile was ours, and is nobody's now.
        folder.exists().then(|| Foreign {
            id: key.to_owned(),
            maker: Maker::Stray,
            place: Some(StackPlace::Replica { id: record.id }),
            form,
            phase: Some(phase),
        })
    }
}

fn stray_network(folder: &Path) -> Option<Foreign> {
    let record: NetworkRecord = record(folder)?;
    let id = name_of(folder)?.to_owned();
    let form = match record.id == id {
        true => Form::Network(record.spec),
        false => Form::Closed(format!("its record is that of {}", record.id)),
    };
    folder.exists().then_some(Foreign {
        id,
        maker: Maker::Stray,
        place: Some(StackPlace::Network {
            stack: record.stack,
            name: record.name,
        }),
        form,
        phase: None,
    })
}

/// A volume without data was never finished, and is nobody's loss.
fn foreign_volume(folder: &Path, of: Option<&StackName>) -> Option<Foreign> {
    let id = name_of(folder)?;
    let own = record::<VolumeRecord>(folder);
    if own.is_none() && !folder.join("_data").is_dir() {
        return None;
    }
    let maker = match own {
        Some(_) => Maker::Stray,
        None => Maker::Unlabelled,
    };
    let place = match own {
        Some(own) => Some(StackPlace::Volume {
            stack: own.stack,
            name: own.name,
        }),
        None => volume_place(id, of),
    };
    folder.exists().then(|| Foreign {
        id: id.to_owned(),
        maker,
        place,
        form: Form::Volume,
        phase: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_the_volume_of_whoever_asks() {
        let place = |folder: &str, of: Option<&str>| {
            let of = of.map(|of| StackName::parse(of).expect("a name"));
            let place = volume_place(folder, of.as_ref())?;
            Some(format!("{}/{place}", place.stack()))
        };
        let found = |text: &str| Some(text.to_owned());
        assert_eq!(place("shop_data", None), found("shop/volume data"));
        assert_eq!(place("a_b_c", None), found("a/volume b_c"));
        assert_eq!(place("a_b_c", Some("a_b")), found("a_b/volume c"));
        assert_eq!(place("shop_data", Some("sho")), None);
        assert_eq!(place("plain", None), None);
        assert_eq!(place("_x", None), None);
    }
}
