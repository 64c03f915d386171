//! The facets about the inside of replicas, of a wrapped backend.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::facets::absent;
use super::{Operation, Policy, Wrapped};
use crate::backend::{
    Attach, ExecSession, Feature, FileStat, Files, Ownership, ProcessEntry, Processes, Signals,
    Stats, Stream, Usage,
};
use crate::error::{Error, ErrorKind, Result};
use crate::label::Selector;
use crate::name::ReplicaId;
use crate::signal::Signal;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Signals for Wrapped<P> {
    async fn signal(&self, replica: &ReplicaId, signal: Signal) -> Result<()> {
        let facet = self.inner.signals();
        let facet = facet.ok_or_else(|| absent(Feature::Signal))?;
        self.run(Operation::Signal(replica), || facet.signal(replica, signal))
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Stats for Wrapped<P> {
    async fn usage(&self, selector: &Selector) -> Result<Vec<Usage>> {
        let facet = self.inner.stats().ok_or_else(|| absent(Feature::Stats))?;
        self.run(Operation::Usage, || facet.usage(selector)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Processes for Wrapped<P> {
    async fn processes(&self, replica: &ReplicaId) -> Result<Vec<ProcessEntry>> {
        let facet = self.inner.processes();
        let facet = facet.ok_or_else(|| absent(Feature::Processes))?;
        self.run(Operation::Processes(replica), || facet.processes(replica))
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Files for Wrapped<P> {
    async fn stat(&self, replica: &ReplicaId, path: &str) -> Result<FileStat> {
        let facet = self.inner.files().ok_or_else(|| absent(Feature::Copy))?;
        self.run(Operation::ReadFiles(replica), || facet.stat(replica, path))
            .await
    }

    async fn read(&self, replica: &ReplicaId, path: &str) -> Result<Stream<Vec<u8>>> {
        let facet = self.inner.files().ok_or_else(|| absent(Feature::Copy))?;
        let operation = Operation::ReadFiles(replica);
        let stream = self.run(operation, || facet.read(replica, path)).await?;
        Ok(self.in_time(&operation, stream))
    }

    async fn write(
        &self,
        replica: &ReplicaId,
        directory: &str,
        archive: Stream<Vec<u8>>,
        owner: Ownership,
    ) -> Result<()> {
        let facet = self.inner.files().ok_or_else(|| absent(Feature::Copy))?;
        // The archive can be read once: what was tried with it cannot be tried again.
        let archive = Mutex::new(Some(archive));
        self.run(Operation::WriteFiles(replica), || {
            let archive = archive
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            async move {
                let text = "write files: the archive was read already";
                let archive = archive.ok_or_else(|| Error::new(ErrorKind::Unavailable, text))?;
                facet.write(replica, directory, archive, owner).await
            }
        })
        .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Attach for Wrapped<P> {
    async fn attach(&self, replica: &ReplicaId) -> Result<Box<dyn ExecSession>> {
        let facet = self.inner.attach().ok_or_else(|| absent(Feature::Attach))?;
        self.run(Operation::Attach(replica), || facet.attach(replica))
            .await
    }
}
