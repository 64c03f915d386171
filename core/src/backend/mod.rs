//! The contract between unmoor and a platform.
//!
//! # Terms
//! A *backend* is a platform behind [`Backend`]. It holds *stacks*; a stack has networks, volumes,
//! secrets, configs and *services*; a service has *replicas*. *Desired* is what the user wrote,
//! *observed* what the platform says. A *capability* is how far a [`Feature`] is supported and who
//! keeps it going; a *gap* is a wanted thing that is not. An *action* is one change, a *step* its
//! circumstances, a *facet* an ability that not every platform has.
//!
//! # Life cycle
//! A replica is `Pending → Starting → Running → Stopping → Stopped`; any phase may turn `Failed`;
//! `Stopped` and `Failed` may start again. It is *ready* when it runs and its health check, if it
//! has one, passes; only ready replicas are endpoints. A service's names resolve from
//! [`Action::EnsureService`] on, before any replica runs, so that a dependent never starts into a
//! name that does not exist.
//!
//! # What a backend keeps
//! A plan is made of what [`Backend::observe`] says, so three things must come back as they went in:
//! the `spec_hash` of every replica and declared service, explicit links, and fingerprints of
//! secrets and configs. A backend writes them where the platform keeps them (labels, annotations,
//! its own store), never in the memory of the caller, and it touches nothing that does not carry
//! them. Where the platform forgets, [`State`] is a place for the record of a stack.
//!
//! # What arrives, and what does not
//! Where the caller acts, a plan's actions come several at a time, each after those that it needs.
//! [`Action::Await`], [`Action::Monitor`] and [`Action::Pause`] are the executor's. A [`Action::DrainReplica`] comes only
//! where [`Feature::Drain`] is declared, a secret only where [`Feature::Secrets`] is; over a gap that
//! the user allows, anything may come, and what cannot be done answers `Unsupported`. Where
//! [`Feature::RollingUpdate`] is the platform's, no action about a replica comes by a plan:
//! [`Action::EnsureService`] carries the count.
//!
//! # Cancellation
//! Any future may be dropped at any await, and any program killed. Reads leave nothing. A change
//! leaves the state before it, the state after it, or one from which the same change, or the
//! removal of its subject, completes; each method says which. Streams and sessions end when they
//! are dropped, locks are let go.
//!
//! # Story one: a stack comes up
//! The client resolves every image to a digest ([`Images::resolve`]), observes the stack once, and
//! plans. On a backend where the caller acts, the plan is `EnsureNetwork`, `EnsureVolume`,
//! `EnsureBlob`, `EnsureService` for every service, then `StartReplica` in the order of
//! `depends_on`, with an `Await` where a dependent needs a healthy or completed service. The
//! executor calls [`Backend::apply`] for each; the same file again plans nothing and calls nothing.
//!
//! # Story two: an update is interrupted
//! A changed image makes the spec hash differ. The plan for a service that starts first is, slot by
//! slot: `StartReplica` (a free slot), `Await` ready, `DrainReplica`, `RemoveReplica`. The caller
//! is killed after the await: old and new both serve. The next run observes two replicas with two
//! hashes and plans only the drain and the removal, from any machine, because nothing that it needs
//! was in the caller's memory.
//!
//! # Story three: one service is changed by hand
//! `scale` reads the stack's record under its lock ([`State::lock`], [`State::load`]), changes the
//! one number, and plans with a [`Scope`](crate::plan::Scope): the other services are observed, so
//! that what this one needs is known to run, and none of them gets an action. The record is stored
//! before the first action with a mark of the change, and after the last one without it.
//!
//! # Story four: a stack is taken over
//! Somebody's tool made networks, volumes and replicas. [`Adoption::foreign`] shows them with the
//! places that they take up; a plan that would make something there is refused. `adopt` plans an
//! [`Action::Adopt`] for each, in the order in which they need one another, and what runs goes on
//! running: from then on `observe` has it, with the hash that the action carries.
//!
//! A whole backend in a few files is `examples/backend`; `docs/guides/write-a-backend.md` goes
//! through it.

mod action;
mod adopt;
mod capability;
mod desired;
mod facet;
mod inside;
mod observed;
pub mod wrap;

pub use action::{Action, Applied, Commit, Step, Until};
pub use adopt::{Adoption, Claim, Foreign, Form, Maker, StackPlace};
pub use capability::{Actor, Capabilities, Capability, Feature, Gap, Limits, Support};
pub use desired::DesiredService;
pub use facet::{
    Channel, Exec, ExecOptions, ExecOutput, ExecSession, ImageDefaults, ImageEntry, ImageInput,
    Images, LogLine, LogOptions, Logs, OnPull, PullProgress, ResolvedImage, Revision, StackLock,
    State, Stream,
};
pub use inside::{
    Attach, FileKind, FileStat, Files, Ownership, ProcessEntry, Processes, Signals, Stats,
    Transfer, Usage,
};
pub use observed::{
    Exit, HealthState, Observed, ObservedReplica, ObservedService, ObservedStack, Phase,
};

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::discover::{Cursor, EndpointEvent, Endpoints};
use crate::error::Result;
use crate::event::ReplicaEvent;
use crate::label::Selector;

/// What a backend is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Scheme of its URI, as `local`.
    pub scheme: String,
    /// The URI without credentials.
    pub uri: String,
    /// Version of the platform.
    pub version: String,
    /// One line on where it runs, as a kernel version or a cluster's name.
    pub detail: String,
}

/// Hints that something may have changed. Dropping it ends the watch.
#[async_trait]
pub trait Notices: Send + Debug {
    /// Returns when something may have changed since the last call, or since it was armed.
    ///
    /// *Cancelled*: nothing is lost; the next call tells it.
    ///
    /// # Errors
    /// `Unavailable` if nothing will be told any more.
    async fn changed(&mut self) -> Result<()>;
}

