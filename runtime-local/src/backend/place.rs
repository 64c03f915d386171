//! The place of an installation: opened where there is one, made when something is to be kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use unmoor_core::clock::Clock;

use crate::engine::Runtime;
use crate::error::LocalError;
use crate::layout::{self, is_made};
use crate::sandbox::cgroup::Hierarchies;

/// Time between two looks whether an installation has been made.
const PAUSE: Duration = Duration::from_secs(1);

/// A directory with an installation, or where one can be made.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    hierarchies: Hierarchies,
    runtime: OnceCell<Runtime>,
}

impl Place {
    /// Checks the host and opens what is there; makes nothing.
    pub(super) async fn find(root: PathBuf) -> Result<Self, LocalError> {
        crate::preflight::check()?;
        layout::check(&root)?;
        let place = Self {
            root,
            hierarchies: Hierarchies::detect()?,
            runtime: OnceCell::new(),
        };
        place.there().await?;
        Ok(place)
    }

    /// The directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The host's cgroups.
    pub(super) fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// The installation, made if there is none.
    pub(super) async fn made(&self) -> Result<&Runtime, LocalError> {
        let open = || async {
            let root = self.root.clone();
            let open = tokio::task::spawn_blocking(move || Runtime::open(&root));
            open.await
                .map_err(|_| LocalError::Lost("opens the runtime"))?
        };
        self.runtime.get_or_try_init(open).await
    }

    /// The installation if there is one: who only looks leaves nothing.
    pub(super) async fn there(&self) -> Result<Option<&Runtime>, LocalError> {
        if self.runtime.initialized() || is_made(&self.root) {
            return self.made().await.map(Some);
        }
        Ok(None)
    }

    /// The installation, once somebody has made it.
    pub(super) async fn awaited(&self, clock: &Arc<dyn Clock>) -> Result<&Runtime, LocalError> {
        loop {
            if let Some(runtime) = self.there().await? {
                return Ok(runtime);
            }
            // The kernel tells of changes only in directories that are there.
            clock.sleep(PAUSE).await;
        }
    }
}
