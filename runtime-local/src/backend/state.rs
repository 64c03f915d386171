//! The facet for what clients remember about stacks, and their locks.

use std::time::Duration;

use async_trait::async_trait;
use unmoor_core::Result;
use unmoor_core::backend::{Revision, StackLock, State};
use unmoor_core::name::StackName;

use super::LocalBackend;
use crate::engine::{Runtime, Subject};
use crate::error::LocalError;
use crate::state::{Durability, Lock, Stacks};

/// Longest wait for another client's change of the same stack.
const PATIENCE: Duration = Duration::from_secs(30);

impl StackLock for Lock {}

fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or_default())
}

/// The record itself: whoever has the stack's lock next waits for a write that a caller who gave
/// up has left.
fn record_of(runtime: &Runtime, stack: &StackName) -> Subject {
    runtime.subject("record", stack, "stack")
}

impl LocalBackend {
    /// Waits until nothing works on the stack any more.
    ///
    /// A caller that gives up lets go of the stack's lock while a thread still makes, say, a
    /// replica. Whoever observed now would not see it, and would remove the service under it.
    async fn settle(&self, runtime: &Runtime, stack: &StackName) -> Result<()> {
        for path in runtime.layout().locks_of(stack)? {
            let what = format!("what a change of stack `{stack}` left running");
            drop(Lock::take(path, &what, PATIENCE).await?);
        }
        Ok(())
    }

    async fn write_record(
        &self,
        stack: &StackName,
        record: &[u8],
        expected: Option<Revision>,
        durability: Durability,
    ) -> Result<Revision> {
        let runtime = self.place.made().await?;
        let subject = record_of(runtime, stack);
        let (stack, record) = (stack.clone(), record.to_vec());
        let store = move |runtime: &Runtime| {
            runtime.db().write("write the stack", durability, |c| {
                let found = Stacks::load(c, stack.as_str())?.map(|(_, number)| revision(number));
                if found != expected {
                    let text = format!("the record of stack `{stack}` was changed meanwhile");
                    return Err(LocalError::Conflict(text).into());
                }
                Stacks::store(c, stack.as_str(), &record)
            })
        };
        let written = match durability {
            // The disk is not waited for.
            Durability::Process => runtime.look("marks a stack", store).await?,
            Durability::Power => {
                let written = runtime.work(subject, "writes a stack", store);
                written.await?
            }
        };
        Ok(revision(written))
    }
}

#[async_trait]
impl State for LocalBackend {
    async fn load(&self, stack: &StackName) -> Result<Option<(Vec<u8>, Revision)>> {
        let stack = stack.clone();
        let load = move |runtime: &Runtime| {
            runtime
                .db()
                .read("read the stack", |c| Stacks::load(c, stack.as_str()))
        };
        let Some(runtime) = self.place.there().await? else {
            return Ok(None);
        };
        let found = runtime.look("reads a stack", load).await?;
        Ok(found.map(|(record, number)| (record, revision(number))))
    }

    async fn store(
        &self,
        stack: &StackName,
        record: &[u8],
        expected: Option<Revision>,
    ) -> Result<Revision> {
        self.write_record(stack, record, expected, Durability::Power)
            .await
    }

    async fn mark(
        &self,
        stack: &StackName,
        record: &[u8],
        expected: Option<Revision>,
    ) -> Result<Revision> {
        self.write_record(stack, record, expected, Durability::Process)
            .await
    }

    async fn remove(&self, stack: &StackName) -> Result<()> {
        let Some(runtime) = self.place.there().await? else {
            return Ok(());
        };
        let subject = record_of(runtime, stack);
        let stack = stack.clone();
        let remove = move |runtime: &Runtime| {
            runtime
                .db()
                .write("forget the stack", Durability::Power, |c| {
                    Stacks::remove(c, stack.as_str())
                })
        };
        let removed = runtime.work(subject, "forgets a stack", remove);
        Ok(removed.await?)
    }

    async fn stacks(&self) -> Result<Vec<StackName>> {
        let list = |runtime: &Runtime| runtime.db().read("list stacks", Stacks::names);
        let Some(runtime) = self.place.there().await? else {
            return Ok(Vec::new());
        };
        let names = runtime.look("lists stacks", list).await?;
        Ok(names
            .into_iter()
            .filter_map(|name| StackName::parse(name).ok())
            .collect())
    }

    async fn lock(&self, stack: &StackName) -> Result<Box<dyn StackLock>> {
        let runtime = self.place.made().await?;
        let path = runtime.layout().lock(&format!("stack.{stack}"));
        let lock = Lock::take(path, &format!("stack `{stack}`"), PATIENCE).await?;
        self.settle(runtime, stack).await?;
        Ok(Box::new(lock))
    }
}
