//! Making the record anew after the database was lost, from what lies beside each thing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use unmoor_core::name::StackName;
use unmoor_core::spec::{BlobId, SecretBytes};

use super::Runtime;
use super::recover::BOOT;
use crate::error::LocalError;
use crate::layout::Layout;
use crate::shim::{self, Seen};
use crate::state::{
    Durability, NetworkRecord, ReplicaRecord, ServiceRecord, VolumeRecord, addresses, blobs,
    boot_id, meta, networks, read_json, replicas, services, volumes,
};
use crate::wire::plan::Plan;

/// The id under which the replicas that are there have their cgroups, whatever became of the
/// database: under another one nobody would find these groups again.
pub(super) fn former_id(layout: &Layout) -> Result<Option<String>, LocalError> {
    for directory in entries(&layout.replicas())? {
        let plan = std::fs::read(directory.join("plan")).ok();
        let plan = plan.and_then(|bytes| Plan::decode(&bytes).ok());
        let groups = plan.map(|plan| plan.cgroups).unwrap_or_default();
        let mut ids = groups
            .iter()
            .filter_map(|group| group.path.split('/').nth(1));
        let known = |id: &&str| id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(id) = ids.find(known) {
            return Ok(Some(id.to_owned()));
        }
    }
    Ok(None)
}

impl Runtime {
    /// Records everything that is found beneath the installation's directory.
    pub(super) fn rebuild(&self) -> Result<(), LocalError> {
        let networks: Vec<NetworkRecord> = records(&self.layout().zones())?;
        let volumes: Vec<VolumeRecord> = records(&self.layout().volumes())?;
        let replicas: Vec<ReplicaRecord> = records(&self.layout().replicas())?;
        let services: Vec<ServiceRecord> = self.service_records(&replicas)?;
        let blobs = self.found_blobs()?;
        if networks.is_empty() && volumes.is_empty() && replicas.is_empty() && blobs.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            replicas = replicas.len(),
            "the database was lost; it is made again from what is there"
        );
        self.db()
            .write("rebuild the record", Durability::Power, |c| {
                for network in &networks {
                    networks::store(c, network)?;
                }
                for volume in &volumes {
                    volumes::store(c, volume)?;
                }
                for (stack, id, fingerprint) in &blobs {
                    blobs::store(c, stack, id, fingerprint)?;
                }
                for service in &services {
                    services::store(c, service)?;
                    restore_addresses(c, service, &networks)?;
                }
                for replica in &replicas {
                    replicas::store(c, replica)?;
                    let owner = format!("replica {}", replica.key);
                    for (name, address) in &replica.addresses {
                        if let Some(network) = find(&networks, &replica.id.stack, name.as_str()) {
                            addresses::give(c, &network.id, *address, &owner)?;
                        }
                    }
                }
                // If a reboot lies between, what it took away is made again.
                meta::store(
                    c,
                    BOOT,
                    if self.saw_reboot(&replicas)? {
                        "former"
                    } else {
                        boot_id()
                    },
                )
            })?;
        for network in &networks {
            self.make_network(network)?;
        }
        for service in &services {
            self.restore_service(service)?;
        }
        Ok(())
    }

    /// True if a status record is of a former boot.
    fn saw_reboot(&self, replicas: &[ReplicaRecord]) -> Result<bool, LocalError> {
        for replica in replicas {
            if let Seen::Past(_) = shim::see(&self.layout().run(&replica.key))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Services are recorded in the zones of their networks.
    fn service_records(
        &self,
        replicas: &[ReplicaRecord],
    ) -> Result<Vec<ServiceRecord>, LocalError> {
        let mut found: BTreeMap<(StackName, String), ServiceRecord> = BTreeMap::new();
        for path in entries(&self.layout().zones())? {
            for record in entries(&path.join("services"))? {
                if let Some(service) = read_json::<ServiceRecord>(&record)? {
                    let name = service.desired.name.as_str().to_owned();
                    found.insert((service.stack.clone(), name), service);
                }
            }
        }
        // A service on no network is known only by its replicas.
        for replica in replicas {
            let key = (
                replica.id.stack.clone(),
                replica.id.service.as_str().to_owned(),
            );
            found.entry(key).or_insert_with(|| ServiceRecord {
                stack: replica.id.stack.clone(),
                desired: replica.desired.clone(),
                addresses: BTreeMap::new(),
                links: BTreeMap::new(),
                layers: replica.layers.clone(),
            });
        }
        Ok(found.into_values().collect())
    }

    fn found_blobs(&self) -> Result<Vec<(StackName, BlobId, String)>, LocalError> {
        let mut found = Vec::new();
        for folder in entries(&self.layout().blobs())? {
            let Some(stack) = name(&folder).and_then(|name| StackName::parse(name).ok()) else {
                continue;
            };
            for path in entries(&folder)? {
                let Some(id) = name(&path)
                    .and_then(|name| {
                        name.split_once('.')
                            .map(|(kind, rest)| format!("{kind}:{rest}"))
                    })
                    .and_then(|text| BlobId::try_from(text).ok())
                else {
                    continue;
                };
                let bytes =
                    std::fs::read(&path).map_err(|source| LocalError::io("read", &path, source))?;
                found.push((stack.clone(), id, SecretBytes::new(bytes).fingerprint()));
            }
        }
        Ok(found)
    }
}

/// Gives a service the addresses again that it has on these networks.
pub(super) fn restore_addresses(
    c: &rusqlite::Connection,
    service: &ServiceRecord,
    networks: &[NetworkRecord],
) -> Result<(), crate::state::DbFailure> {
    let (stack, name) = (&service.stack, &service.desired.name);
    for (on, address) in &service.addresses {
        if let Some(network) = find(networks, stack, on.as_str()) {
            addresses::give(c, &network.id, *address, &format!("service {stack} {name}"))?;
        }
    }
    for (alias, (on, address)) in &service.links {
        if let Some(network) = find(networks, stack, on.as_str()) {
            let owner = format!("link {stack} {name} {alias}");
            addresses::give(c, &network.id, *address, &owner)?;
        }
    }
    Ok(())
}

fn find<'a>(all: &'a [NetworkRecord], stack: &StackName, name: &str) -> Option<&'a NetworkRecord> {
    all.iter()
        .find(|network| network.stack == *stack && network.name.as_str() == name)
}

pub(super) fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// What lies in a folder; an absent one is empty.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, LocalError> {
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(LocalError::io("list", folder, source)),
    }
}

/// The records beside the things in a folder; a thing without one was never finished.
fn records<T: serde::de::DeserializeOwned>(folder: &Path) -> Result<Vec<T>, LocalError> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        found.extend(read_json(&path.join("record"))?);
    }
    Ok(found)
}
