//! The handle users hold: spawn, link, discover, and whole stacks, on any backend.

mod adopt;
mod drift;
mod dry;
mod handle;
mod inside;
mod observe;
mod once;
mod planned;
mod record;
mod resolve;
mod rollback;
mod rollout;
mod single;
mod stack;
mod stored;

pub use adopt::{AdoptOptions, AdoptTarget};
pub use handle::ServiceHandle;
pub use planned::PlannedStack;
pub use record::{Change, Former, Hand, RolloutMark, StackRecord};
pub use rollout::{RolloutPhase, RolloutStatus};
pub use stack::{DownOptions, UpOptions};
pub use stored::{StoredEntry, StoredPlan};

use std::sync::Arc;
use std::time::Duration;

use crate::apply::RunOptions;
use crate::backend::wrap::{Deadlines, Guard, Wrapped};
use crate::backend::{
    Adoption, Attach, Backend, Capabilities, Exec, Feature, Files, Images, Info, Logs, Processes,
    Signals, State, Stats,
};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::name::StackName;

/// The stack of services that are spawned without naming one.
pub const DEFAULT_STACK: &str = "default";

/// A connection to a backend. Cloning makes another reference to the same connection.
#[derive(Debug, Clone)]
pub struct Client {
    backend: Arc<dyn Backend>,
    /// The same without a guard; none in a dry run.
    bare: Option<Arc<dyn Backend>>,
    /// Longest time of an action.
    action: Duration,
    clock: Arc<dyn Clock>,
    stack: StackName,
}

impl Client {
    /// A client of `backend` that goes by the system's clock.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self::with_clock(backend, Arc::new(SystemClock::new()))
    }

    /// A client of `backend` that goes by `clock`.
    #[must_use]
    pub fn with_clock(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>) -> Self {
        let stack = StackName::parse(DEFAULT_STACK).expect("`default` is a valid name");
        Self {
            backend: guarded(&backend, &clock, Deadlines::default()),
            bare: Some(backend),
            action: Deadlines::default().action,
            clock,
            stack,
        }
    }

    /// The same connection with other longest times of calls. A dry run keeps those it began with.
    #[must_use]
    pub fn with_deadlines(&self, deadlines: Deadlines) -> Self {
        let mut client = self.clone();
        if let Some(bare) = &self.bare {
            client.backend = guarded(bare, &self.clock, deadlines);
        }
        client.action = deadlines.action;
        client
    }

    /// The same connection, spawning into another stack.
    #[must_use]
    pub fn in_stack(&self, stack: StackName) -> Self {
        Self {
            stack,
            ..self.clone()
        }
    }

    /// The stack that `spawn` and `link` work on.
    #[must_use]
    pub fn stack_name(&self) -> &StackName {
        &self.stack
    }

    /// What the backend is.
    #[must_use]
    pub fn info(&self) -> Info {
        self.backend.info()
    }

    /// What the backend can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    /// What the backend can do on this account and machine.
    ///
    /// # Errors
    /// `Unavailable`, `Unauthenticated`, `Forbidden`.
    pub async fn probe(&self) -> Result<Capabilities> {
        self.backend.probe().await
    }

    /// The clock it goes by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// These options with the client's own longest time where they say none.
    fn timed<'a>(&self, run: RunOptions<'a>) -> RunOptions<'a> {
        RunOptions {
            deadline: run.deadline.or(Some(self.action)),
            ..run
        }
    }

    fn unsupported(&self, feature: Feature) -> Error {
        let scheme = self.info().scheme;
        Error::new(
            ErrorKind::Unsupported,
            format!("`{scheme}:` has no {feature}"),
        )
    }

    /// Images of the backend.
    ///
    /// # Errors
    /// `Unsupported` if the backend keeps no images.
    pub fn images(&self) -> Result<&dyn Images> {
        self.backend
            .images()
            .ok_or_else(|| self.unsupported(Feature::ImageLoad))
    }

    fn logs_facet(&self) -> Result<&dyn Logs> {
        self.backend
            .logs()
            .ok_or_else(|| self.unsupported(Feature::Logs))
    }

    fn exec_facet(&self) -> Result<&dyn Exec> {
        self.backend
            .exec()
            .ok_or_else(|| self.unsupported(Feature::Exec))
    }

    fn signals_facet(&self) -> Result<&dyn Signals> {
        self.backend
            .signals()
            .ok_or_else(|| self.unsupported(Feature::Signal))
    }

    fn stats_facet(&self) -> Result<&dyn Stats> {
        self.backend
            .stats()
            .ok_or_else(|| self.unsupported(Feature::Stats))
    }

    fn processes_facet(&self) -> Result<&dyn Processes> {
        self.backend
            .processes()
            .ok_or_else(|| self.unsupported(Feature::Processes))
    }

    fn files_facet(&self) -> Result<&dyn Files> {
        self.backend
            .files()
            .ok_or_else(|| self.unsupported(Feature::Copy))
    }

    fn attach_facet(&self) -> Result<&dyn Attach> {
        self.backend
            .attach()
            .ok_or_else(|| self.unsupported(Feature::Attach))
    }

    fn adoption_facet(&self) -> Result<&dyn Adoption> {
        self.backend
            .adoption()
            .ok_or_else(|| self.unsupported(Feature::Adopt))
    }

    fn state_facet(&self) -> Result<&dyn State> {
        self.backend
            .state()
            .ok_or_else(|| self.unsupported(Feature::State))
    }
}

/// A backend behind the checks and times that every call goes by.
fn guarded(
    bare: &Arc<dyn Backend>,
    clock: &Arc<dyn Clock>,
    deadlines: Deadlines,
) -> Arc<dyn Backend> {
    let guard = Guard::new(bare.capabilities()).deadlines(deadlines);
    Arc::new(Wrapped::new(Arc::clone(bare), guard, Arc::clone(clock)))
}
