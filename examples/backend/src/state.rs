//! Records of stacks, kept as long as the connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, OwnedMutexGuard};
use unmoor::backend::{Revision, StackLock, State};
use unmoor::name::StackName;
use unmoor::{Error, ErrorKind, Result};

use crate::ProcBackend;

/// Records with their revisions, and a lock for each stack.
#[derive(Debug, Default)]
pub(crate) struct Records {
    stored: BTreeMap<StackName, (Vec<u8>, Revision)>,
    locks: BTreeMap<StackName, Arc<Mutex<()>>>,
    /// Never goes back, so that a record made anew is not taken for the former one.
    last: u64,
}

#[derive(Debug)]
struct Held(#[expect(dead_code, reason = "it is held, not read")] OwnedMutexGuard<()>);

impl StackLock for Held {}

#[async_trait]
impl State for ProcBackend {
    async fn load(&self, stack: &StackName) -> Result<Option<(Vec<u8>, Revision)>> {
        Ok(self.world().records.stored.get(stack).cloned())
    }

    async fn store(
        &self,
        stack: &StackName,
        record: &[u8],
        expected: Option<Revision>,
    ) -> Result<Revision> {
        let records = &mut self.world().records;
        if records.stored.get(stack).map(|(_, revision)| *revision) != expected {
            let text = "store its record: somebody else has written it";
            return Err(Error::new(ErrorKind::Conflict, text).on(stack));
        }
        records.last += 1;
        let revision = Revision(records.last);
        records
            .stored
            .insert(stack.clone(), (record.to_vec(), revision));
        Ok(revision)
    }

    async fn remove(&self, stack: &StackName) -> Result<()> {
        self.world().records.stored.remove(stack);
        Ok(())
    }

    async fn stacks(&self) -> Result<Vec<StackName>> {
        Ok(self.world().records.stored.keys().cloned().collect())
    }

    async fn lock(&self, stack: &StackName) -> Result<Box<dyn StackLock>> {
        let lock = Arc::clone(self.world().records.locks.entry(stack.clone()).or_default());
        Ok(Box::new(Held(lock.lock_owned().await)))
    }
}
