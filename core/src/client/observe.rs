//! Looking and touching: observe, discover, watch, logs, exec, stop and start.

use std::sync::Arc;
use std::time::Duration;

use crate::apply::{self, Report, RunOptions};
use crate::backend::{
    Action, ExecOptions, ExecOutput, ExecSession, LogLine, LogOptions, Observed, ObservedReplica,
    Phase, Stream, Until,
};
use crate::client::Client;
use crate::discover::{Cursor, Directory, EndpointEvent, Endpoints};
use crate::error::{Error, ErrorKind, Result};
use crate::label::{ONE_OFF, Selector};
use crate::name::{ReplicaId, ServiceName, StackName};
use crate::plan::Plan;

impl Client {
    /// What there is.
    ///
    /// # Errors
    /// `Unavailable`, `Unauthenticated`, `Forbidden`, `Timeout`.
    pub async fn observe(&self, selector: &Selector) -> Result<Observed> {
        self.backend.observe(selector).await
    }

    /// The addresses that answer for the selected services now.
    ///
    /// # Errors
    /// As [`observe`](Self::observe). Nothing selected is an empty list; what cannot be read is in
    /// [`Endpoints::unreadable`].
    pub async fn discover(&self, selector: &Selector) -> Result<Endpoints> {
        self.backend.endpoints(selector).await
    }