/// A platform.
///
/// Five methods are required; the provided ones are built on them, and a platform that can do
/// better overrides them. Every method may be called at the same time as any other. A future that
/// is dropped leaves what its method documents under *Cancelled*.
#[async_trait]
pub trait Backend: Send + Sync + Debug + 'static {
    /// What it is. Never asks the platform.
    fn info(&self) -> Info;

    /// What it can do. Never asks the platform; pure, and the same as long as it is connected.
    fn capabilities(&self) -> Capabilities;

    /// What there is of the selected stacks.
    ///
    /// A read: changes nothing and may be repeated. One item that cannot be read is an entry in
    /// [`Observed::unreadable`], not an error. What is selected and absent is left out.
    /// *Cancelled*: nothing.
    ///
    /// # Errors
    /// `Unavailable`, `Unauthenticated`, `Forbidden`, `Timeout`; `Corrupt` if the platform's own
    /// record cannot be read at all.
    async fn observe(&self, selector: &Selector) -> Result<Observed>;

    /// Makes one change, and returns when it is made.
    ///
    /// Idempotent: repeated, or applied to what is already so, it answers
    /// [`Applied::Unchanged`] and writes nothing. `Await`, `Monitor` and `Pause` never arrive here.
    /// *Cancelled*, or killed: the platform has the state before or after the action, or one from
    /// which the same action, or the removal of its subject, completes.
    ///
    /// # Errors
    /// `Conflict` if the subject was changed by somebody else since it was observed; `WrongPhase`
    /// if something must happen before; `Unsupported` only for what the capabilities deny;
    /// `NotFound` if something it refers to is absent; `AlreadyExists` if a name, port or address
    /// is somebody else's; `Quota`, `Throttled`, `Unavailable`, `Timeout`, `Forbidden` from the
    /// platform.
    async fn apply(&self, action: &Action, step: &Step) -> Result<Applied>;

    /// The addresses that answer for the selected services now.
    ///
    /// A read. Only ready replicas have weight above 0. One item that cannot be read is an entry
    /// in [`Endpoints::unreadable`], not an error. *Cancelled*: nothing.
    ///
    /// # Errors
    /// As [`observe`](Self::observe). Nothing selected is an empty list.
    async fn endpoints(&self, selector: &Selector) -> Result<Endpoints>;

    /// What it can do on this account and machine; asks the platform.
    ///
    /// A read. Never says more than [`capabilities`](Self::capabilities). *Cancelled*: nothing.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    async fn probe(&self) -> Result<Capabilities> {
        Ok(self.capabilities())
    }

    /// Tells of endpoint changes: first `Resync` with the whole list, then changes, in order.
    ///
    /// After every `Resync` the list is complete, and what it omits is gone. `cursor` resumes a
    /// former watch: if the list is still the one with this cursor, the stream starts with the next
    /// change, otherwise with a `Resync`. The provided method polls [`endpoints`](Self::endpoints)
    /// by `clock`. Dropping the stream ends it. [`Follower`](crate::discover::Follower) makes events
    /// of lists.
    ///
    /// # Errors
    /// As [`observe`](Self::observe); a passing fault in a running watch is an error item, after
    /// which the stream goes on. So is an item that cannot be read: what was known of it stays, and
    /// it is told once. A `Resync` tells that all is known again.
    async fn watch(
        self: Arc<Self>,
        selector: &Selector,
        cursor: Option<Cursor>,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<EndpointEvent>> {
        Ok(crate::discover::poll_endpoints(
            self,
            selector.clone(),
            cursor,
            clock,
        ))
    }

    /// Tells when it is worth to observe the selected replicas again, where the platform can.
    ///
    /// Armed when this returns: a change of phase, health or presence after that is told. `None`
    /// leaves the caller to look again and again by the clock.
    async fn notices(&self, selector: &Selector) -> Option<Box<dyn Notices>> {
        let _ = selector;
        None
    }

    /// Tells of changes in the life of the selected replicas, from the time of the call on.
    ///
    /// A change that is taken back between two looks may be left out; the end and new start of a
    /// program never is. The provided method polls [`observe`](Self::observe) by `clock`. Dropping
    /// the stream ends it.
    ///
    /// # Errors
    /// As [`observe`](Self::observe); a passing fault later is an error item, after which the
    /// stream goes on.
    async fn events(
        self: Arc<Self>,
        selector: &Selector,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<ReplicaEvent>> {
        crate::event::poll_events(self, selector.clone(), clock).await
    }

    /// What replicas wrote, where the platform keeps it.
    fn logs(&self) -> Option<&dyn Logs> {
        None
    }

    /// Commands inside replicas.
    fn exec(&self) -> Option<&dyn Exec> {
        None
    }

    /// Signals to the programs of replicas.
    fn signals(&self) -> Option<&dyn Signals> {
        None
    }

    /// What replicas use.
    fn stats(&self) -> Option<&dyn Stats> {
        None
    }

    /// Processes inside replicas.
    fn processes(&self) -> Option<&dyn Processes> {
        None
    }

    /// Files inside replicas.
    fn files(&self) -> Option<&dyn Files> {
        None
    }

    /// The streams of the replicas' own programs.
    fn attach(&self) -> Option<&dyn Attach> {
        None
    }

    /// Images of the platform.
    fn images(&self) -> Option<&dyn Images> {
        None
    }

    /// Sight of what is there and is not ours.
    fn adoption(&self) -> Option<&dyn Adoption> {
        None
    }

    /// What the platform remembers for us.
    fn state(&self) -> Option<&dyn State> {
        None
    }
}
