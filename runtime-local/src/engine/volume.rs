//! Named volumes: a directory each, owners on disk counted from 0.

use rusqlite::Connection;
use unmoor_core::backend::Applied;
use unmoor_core::name::{ReplicaId, StackName, VolumeName};
use unmoor_core::spec::{MountSource, Volume};

use super::Runtime;
use crate::error::LocalError;
use crate::failpoint::failpoint;
use crate::state::{
    DbFailure, Durability, Intent, IntentKind, VolumeRecord, make_private_dir, remove_tree,
    replicas, volumes, write_json,
};

impl Runtime {
    /// Makes a volume, or checks that it is there.
    pub(crate) fn ensure_volume(
        &self,
        stack: &StackName,
        name: &VolumeName,
        spec: &Volume,
    ) -> Result<Applied, LocalError> {
        let known = self
            .db()
            .read("read volumes", |c| volumes::load(c, stack, name))?;
        let record = VolumeRecord {
            stack: stack.clone(),
            name: name.clone(),
            spec: spec.clone(),
        };
        let directory = self.volume_data(&record)?;
        let same = known.is_some_and(|known| known.spec.external == spec.external);
        if same && directory.is_dir() {
            return Ok(Applied::Unchanged);
        }
        if let Some(external) = &spec.external {
            if !directory.is_dir() {
                let text = format!("use volume {name}: `{external}`");
                return Err(LocalError::NotFound(text));
            }
            self.db().write("record a volume", Durability::Power, |c| {
                volumes::store(c, &record)
            })?;
            return Ok(Applied::Changed);
        }
        // On record before it has a folder: one that has data and is not is somebody else's.
        let begun = self
            .db()
            .write("record a volume", Durability::Process, |c| {
                if volumes::load(c, stack, name)?.is_none() && directory.is_dir() {
                    let text = format!("volume {stack}_{name} is there and is not on record");
                    return Err(LocalError::Foreign(text).into());
                }
                volumes::store(c, &record)?;
                Intent::begin(c, IntentKind::EnsureVolume, stack, name.as_str())
            })?;
        failpoint("volume.recorded");
        self.make_volume(&record)?;
        failpoint("volume.made");
        self.db().end("record a volume", begun)?;
        Ok(Applied::Changed)
    }

    /// Makes the folder of a recorded volume, or what is missing of it.
    pub(super) fn make_volume(&self, record: &VolumeRecord) -> Result<(), LocalError> {
        if record.spec.external.is_some() {
            return Ok(());
        }
        let parent = self.layout().volume(&record.stack, &record.name);
        make_private_dir(&parent)?;
        write_json(&parent.join("record"), record)?;
        make_data_dir(&self.volume_data(record)?)
    }

    /// Where a volume's files are.
    pub(super) fn volume_data(
        &self,
        record: &VolumeRecord,
    ) -> Result<std::path::PathBuf, LocalError> {
        let parent = match &record.spec.external {
            None => self.layout().volume(&record.stack, &record.name),
            Some(name) => {
                // A name from a file: as an own volume's, it must be one part of a path.
                let plain = VolumeName::parse(name.as_str())
                    .map_err(|error| LocalError::Spec(error.to_string()))?;
                self.layout().volumes().join(plain.as_str())
            }
        };
        Ok(parent.join("_data"))
    }

    /// Removes a volume and its data; absent is success.
    pub(crate) fn remove_volume(
        &self,
        stack: &StackName,
        name: &VolumeName,
    ) -> Result<Applied, LocalError> {
        let begun = self
            .db()
            .write("remove a volume", Durability::Process, |c| {
                let Some(record) = volumes::load(c, stack, name)? else {
                    return Ok(None);
                };
                if record.spec.external.is_none()
                    && let Some(user) = self.user_of(c, &record)?
                {
                    let text = format!("remove volume {name}: replica {user} uses it");
                    return Err(LocalError::WrongPhase(text).into());
                }
                let intent = Intent::begin(c, IntentKind::RemoveVolume, stack, name.as_str())?;
                Ok(Some((record, intent)))
            })?;
        let Some((record, intent)) = begun else {
            return Ok(Applied::Unchanged);
        };
        failpoint("volume.leaving");
        self.finish_remove_volume(&record, intent)?;
        Ok(Applied::Changed)
    }

    /// A replica, of whatever stack, that has the volume's files.
    fn user_of(
        &self,
        c: &Connection,
        volume: &VolumeRecord,
    ) -> Result<Option<ReplicaId>, DbFailure> {
        let data = self.volume_data(volume)?;
        for replica in replicas::list(c, None)? {
            for mount in &replica.desired.spec.mounts {
                let MountSource::Volume(name) = &mount.source else {
                    continue;
                };
                let Some(used) = volumes::load(c, &replica.id.stack, name)? else {
                    continue;
                };
                if self.volume_data(&used)? == data {
                    return Ok(Some(replica.id));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn finish_remove_volume(
        &self,
        record: &VolumeRecord,
        intent: i64,
    ) -> Result<(), LocalError> {
        if record.spec.external.is_none() {
            remove_tree(&self.layout().volume(&record.stack, &record.name))?;
        }
        self.db().write("forget a volume", Durability::Power, |c| {
            volumes::remove(c, &record.stack, &record.name)?;
            Intent::end(c, intent)
        })
    }
}

/// Inside, the volume's root must be open to every user of the replica, as docker's is; outside,
/// the directories above are closed.
pub(super) fn make_data_dir(path: &std::path::Path) -> Result<(), LocalError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    match std::fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
            .map_err(|source| LocalError::io("open to its users", path, source)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(LocalError::io("make directory", path, source)),
    }
}
