//! `proc:` runs services as plain processes of this machine: an example of a backend.
//!
//! It shows how little a backend has to be, and how it says what it is not. A replica has no file
//! system, user or network of its own, nothing is restarted, and everything ends with the program
//! that connected. What a platform offers beyond that is a facet, in a file of its own: `images`,
//! `exec`, `logs`, `state`.

mod exec;
mod images;
mod logs;
mod process;
mod state;
mod world;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use unmoor::backend::{
    Action, Actor, Applied, Backend, Capabilities, Exec, Feature, Images, Info, Logs, Observed,
    State, Step, Support,
};
use unmoor::catalog::Connect;
use unmoor::discover::Endpoints;
use unmoor::label::Selector;
use unmoor::{Error, ErrorKind, Result, Uri};

use world::World;

/// A connection, and all that runs on it.
#[derive(Debug)]
pub struct ProcBackend {
    world: Mutex<World>,
    /// Unpacked images; goes with the backend.
    folder: tempfile::TempDir,
}

impl ProcBackend {
    /// A backend on which nothing runs yet.
    ///
    /// # Errors
    /// `Internal` if there is no room for temporary files.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir();
        let failed =
            |error| Error::new(ErrorKind::Internal, "make a folder for images").because(error);
        Ok(Self {
            world: Mutex::default(),
            folder: folder.map_err(failed)?,
        })
    }

    /// The world, for a moment: nobody awaits anything while holding it.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn image_folder(&self, digest: &unmoor::image::Digest) -> PathBuf {
        self.folder
            .path()
            .join(digest.to_string().replace(':', "-"))
    }
}

#[async_trait]
impl Backend for ProcBackend {
    fn info(&self) -> Info {
        Info {
            scheme: "proc".to_owned(),
            uri: "proc:".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            detail: "processes of this machine, without isolation".to_owned(),
        }
    }

    /// What is not declared is unsupported, and refused by plans before anything is sent.
    fn capabilities(&self) -> Capabilities {
        // Every process is a child of the caller: none goes on without it.
        let with = |caps: Capabilities, list: &[Feature], support| {
            caps.with(list, &support, Actor::Caller)
        };
        let whole = [
            Feature::Spawn,
            Feature::Scale,
            Feature::RestartNo,
            Feature::Jobs,
            Feature::StopSignal,
            Feature::StopGrace,
            Feature::Exec,
        ];
        let caps = with(Capabilities::none(), &whole, Support::Native);
        let limited = |text: &str| Support::Limited(text.to_owned());
        let caps = with(
            caps,
            &[Feature::Logs],
            limited("what is there; it cannot be followed"),
        );
        let caps = with(
            caps,
            &[Feature::ImageLoad],
            limited("OCI layouts with plain layers"),
        );
        with(
            caps,
            &[Feature::State],
            limited("it is gone with the program that connected"),
        )
    }

    async fn observe(&self, selector: &Selector) -> Result<Observed> {
        Ok(self.world().observe().narrowed(selector))
    }

    async fn apply(&self, action: &Action, step: &Step) -> Result<Applied> {
        match action {
            Action::StartReplica { replica, service } => {
                let folder = self.image_folder(&service.image.digest);
                self.world().start(replica, service, &folder)
            }
            Action::StopReplica { replica, grace } => self.stop(replica, *grace).await,
            Action::RestartReplica { replica, grace } => {
                self.stop(replica, *grace).await?;
                self.world().start_again(replica)
            }
            Action::RemoveReplica { replica } => {
                self.stop(replica, None).await?;
                Ok(self.world().remove(replica))
            }
            other => self.world().declare(other, &step.stack),
        }
    }

    /// Without networks of their own, processes answer where they please: nothing is known.
    async fn endpoints(&self, _selector: &Selector) -> Result<Endpoints> {
        Ok(Endpoints::default())
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn exec(&self) -> Option<&dyn Exec> {
        Some(self)
    }

    fn logs(&self) -> Option<&dyn Logs> {
        Some(self)
    }

    fn state(&self) -> Option<&dyn State> {
        Some(self)
    }
}

/// Makes `proc:` known to a [`Catalog`](unmoor::catalog::Catalog).
#[derive(Debug, Clone, Copy)]
pub struct ProcConnect;

#[async_trait]
impl Connect for ProcConnect {
    fn scheme(&self) -> &'static str {
        "proc"
    }

    fn summary(&self) -> &'static str {
        "processes of this machine, without isolation; gone when the program ends"
    }

    async fn connect(&self, uri: &Uri) -> Result<Arc<dyn Backend>> {
        // A setting that nobody reads is a mistake of whoever wrote it.
        uri.allow_settings(&[])?;
        Ok(Arc::new(ProcBackend::new()?))
    }
}
