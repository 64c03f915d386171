//! One generic wrapper around a backend; what it adds is a [`Policy`].
//!
//! The wrapper implements every facet itself, so no call slips past a policy. [`Client`] always
//! installs [`Guard`], which is why a backend need not repeat the checks of the planner.
//!
//! [`Client`]: crate::Client

mod deadlines;
mod facets;
mod inside;
mod policy;

pub use deadlines::Deadlines;
pub use policy::{Guard, Operation, Policy};

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;

use crate::backend::{
    Action, Adoption, Applied, Attach, Backend, Capabilities, Exec, Files, Images, Info, Logs,
    Notices, Observed, Processes, Signals, State, Stats, Step, Stream,
};
use crate::clock::Clock;
use crate::discover::{Cursor, EndpointEvent, Endpoints};
use crate::error::{Error, ErrorKind, Result};
use crate::event::ReplicaEvent;
use crate::label::Selector;

/// A backend with a policy around every call.
#[derive(Debug)]
pub struct Wrapped<P> {
    inner: Arc<dyn Backend>,
    policy: P,
    clock: Arc<dyn Clock>,
}

impl<P: Policy> Wrapped<P> {
    /// Puts `policy` around `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, policy: P, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            policy,
            clock,
        }
    }

    /// Limits the time until each next piece of a stream that comes to its end by itself.
    fn in_time<T: Send + 'static>(
        &self,
        operation: &Operation<'_>,
        stream: Stream<T>,
    ) -> Stream<T> {
        let Some(limit) = self.policy.deadline(operation) else {
            return stream;
        };
        let error = late(operation, limit).to_string();
        let clock = Arc::clone(&self.clock);
        futures_util::stream::unfold(Some(stream), move |stream| {
            let (clock, error) = (Arc::clone(&clock), error.clone());
            async move {
                let mut stream = stream?;
                tokio::select! {
                    biased;
                    item = stream.next() => item.map(|item| (item, Some(stream))),
                    () = clock.sleep(limit) => {
                        Some((Err(Error::new(ErrorKind::Timeout, error)), None))
                    }
                }
            }
        })
        .boxed()
    }

    /// Runs one call under the policy: refuse, limit the time, try again.
    async fn run<'a, T, F>(
        &self,
        operation: Operation<'_>,
        call: impl Fn() -> F + Send,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'a,
        T: Send,
    {
        self.policy.before(&operation)?;
        let mut attempt = 0;
        loop {
            let outcome = match self.policy.deadline(&operation) {
                None => call().await,
                Some(limit) => tokio::select! {
                    biased;
                    outcome = call() => outcome,
                    () = self.clock.sleep(limit) => Err(late(&operation, limit)),
                },
            };
            let Err(error) = &outcome else { return outcome };
            attempt += 1;
            let Some(pause) = self.policy.retry(&operation, attempt, error) else {
                return outcome;
            };
            tracing::debug!(%operation, attempt, ?pause, "trying again: {}", error.chain());
            self.clock.sleep(pause).await;
        }
    }
}

/// The error of a call that was given up.
fn late(operation: &Operation<'_>, limit: Duration) -> Error {
    let text = format!("{operation} took longer than {} s", limit.as_secs_f64());
    let error = Error::new(ErrorKind::Timeout, text);
    match operation.is_read() {
        true => error,
        false => error.hint("it may have its effect yet: look, and ask for it again"),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: Policy> Backend for Wrapped<P> {
    fn info(&self) -> Info {
        self.inner.info()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn observe(&self, selector: &Selector) -> Result<Observed> {
        self.run(Operation::Observe, || self.inner.observe(selector))
            .await
    }

    async fn apply(&self, action: &Action, step: &Step) -> Result<Applied> {
        self.run(Operation::Apply(action, step), || {
            self.inner.apply(action, step)
        })
        .await
    }

    async fn endpoints(&self, selector: &Selector) -> Result<Endpoints> {
        self.run(Operation::Endpoints, || self.inner.endpoints(selector))
            .await
    }

    async fn probe(&self) -> Result<Capabilities> {
        self.run(Operation::Probe, || self.inner.probe()).await
    }

    async fn watch(
        self: Arc<Self>,
        selector: &Selector,
        cursor: Option<Cursor>,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<EndpointEvent>> {
        let inner = Arc::clone(&self.inner);
        self.run(Operation::Watch, || {
            Arc::clone(&inner).watch(selector, cursor, Arc::clone(&clock))
        })
        .await
    }

    async fn notices(&self, selector: &Selector) -> Option<Box<dyn Notices>> {
        let armed = self.inner.notices(selector);
        let Some(limit) = self.policy.deadline(&Operation::Watch) else {
            return armed.await;
        };
        tokio::select! {
            biased;
            armed = armed => armed,
            // Whoever is not told looks by the clock.
            () = self.clock.sleep(limit) => None,
        }
    }

    async fn events(
        self: Arc<Self>,
        selector: &Selector,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<ReplicaEvent>> {
        let inner = Arc::clone(&self.inner);
        self.run(Operation::Watch, || {
            Arc::clone(&inner).events(selector, Arc::clone(&clock))
        })
        .await
    }

    fn logs(&self) -> Option<&dyn Logs> {
        self.inner.logs().map(|_| self as &dyn Logs)
    }

    fn exec(&self) -> Option<&dyn Exec> {
        self.inner.exec().map(|_| self as &dyn Exec)
    }

    fn signals(&self) -> Option<&dyn Signals> {
        self.inner.signals().map(|_| self as &dyn Signals)
    }

    fn stats(&self) -> Option<&dyn Stats> {
        self.inner.stats().map(|_| self as &dyn Stats)
    }

    fn processes(&self) -> Option<&dyn Processes> {
        self.inner.processes().map(|_| self as &dyn Processes)
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
        self.inner.adoption().map(|_| self as &dyn Adoption)
    }

    fn state(&self) -> Option<&dyn State> {
        self.inner.state().map(|_| self as &dyn State)
    }
}
