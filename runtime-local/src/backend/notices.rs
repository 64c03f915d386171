//! Hints for those who wait for replicas: the kernel tells when a status changes.

use std::path::PathBuf;

use async_trait::async_trait;
use unmoor_core::Result;
use unmoor_core::backend::Notices;
use unmoor_core::label::Selector;

use super::watch::Watcher;
use crate::engine::Runtime;
use crate::error::LocalError;

/// A watch over the status records of the selected replicas, those still to come included.
#[derive(Debug)]
pub(super) struct Told {
    runtime: Runtime,
    selector: Selector,
    watcher: Watcher,
}

impl Told {
    pub(super) async fn arm(
        runtime: Runtime,
        selector: Selector,
    ) -> std::result::Result<Self, LocalError> {
        let watcher = Watcher::open()?;
        watcher.add(&runtime.layout().runs())?;
        let told = Self {
            runtime,
            selector,
            watcher,
        };
        told.follow().await?;
        Ok(told)
    }

    /// Watches the selected replicas that are there by now.
    async fn follow(&self) -> std::result::Result<(), LocalError> {
        let selector = self.selector.clone();
        let find = move |runtime: &Runtime| runtime.run_directories(&selector);
        let found: Vec<PathBuf> = self.runtime.look("finds what to watch", find).await?;
        found.iter().try_for_each(|path| self.watcher.add(path))
    }
}

#[async_trait]
impl Notices for Told {
    async fn changed(&mut self) -> Result<()> {
        if self.watcher.changed().await? {
            // What is new is watched before the caller looks.
            self.follow().await?;
        }
        Ok(())
    }
}