    /// Changes of addresses: first `Resync` with all, then each change. Dropping the stream ends it.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub async fn watch(&self, selector: &Selector) -> Result<Stream<EndpointEvent>> {
        self.watch_after(selector, None).await
    }

    /// The same from a place in a former watch: what has changed since, and then each change.
    ///
    /// A `Resync` comes first unless the list is still as it was there.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub async fn watch_after(
        &self,
        selector: &Selector,
        cursor: Option<Cursor>,
    ) -> Result<Stream<EndpointEvent>> {
        Arc::clone(&self.backend)
            .watch(selector, cursor, Arc::clone(&self.clock))
            .await
    }

    /// The addresses of the selected services, kept in memory and up to date by a watch.
    ///
    /// Returns once they are known; keeps a task going until the last copy of it is dropped.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub async fn directory(&self, selector: &Selector) -> Result<Directory> {
        let (backend, clock) = (Arc::clone(&self.backend), Arc::clone(&self.clock));
        Directory::open(backend, selector.clone(), clock).await
    }

    /// What the selected replicas wrote.
    ///
    /// # Errors
    /// `Unsupported` without logs; `NotFound` if nothing is selected.
    pub async fn logs(&self, selector: &Selector, options: &LogOptions) -> Result<Stream<LogLine>> {
        self.logs_facet()?.logs(selector, options).await
    }

    /// Starts a command inside a replica. Dropping the session kills the command.
    ///
    /// # Errors
    /// `Unsupported`, `NotFound`, `WrongPhase` if the replica does not run.
    pub async fn exec(
        &self,
        replica: &ReplicaId,
        options: &ExecOptions,
    ) -> Result<Box<dyn ExecSession>> {
        self.exec_facet()?.exec(replica, options).await
    }

    /// Starts a command inside a replica that nobody follows and that goes on by itself.
    ///
    /// # Errors
    /// As [`exec`](Self::exec); `Unsupported` where a command ends with who started it. A program
    /// that is not there or not executable is an error with that exit code.
    pub async fn exec_detached(&self, replica: &ReplicaId, options: &ExecOptions) -> Result<()> {
        self.exec_facet()?.exec_detached(replica, options).await
    }

    /// Runs a command inside a replica to its end; returns exit code, output and errors.
    ///
    /// # Errors
    /// As [`exec`](Self::exec).
    pub async fn output(
        &self,
        replica: &ReplicaId,
        options: &ExecOptions,
    ) -> Result<(i32, Vec<u8>, Vec<u8>)> {
        let mut session = self.exec(replica, options).await?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(output) = session.next().await? {
            match output {
                ExecOutput::Stdout(bytes) => out.extend(bytes),
                ExecOutput::Stderr(bytes) => err.extend(bytes),
                ExecOutput::Exited(code) => return Ok((code, out, err)),
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the command ended without an exit code",
        )
        .on(replica))
    }

    /// Stops replicas and keeps them. One-off copies are left alone unless services are named.
    ///
    /// # Errors
    /// `NotFound` if nothing is selected; what the backend gives.
    pub async fn stop(
        &self,
        selector: &Selector,
        grace: Option<Duration>,
        run: RunOptions<'_>,
    ) -> Result<Report> {
        let stop = |id: ReplicaId| Action::StopReplica { replica: id, grace };
        self.on_each(
            selector,
            run,
            |phase| phase.is_alive() || phase == Phase::Starting,
            Copies::IfNamed,
            stop,
        )
        .await
    }

    /// Stops replicas and starts them again. One-off copies are left alone unless services are
    /// named.
    ///
    /// # Errors
    /// `NotFound` if nothing is selected; what the backend gives.
    pub async fn restart(
        &self,
        selector: &Selector,
        grace: Option<Duration>,
        run: RunOptions<'_>,
    ) -> Result<Report> {
        let restart = |id: ReplicaId| Action::RestartReplica { replica: id, grace };
        self.on_each(selector, run, |_| true, Copies::IfNamed, restart)
            .await
    }

    /// Starts replicas that were stopped, or only created. One-off copies are left alone unless
    /// services are named.
    ///
    /// # Errors
    /// `NotFound` if nothing is selected; what the backend gives.
    pub async fn start(&self, selector: &Selector, run: RunOptions<'_>) -> Result<Report> {
        let start = |id: ReplicaId| Action::RestartReplica {
            replica: id,
            grace: None,
        };
        self.on_each(
            selector,
            run,
            |phase| matches!(phase, Phase::Pending | Phase::Stopped | Phase::Failed),
            Copies::IfNamed,
            start,
        )
        .await
    }

    /// Removes replicas that have ended or were never started, with their writable layers; the
    /// others stay.
    ///
    /// # Errors
    /// `NotFound` if nothing is selected; what the backend gives.
    pub async fn remove_ended(&self, selector: &Selector, run: RunOptions<'_>) -> Result<Report> {
        let remove = |id: ReplicaId| Action::RemoveReplica { replica: id };
        self.on_each(
            selector,
            run,
            |phase| matches!(phase, Phase::Pending | Phase::Stopped | Phase::Failed),
            Copies::Too,
            remove,
        )
        .await
    }

    /// Returns when all replicas of a service are ready.
    ///
    /// # Errors
    /// `Timeout`, or `WrongPhase` if a replica failed.
    pub async fn wait_ready(
        &self,
        stack: &StackName,
        service: &ServiceName,
        deadline: Duration,
    ) -> Result<()> {
        self.wait(stack, service, Until::Ready, deadline).await
    }

    /// Returns when all replicas of a service have reached a condition.
    ///
    /// # Errors
    /// `Timeout`, or `WrongPhase` if a replica cannot reach it any more.
    pub async fn wait(
        &self,
        stack: &StackName,
        service: &ServiceName,
        until: Until,
        deadline: Duration,
    ) -> Result<()> {
        let mut plan = empty_plan(stack.clone());
        let action = Action::Await {
            service: service.clone(),
            slots: Vec::new(),
            until,
            deadline,
        };
        plan.push(action, "", &[]);
        apply::run(&plan, &self.backend, &self.clock, RunOptions::default())
            .await
            .map(drop)
    }

    /// One action for each selected replica whose phase fits, side by side.
    pub(super) async fn on_each(
        &self,
        selector: &Selector,
        run: RunOptions<'_>,
        fits: impl Fn(Phase) -> bool + Send,
        copies: Copies,
        action: impl Fn(ReplicaId) -> Action + Send,
    ) -> Result<Report> {
        let observed = self.observe(selector).await?;
        let mut total = Report::default();
        if observed.replicas().next().is_none() {
            return Err(Error::new(ErrorKind::NotFound, "no replica is selected"));
        }
        let too = copies == Copies::Too || !selector.services.is_empty();
        let meant = |replica: &&ObservedReplica| {
            fits(replica.phase) && (too || !replica.labels.contains_key(ONE_OFF))
        };
        for (name, stack) in &observed.stacks {
            let mut plan = empty_plan(name.clone());
            for replica in stack.replicas.iter().filter(meant) {
                let action = action(replica.id.clone());
                plan.push_on(replica, action, "it was asked for", &[]);
            }
            let report = apply::run(&plan, &self.backend, &self.clock, self.timed(run)).await?;
            total.changed += report.changed;
            total.unchanged += report.unchanged;
        }
        Ok(total)
    }
}

/// What becomes of one-off copies of services, which nobody wants to run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    /// They are meant, too.
    Too,
    /// They are left alone unless services are named.
    IfNamed,
}

pub(super) fn empty_plan(stack: StackName) -> Plan {
    Plan::new(stack, "by-hand".to_owned(), String::new())
}
