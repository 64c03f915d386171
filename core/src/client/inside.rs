//! What goes on inside replicas: signals, pauses, use, processes, files, their own streams, events.

use std::sync::Arc;

use futures_util::StreamExt;

use crate::apply::{Outcome, Progress, Report, RunOptions};
use crate::backend::{
    Action, ExecSession, Exit, FileStat, ObservedReplica, Ownership, Phase, ProcessEntry, Stream,
    Usage,
};
use crate::client::Client;
use crate::client::observe::Copies;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Change, ReplicaEvent};
use crate::label::Selector;
use crate::name::ReplicaId;
use crate::signal::Signal;

impl Client {
    /// Sends a signal to the selected replicas that run; after SIGKILL none of them starts again.
    ///
    /// Not idempotent: sent twice, it arrives twice. *Cancelled*: it may have arrived at some.
    ///
    /// # Errors
    /// `Unsupported`; `NotFound` if nothing is selected; what the backend gives.
    pub async fn signal(
        &self,
        selector: &Selector,
        signal: Signal,
        run: RunOptions<'_>,
    ) -> Result<Report> {
        let facet = self.signals_facet()?;
        let observed = self.observe(selector).await?;
        let mut report = Report::default();
        let all: Vec<&ObservedReplica> = observed.replicas().collect();
        if all.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "no replica is selected"));
        }
        let running: Vec<_> = all
            .iter()
            .filter(|replica| replica.phase.is_alive())
            .collect();
        for (index, replica) in running.iter().enumerate() {
            let tell = |outcome| {
                (run.on_progress)(Progress {
                    index,
                    total: running.len(),
                    subject: format!("replica {}", replica.id),
                    verb: if signal == Signal::KILL {
                        "kill"
                    } else {
                        "signal"
                    },
                    outcome,
                    elapsed: None,
                });
            };
            tell(Outcome::Started);
            match facet.signal(&replica.id, signal).await {
                Ok(()) => report.changed += 1,
                // It ended between the look and the signal.
                Err(error) if error.kind() == ErrorKind::WrongPhase => report.unchanged += 1,
                Err(error) => {
                    tell(Outcome::Failed);
                    return Err(error);
                }
            }
            tell(Outcome::Changed);
        }
        Ok(report)
    }

    /// Freezes the selected replicas that run.
    ///
    /// # Errors
    /// `Unsupported`; `NotFound` if nothing is selected; what the backend gives.
    pub async fn pause(&self, selector: &Selector, run: RunOptions<'_>) -> Result<Report> {
        let pause = |replica: ReplicaId| Action::PauseReplica { replica };
        self.on_each(
            selector,
            run,
            |phase| phase == Phase::Running,
            Copies::IfNamed,
            pause,
        )
        .await
    }

    /// Lets the selected replicas that are frozen go on.
    ///
    /// # Errors
    /// `Unsupported`; `NotFound` if nothing is selected; what the backend gives.
    pub async fn resume(&self, selector: &Selector, run: RunOptions<'_>) -> Result<Report> {
        let resume = |replica: ReplicaId| Action::ResumeReplica { replica };
        self.on_each(
            selector,
            run,
            |phase| phase == Phase::Paused,
            Copies::IfNamed,
            resume,
        )
        .await
    }

    /// What each selected replica that runs has used up to now.
    ///
    /// # Errors
    /// `Unsupported`; what the backend gives.
    pub async fn usage(&self, selector: &Selector) -> Result<Vec<Usage>> {
        self.stats_facet()?.usage(selector).await
    }

    /// The processes of a replica.
    ///
    /// # Errors
    /// `Unsupported`, `NotFound`, `WrongPhase` if it does not run.
    pub async fn processes(&self, replica: &ReplicaId) -> Result<Vec<ProcessEntry>> {
        self.processes_facet()?.processes(replica).await
    }

    /// What a path inside a replica leads to.
    ///
    /// # Errors
    /// `Unsupported`, `NotFound`, `WrongPhase` if it does not run.
    pub async fn stat(&self, replica: &ReplicaId, path: &str) -> Result<FileStat> {
        self.files_facet()?.stat(replica, path).await
    }

    /// Copies a file or directory out of a replica, as a tar archive.
    ///
    /// # Errors
    /// As [`stat`](Self::stat).
    pub async fn read_files(&self, replica: &ReplicaId, path: &str) -> Result<Stream<Vec<u8>>> {
        self.files_facet()?.read(replica, path).await
    }

    /// Unpacks a tar archive into a directory of a replica.
    ///
    /// # Errors
    /// As [`stat`](Self::stat); `InvalidSpec` for what is no archive.
    pub async fn write_files(
        &self,
        replica: &ReplicaId,
        directory: &str,
        archive: Stream<Vec<u8>>,
        owner: Ownership,
    ) -> Result<()> {
        let facet = self.files_facet()?;
        facet.write(replica, directory, archive, owner).await
    }

    /// Joins the streams of a replica's own program; dropping the session leaves it alone.
    ///
    /// # Errors
    /// `Unsupported`, `NotFound`, `WrongPhase` if it does not run.
    pub async fn attach(&self, replica: &ReplicaId) -> Result<Box<dyn ExecSession>> {
        self.attach_facet()?.attach(replica).await
    }

    /// Changes in the life of the selected replicas, from now on. Dropping the stream ends it.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub async fn events(&self, selector: &Selector) -> Result<Stream<ReplicaEvent>> {
        Arc::clone(&self.backend)
            .events(selector, Arc::clone(&self.clock))
            .await
    }

    /// Returns when the next of the selected replicas has ended; at once if one has already.
    ///
    /// # Errors
    /// `NotFound` if nothing is selected; what the backend gives.
    pub async fn wait_ended(&self, selector: &Selector) -> Result<(ReplicaId, Option<Exit>)> {
        // Listening before looking: an end in between is seen by one of the two.
        let mut events = self.events(selector).await?;
        let observed = self.observe(selector).await?;
        let mut any = false;
        for replica in observed.replicas() {
            any = true;
            if matches!(replica.phase, Phase::Stopped | Phase::Failed) {
                return Ok((replica.id.clone(), replica.exit));
            }
        }
        if !any {
            return Err(Error::new(ErrorKind::NotFound, "no replica is selected"));
        }
        while let Some(event) = events.next().await {
            let event = event?;
            if let Change::Ended { exit } = event.change {
                return Ok((event.replica, exit));
            }
        }
        let text = "the stream of events ended";
        Err(Error::new(ErrorKind::Unavailable, text))
    }
}
