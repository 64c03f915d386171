//! The facets of a dry run: what reads goes through, what would change something does not.

use async_trait::async_trait;

use super::{DryRun, lock};
use crate::backend::{
    Attach, Exec, ExecOptions, ExecSession, Feature, FileStat, Files, ImageDefaults, ImageEntry,
    ImageInput, Images, OnPull, Ownership, ResolvedImage, Revision, Signals, StackLock, State,
    Stream,
};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Digest, ImageRef, Platform};
use crate::name::{ReplicaId, StackName};
use crate::signal::Signal;
use crate::spec::PullPolicy;

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("a dry run does not {what}"))
}

fn gone(feature: Feature) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("this backend has no {feature}"),
    )
}

#[async_trait]
impl Exec for DryRun {
    async fn exec(&self, replica: &ReplicaId, _: &ExecOptions) -> Result<Box<dyn ExecSession>> {
        Err(refused("run commands").on(replica))
    }

    async fn exec_detached(&self, replica: &ReplicaId, _: &ExecOptions) -> Result<()> {
        Err(refused("run commands").on(replica))
    }
}

#[async_trait]
impl Attach for DryRun {
    async fn attach(&self, replica: &ReplicaId) -> Result<Box<dyn ExecSession>> {
        Err(refused("join streams").on(replica))
    }
}

#[async_trait]
impl Signals for DryRun {
    async fn signal(&self, _: &ReplicaId, _: Signal) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Files for DryRun {
    async fn stat(&self, replica: &ReplicaId, path: &str) -> Result<FileStat> {
        let facet = self.inner.files().ok_or_else(|| gone(Feature::Copy))?;
        facet.stat(replica, path).await
    }

    async fn read(&self, replica: &ReplicaId, path: &str) -> Result<Stream<Vec<u8>>> {
        let facet = self.inner.files().ok_or_else(|| gone(Feature::Copy))?;
        facet.read(replica, path).await
    }

    async fn write(
        &self,
        replica: &ReplicaId,
        _: &str,
        _: Stream<Vec<u8>>,
        _: Ownership,
    ) -> Result<()> {
        Err(refused("write files").on(replica))
    }
}

#[async_trait]
impl Images for DryRun {
    async fn resolve(
        &self,
        reference: &ImageRef,
        platform: Option<&Platform>,
        _: PullPolicy,
        progress: OnPull<'_>,
    ) -> Result<ResolvedImage> {
        let facet = self
            .inner
            .images()
            .ok_or_else(|| gone(Feature::ImagePull))?;
        let found = facet.resolve(reference, platform, PullPolicy::Never, progress);
        match found.await {
            // Its digest is not known before it is fetched; nothing that runs can have this one.
            Err(error) if error.is_not_found() => Ok(ResolvedImage {
                reference: reference.clone(),
                digest: Digest::sha256_of(reference.familiar().as_bytes()),
                defaults: ImageDefaults::default(),
            }),
            found => found,
        }
    }

    async fn load(&self, _: &ImageInput, _: bool) -> Result<Vec<ImageEntry>> {
        Err(refused("load images"))
    }

    async fn list(&self) -> Result<Vec<ImageEntry>> {
        let facet = self
            .inner
            .images()
            .ok_or_else(|| gone(Feature::ImageLoad))?;
        facet.list().await
    }

    async fn push(&self, reference: &ImageRef, _: OnPull<'_>) -> Result<Digest> {
        Err(refused("push images").on(reference.familiar()))
    }

    async fn remove(&self, reference: &ImageRef) -> Result<()> {
        Err(refused("remove images").on(reference.familiar()))
    }
}

/// Nothing is changed, so nobody needs to be kept out.
#[derive(Debug)]
struct Unlocked;

impl StackLock for Unlocked {}

#[async_trait]
impl State for DryRun {
    async fn load(&self, stack: &StackName) -> Result<Option<(Vec<u8>, Revision)>> {
        if let Some(record) = lock(&self.records).get(stack) {
            return Ok(record.clone());
        }
        let facet = self.inner.state().ok_or_else(|| gone(Feature::State))?;
        facet.load(stack).await
    }

    async fn store(
        &self,
        stack: &StackName,
        record: &[u8],
        expected: Option<Revision>,
    ) -> Result<Revision> {
        let revision = Revision(expected.map_or(1, |former| former.0 + 1));
        lock(&self.records).insert(stack.clone(), Some((record.to_vec(), revision)));
        Ok(revision)
    }

    async fn remove(&self, stack: &StackName) -> Result<()> {
        lock(&self.records).insert(stack.clone(), None);
        Ok(())
    }

    async fn stacks(&self) -> Result<Vec<StackName>> {
        let facet = self.inner.state().ok_or_else(|| gone(Feature::State))?;
        facet.stacks().await
    }

    async fn lock(&self, _: &StackName) -> Result<Box<dyn StackLock>> {
        Ok(Box::new(Unlocked))
    }
}
