//! The facets of a wrapped backend: each call goes through the policy.

use async_trait::async_trait;

use super::{Operation, Policy, Wrapped};
use crate::backend::{
    Adoption, Exec, ExecOptions, ExecSession, Feature, Foreign, ImageEntry, ImageInput, Images,
    LogLine, LogOptions, Logs, OnPull, ResolvedImage, Revision, StackLock, State, Stream,
};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Digest, ImageRef, Platform};
use crate::label::Selector;
use crate::name::{ReplicaId, StackName};
use crate::spec::PullPolicy;

/// The facet's absence as an error; a wrapper hands a facet out only if it is there.
pub(super) fn absent(feature: Feature) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("this backend has no {feature}"),
    )
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Logs for Wrapped<P> {
    async fn logs(&self, selector: &Selector, options: &LogOptions) -> Result<Stream<LogLine>> {
        let facet = self.inner.logs().ok_or_else(|| absent(Feature::Logs))?;
        let stream = self.run(Operation::Logs, || facet.logs(selector, options));
        let stream = stream.await?;
        Ok(match options.follow {
            // Nobody knows when a replica writes next.
            true => stream,
            false => self.in_time(&Operation::Logs, stream),
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Exec for Wrapped<P> {
    async fn exec(
        &self,
        replica: &ReplicaId,
        options: &ExecOptions,
    ) -> Result<Box<dyn ExecSession>> {
        let facet = self.inner.exec().ok_or_else(|| absent(Feature::Exec))?;
        self.run(Operation::Exec(replica), || facet.exec(replica, options))
            .await
    }

    async fn exec_detached(&self, replica: &ReplicaId, options: &ExecOptions) -> Result<()> {
        let facet = self.inner.exec().ok_or_else(|| absent(Feature::Exec))?;
        let operation = Operation::Exec(replica);
        self.run(operation, || facet.exec_detached(replica, options))
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Images for Wrapped<P> {
    async fn resolve(
        &self,
        reference: &ImageRef,
        platform: Option<&Platform>,
        policy: PullPolicy,
        progress: OnPull<'_>,
    ) -> Result<ResolvedImage> {
        let facet = self
            .inner
            .images()
            .ok_or_else(|| absent(Feature::ImagePull))?;
        let operation = match policy {
            PullPolicy::Never => Operation::FindImage(reference),
            PullPolicy::Missing | PullPolicy::Always => Operation::ResolveImage(reference),
        };
        self.run(operation, || {
            facet.resolve(reference, platform, policy, progress)
        })
        .await
    }

    async fn load(&self, input: &ImageInput, replace: bool) -> Result<Vec<ImageEntry>> {
        let facet = self
            .inner
            .images()
            .ok_or_else(|| absent(Feature::ImageLoad))?;
        self.run(Operation::LoadImage, || facet.load(input, replace))
            .await
    }

    async fn list(&self) -> Result<Vec<ImageEntry>> {
        let facet = self
            .inner
            .images()
            .ok_or_else(|| absent(Feature::ImageLoad))?;
        self.run(Operation::ListImages, || facet.list()).await
    }

    async fn push(&self, reference: &ImageRef, progress: OnPull<'_>) -> Result<Digest> {
        let facet = self
            .inner
            .images()
            .ok_or_else(|| absent(Feature::ImagePush))?;
        self.run(Operation::PushImage(reference), || {
            facet.push(reference, progress)
        })
        .await
    }

    async fn remove(&self, reference: &ImageRef) -> Result<()> {
        let facet = self
            .inner
            .images()
            .ok_or_else(|| absent(Feature::ImageLoad))?;
        self.run(Operation::RemoveImage(reference), || {
            facet.remove(reference)
        })
        .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Adoption for Wrapped<P> {
    async fn foreign(&self, stack: Option<&StackName>) -> Result<Vec<Foreign>> {
        let facet = self
            .inner
            .adoption()
            .ok_or_else(|| absent(Feature::Adopt))?;
        self.run(Operation::Observe, || facet.foreign(stack)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> State for Wrapped<P> {
    async fn load(&self, stack: &StackName) -> Result<Option<(Vec<u8>, Revision)>> {
        let facet = self.inner.state().ok_or_else(|| absent(Feature::State))?;
        self.run(Operation::LoadRecord(stack), || facet.load(stack))
            .await
    }

    async fn store(
        &self,
        stack: &StackName,
        record: &[u8],
        expected: Option<Revision>,
    ) -> Result<Revision> {
        let facet = self.inner.state().ok_or_else(|| absent(Feature::State))?;
        self.run(Operation::WriteRecord(stack), || {
            facet.store(stack, record, expected)
        })
        .await
    }

    async fn mark(
        &self,
        stack: &StackName,
        record: &[u8],
        expected: Option<Revision>,
    ) -> Result<Revision> {
        let facet = self.inner.state().ok_or_else(|| absent(Feature::State))?;
        self.run(Operation::WriteRecord(stack), || {
            facet.mark(stack, record, expected)
        })
        .await
    }

    async fn remove(&self, stack: &StackName) -> Result<()> {
        let facet = self.inner.state().ok_or_else(|| absent(Feature::State))?;
        self.run(Operation::WriteRecord(stack), || facet.remove(stack))
            .await
    }

    async fn stacks(&self) -> Result<Vec<StackName>> {
        let facet = self.inner.state().ok_or_else(|| absent(Feature::State))?;
        self.run(Operation::Observe, || facet.stacks()).await
    }

    async fn lock(&self, stack: &StackName) -> Result<Box<dyn StackLock>> {
        let facet = self.inner.state().ok_or_else(|| absent(Feature::State))?;
        self.run(Operation::Lock(stack), || facet.lock(stack)).await
    }
}
