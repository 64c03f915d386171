//! Finding what the facets work on: running replicas, selected replicas, images in use.

use std::path::PathBuf;

use unmoor_core::backend::DesiredService;
use unmoor_core::image::{ImageRef, Platform};
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;
use unmoor_image::{InUse, Prune, StoredImage};

use super::Runtime;
use crate::error::LocalError;
use crate::shim::Seen;
use crate::state::{ReplicaRecord, replicas, services};
use crate::wire::plan::Plan;
use crate::wire::status::Phase;

/// A replica that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its files of this boot.
    pub(crate) run_dir: PathBuf,
    /// Its process 1.
    pub(crate) init_pid: u32,
    /// What it was started from.
    pub(crate) plan: Plan,
    /// Its image or its specification says where its home is, whoever runs.
    pub(crate) names_home: bool,
    /// Groups that its service adds, whoever runs.
    pub(crate) groups: Vec<String>,
}

/// True if somebody has said where the home is, so that it does not depend on the user.
fn names_home(desired: &DesiredService) -> bool {
    let mut of_image = desired.image.defaults.env.iter();
    desired.spec.environment.contains_key("HOME") || of_image.any(|pair| pair.starts_with("HOME="))
}

impl Runtime {
    /// A replica, if it runs.
    pub(crate) fn running(&self, id: &ReplicaId) -> Result<Running, LocalError> {
        let missing = || LocalError::NotFound(format!("replica {id}"));
        let record = self.replica(id)?.ok_or_else(missing)?;
        let seen = self.see_alive(&record)?;
        let status = match &seen {
            Seen::Alive(status) if status.phase == Phase::Running => status,
            _ => return Err(LocalError::WrongPhase(format!("replica {id} does not run"))),
        };
        Ok(Running {
            run_dir: self.layout().run(&record.key),
            init_pid: status.init.pid,
            plan: self.kept_plan(&record)?,
            names_home: names_home(&record.desired),
            groups: record.desired.spec.security.groups.clone(),
        })
    }

    /// The plan that a replica's shim works from.
    pub(super) fn kept_plan(&self, record: &ReplicaRecord) -> Result<Plan, LocalError> {
        let path = self.layout().replica(&record.key).join("plan");
        let bytes = std::fs::read(&path).map_err(|source| LocalError::io("read", &path, source))?;
        Plan::decode(&bytes).map_err(|error| LocalError::Corrupt {
            what: path.display().to_string(),
            problem: error.to_string(),
        })
    }

    /// The replicas that are selected.
    pub(crate) fn selected(&self, selector: &Selector) -> Result<Vec<ReplicaRecord>, LocalError> {
        let stack = selector.stack.as_ref();
        let mut all = self
            .db()
            .read("read replicas", |c| replicas::list(c, stack))?;
        all.retain(|record| selector.matches(&record.id, &record.desired.spec.labels));
        Ok(all)
    }

    /// An image of the store for this platform, ready to run.
    pub(crate) fn find_image(
        &self,
        reference: &ImageRef,
        platform: &Platform,
    ) -> Result<Option<StoredImage>, LocalError> {
        let _hold = match self.images().try_hold()? {
            Some(hold) => hold,
            None => {
                self.may_wait()?;
                self.images().hold()?
            }
        };
        let Some(image) = self.images().resolve(reference)? else {
            return Ok(None);
        };
        if image.config.platform.arch() != platform.arch() {
            return Ok(None);
        }
        if !self.images().is_unpacked(&image) {
            self.may_wait()?;
            self.images().unpack(&image)?;
        }
        Ok(Some(image))
    }

    /// Removes a name, and what only it needed.
    pub(crate) fn remove_image(&self, reference: &ImageRef) -> Result<(), LocalError> {
        let image = self.images().get(reference)?;
        let all = self
            .db()
            .read("read replicas", |c| replicas::list(c, None))?;
        let user = all
            .iter()
            .find(|r| r.desired.image.digest == image.manifest_digest);
        let others = self.images().images()?.images;
        let named = others
            .iter()
            .filter(|i| i.manifest_digest == image.manifest_digest)
            .count();
        if let Some(user) = user
            && named <= 1
        {
            let name = reference.familiar();
            let text = format!("remove image {name}: replica {} uses it", user.id);
            return Err(LocalError::WrongPhase(text));
        }
        self.images().remove(reference)?;
        self.images().prune(Prune::Unnamed, || self.in_use())?;
        Ok(())
    }

    /// What replicas and services run on.
    fn in_use(&self) -> Result<InUse, unmoor_image::ImageError> {
        let read = self.db().read("read what is in use", |c| {
            Ok((replicas::list(c, None)?, services::list(c, None)?))
        });
        let (replicas, services) = read.map_err(|error| unmoor_image::ImageError::Store {
            path: self.layout().database(),
            problem: error.to_string(),
        })?;
        let mut in_use = InUse::default();
        for replica in replicas {
            in_use.layers.extend(replica.layers);
            in_use
                .manifests
                .insert(replica.desired.image.digest.clone());
        }
        for service in services {
            in_use.layers.extend(service.layers);
            in_use
                .manifests
                .insert(service.desired.image.digest.clone());
        }
        Ok(in_use)
    }
}
