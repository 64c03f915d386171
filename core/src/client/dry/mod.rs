//! Trying a change without making it: a backend that remembers what would have become of it.
//!
//! Reads go to the real backend; what is observed has the remembered actions laid over it, so that
//! waits end and a plan runs from its first action to its last. Nothing is ever written.

mod facets;
mod overlay;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::Client;
use crate::backend::{
    Action, Adoption, Applied, Attach, Backend, Capabilities, Exec, Files, Images, Info, Logs,
    Notices, Observed, Processes, Revision, Signals, State, Stats, Step, Stream,
};
use crate::clock::Clock;
use crate::discover::{Cursor, EndpointEvent, Endpoints};
use crate::error::Result;
use crate::event::ReplicaEvent;
use crate::label::Selector;
use crate::name::StackName;

impl Client {
    /// The same connection, except that nothing is changed by what goes over it.
    ///
    /// Plans are carried out in memory: their progress is told, waits end at once, later looks show
    /// what would be there. Images that are missing are taken to exist. Commands and sessions inside
    /// replicas, and files written to them, are refused as `Unsupported`.
    #[must_use]
    pub fn dry_run(&self) -> Self {
        let backend = Arc::new(DryRun {
            inner: Arc::clone(&self.backend),
            done: Mutex::default(),
            records: Mutex::default(),
        });
        let clock = Arc::new(Hasty {
            inner: Arc::clone(&self.clock),
            skipped: Mutex::default(),
        });
        Self {
            backend,
            bare: None,
            action: self.action,
            clock,
            stack: self.stack.clone(),
        }
    }
}

/// A stack's record as it would have been written.
type Record = (Vec<u8>, Revision);

/// A backend that remembers what would have been done.
#[derive(Debug)]
struct DryRun {
    inner: Arc<dyn Backend>,
    /// What was asked for, in order.
    done: Mutex<Vec<(StackName, Action)>>,
    /// Records that would have been written; `None` for those that would be gone.
    records: Mutex<BTreeMap<StackName, Option<Record>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for DryRun {
    fn info(&self) -> Info {
        self.inner.info()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn observe(&self, selector: &Selector) -> Result<Observed> {
        let done = lock(&self.done).clone();
        if done.is_empty() {
            return self.inner.observe(selector).await;
        }
        let mut whole = Selector::all();
        whole.stack.clone_from(&selector.stack);
        let mut observed = self.inner.observe(&whole).await?;
        for (stack, action) in &done {
            if selector.matches_stack(stack) {
                overlay::lay(&mut observed, stack, action);
            }
        }
        overlay::narrow(&mut observed, selector);
        Ok(observed)
    }

    async fn apply(&self, action: &Action, step: &Step) -> Result<Applied> {
        lock(&self.done).push((step.stack.clone(), action.clone()));
        Ok(Applied::Changed)
    }

    async fn endpoints(&self, selector: &Selector) -> Result<Endpoints> {
        self.inner.endpoints(selector).await
    }

    async fn probe(&self) -> Result<Capabilities> {
        self.inner.probe().await
    }

    async fn watch(
        self: Arc<Self>,
        selector: &Selector,
        cursor: Option<Cursor>,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<EndpointEvent>> {
        Arc::clone(&self.inner).watch(selector, cursor, clock).await
    }

    async fn events(
        self: Arc<Self>,
        selector: &Selector,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<ReplicaEvent>> {
        Arc::clone(&self.inner).events(selector, clock).await
    }

    async fn notices(&self, _: &Selector) -> Option<Box<dyn Notices>> {
        // What is told of is the real backend; here waits end by themselves.
        None
    }

    fn logs(&self) -> Option<&dyn Logs> {
        self.inner.logs()
    }

    fn exec(&self) -> Option<&dyn Exec> {
        self.inner.exec().map(|_| self as &dyn Exec)
    }

    fn signals(&self) -> Option<&dyn Signals> {
        self.inner.signals().map(|_| self as &dyn Signals)
    }

    fn stats(&self) -> Option<&dyn Stats> {
        self.inner.stats()
    }

    fn processes(&self) -> Option<&dyn Processes> {
        self.inner.processes()
    }

    fn files(&self) -> Option<&dyn Files> {
        self.inner.files().map(|_| self as &dyn Files)
    }

    fn attach(&self) -> Option<&dyn Attach> {
        self.inner.attach().map(|_| self as &dyn Attach)
    }

    fn images(&self) -> Option<&dyn Images> {
        self.inner.images().map(|_| self as &dyn Images)
    }

    fn adoption(&self) -> Option<&dyn Adoption> {
        self.inner.adoption()
    }

    fn state(&self) -> Option<&dyn State> {
        self.inner.state().map(|_| self as &dyn State)
    }
}

/// A clock whose sleeps end at once; the time that was slept has passed.
#[derive(Debug)]
struct Hasty {
    inner: Arc<dyn Clock>,
    skipped: Mutex<Duration>,
}

#[async_trait]
impl Clock for Hasty {
    fn now(&self) -> SystemTime {
        self.inner.now()
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic() + *lock(&self.skipped)
    }

    async fn sleep(&self, time: Duration) {
        *lock(&self.skipped) += time;
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests;
