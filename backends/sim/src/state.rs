//! Records of stacks with revisions, and locks that end with their holder.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use unmoor_core::backend::{Revision, StackLock, State};
use unmoor_core::name::StackName;
use unmoor_core::{Error, ErrorKind, Result};

use crate::bug::Bug;
use crate::fault::Call;
use crate::sim::Sim;
use crate::world::World;

/// Longest wait for another holder of a lock.
const PATIENCE: Duration = Duration::from_secs(600);

#[async_trait]
impl State for Sim {
    async fn load(&self, stack: &StackName) -> Result<Option<(Vec<u8>, Revision)>> {
        let label = format!("load record of {stack}");
        let clock = self.world.clock.as_ref();
        let hit = self.world.faults.before(clock, Call::State, &label).await?;
        let found = self.world.with(|model| {
            let record = model.records.get(stack);
            record.map(|(bytes, revision)| (bytes.clone(), Revision(*revision)))
        });
        hit.after(&label).await?;
        Ok(found)
    }

    async fn store(
        &self,
        stack: &StackName,
        record: &[u8],
        expected: Option<Revision>,
    ) -> Result<Revision> {
        let label = format!("store record of {stack}");
        let clock = self.world.clock.as_ref();
        let hit = self.world.faults.before(clock, Call::State, &label).await?;
        let stored = self.world.with(|model| {
            let there = model
                .records
                .get(stack)
                .map(|(_, revision)| Revision(*revision));
            if there != expected && !model.bugs.has(Bug::RevisionIgnored) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "store the record: somebody else changed it meanwhile",
                )
                .on(stack));
            }
            let revision = model.ticket();
            model
                .records
                .insert(stack.clone(), (record.to_vec(), revision));
            model.touch();
            Ok(Revision(revision))
        })?;
        hit.after(&label).await?;
        Ok(stored)
    }

    async fn remove(&self, stack: &StackName) -> Result<()> {
        let label = format!("remove record of {stack}");
        let clock = self.world.clock.as_ref();
        let hit = self.world.faults.before(clock, Call::State, &label).await?;
        self.world.with(|model| {
            if model.records.remove(stack).is_some() {
                model.touch();
            }
        });
        hit.after(&label).await
    }

    async fn stacks(&self) -> Result<Vec<StackName>> {
        let hit = self.before(Call::Lock, "list stacks").await?;
        hit.after("list stacks").await?;
        Ok(self
            .world
            .with(|model| model.records.keys().cloned().collect()))
    }

    async fn lock(&self, stack: &StackName) -> Result<Box<dyn StackLock>> {
        let hit = self.before(Call::Lock, "lock").await?;
        hit.after("lock").await?;
        let taken = self
            .world
            .within(PATIENCE, |model| {
                let free = !model.locks.contains(stack) || model.bugs.has(Bug::LockShared);
                free.then(|| model.locks.insert(stack.clone()))
            })
            .await;
        match taken {
            Some(_) => Ok(Box::new(Lock {
                world: Arc::clone(&self.world),
                stack: stack.clone(),
            })),
            None => Err(Error::new(
                ErrorKind::Timeout,
                "lock the stack: another connection to this world holds it",
            )
            .on(stack)),
        }
    }
}

#[derive(Debug)]
struct Lock {
    world: Arc<World>,
    stack: StackName,
}

impl StackLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        self.world.with(|model| {
            model.locks.remove(&self.stack);
            model.touch();
        });
    }
}
