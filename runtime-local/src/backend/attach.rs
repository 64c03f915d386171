//! The facet for the streams of replicas' own programs, and events in the life of replicas.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::io::unix::AsyncFd;
use unmoor_core::backend::{Attach, ExecOutput, ExecSession, ObservedReplica, Stream};
use unmoor_core::event::{ReplicaEvent, changes};
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;
use unmoor_core::{Error, ErrorKind, Result};

use super::LocalBackend;
use super::watch::{Watcher, directories};
use crate::engine::Runtime;
use crate::error::LocalError;
use crate::shim::{self, Control, END_OF_INPUT, Seen, read_stream, watched, write_some};
use crate::wire::control::Request;
use crate::wire::status::{Phase, Status};

/// How long after its streams have closed a program's end may take to be told.
const END: Duration = Duration::from_secs(10);

#[async_trait]
impl Attach for LocalBackend {
    async fn attach(&self, replica: &ReplicaId) -> Result<Box<dyn ExecSession>> {
        let id = replica.clone();
        let join = move |runtime: &Runtime| {
            let (record, status) = runtime.alive("attach to", &id)?;
            let input = runtime.has_input(&id)?;
            let run = runtime.layout().run(&record.key);
            let ends = Control::connect(&run, &id.to_string())?.attach(input)?;
            let terminal = record.desired.spec.tty;
            Ok((run, status.generation, input, terminal, ends))
        };
        let runtime = self.place.made().await?;
        let joined = runtime.block("joins a program's streams", join).await?;
        let (run, generation, input, terminal, ends) = joined;
        let mut ends = ends.into_iter();
        let missing = || LocalError::Protocol {
            replica: replica.to_string(),
            problem: "sent no stream".to_owned(),
        };
        let out = watched(ends.next().ok_or_else(missing)?)?;
        let err = ends.next().map(watched).transpose()?;
        Ok(Box::new(Attached {
            replica: replica.clone(),
            run,
            generation,
            input,
            terminal,
            out: Some(out),
            err,
            finished: false,
        }))
    }
}

/// A session on the streams of a replica's own program.
#[derive(Debug)]
struct Attached {
    replica: ReplicaId,
    run: PathBuf,
    /// The run of the program that was joined.
    generation: u64,
    input: bool,
    terminal: bool,
    /// Carries standard output here, and input there.
    out: Option<AsyncFd<OwnedFd>>,
    err: Option<AsyncFd<OwnedFd>>,
    finished: bool,
}

impl Attached {
    /// The exit code of the run that was joined, once that has ended.
    async fn end(&self) -> Result<i32> {
        let notices = Watcher::open()?;
        notices.add(&self.run)?;
        let told = async {
            loop {
                match shim::see(&self.run)? {
                    Seen::Alive(status) if self.is_under_way(&status) => {}
                    seen => return Ok::<_, LocalError>(seen.status().and_then(|s| s.exit_code)),
                }
                notices.changed().await?;
            }
        };
        match tokio::time::timeout(END, told).await {
            Ok(code) => Ok(code?.unwrap_or(0)),
            Err(_) => {
                let text = "the session was dropped because it did not keep up with the output";
                Err(Error::new(ErrorKind::Unavailable, text).on(&self.replica))
            }
        }
    }

    fn is_under_way(&self, status: &Status) -> bool {
        let up = [Phase::Running, Phase::Paused, Phase::Stopping];
        status.generation == self.generation && up.contains(&status.phase)
    }

    async fn ask(&self, request: Request) -> Result<()> {
        let (run, replica) = (self.run.clone(), self.replica.to_string());
        let ask = move || Control::connect(&run, &replica)?.ask(&request).map(drop);
        let asked = tokio::task::spawn_blocking(ask).await;
        Ok(asked.map_err(|_| LocalError::Lost("asks a shim"))??)
    }

    fn closed(&self) -> Error {
        Error::new(ErrorKind::WrongPhase, "its standard input is closed").on(&self.replica)
    }
}

#[async_trait]
impl ExecSession for Attached {
    async fn next(&mut self) -> Result<Option<ExecOutput>> {
        while self.out.is_some() || self.err.is_some() {
            tokio::select! {
                bytes = read_stream(self.out.as_ref()) => match bytes {
                    Ok(bytes) if !bytes.is_empty() => return Ok(Some(ExecOutput::Stdout(bytes))),
                    _ => self.out = None,
                },
                bytes = read_stream(self.err.as_ref()) => match bytes {
                    Ok(bytes) if !bytes.is_empty() => return Ok(Some(ExecOutput::Stderr(bytes))),
                    _ => self.err = None,
                },
            }
        }
        if self.finished {
            return Ok(None);
        }
        let code = self.end().await?;
        self.finished = true;
        Ok(Some(ExecOutput::Exited(code)))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let out = self.out.as_ref().filter(|_| self.input);
        let out = out.ok_or_else(|| self.closed())?;
        let written = write_some(out, bytes).await;
        written.map_err(|error| self.closed().because(error))
    }

    async fn close_stdin(&mut self) -> Result<()> {
        if !self.input {
            return Ok(());
        }
        if self.terminal {
            self.write_all(&[END_OF_INPUT]).await?;
        } else {
            self.ask(Request::CloseStdin).await?;
        }
        self.input = false;
        Ok(())
    }

    async fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        let cols = columns;
        self.ask(Request::ResizeTty { rows, cols }).await
    }
}

struct Events {
    runtime: Runtime,
    selector: Selector,
    notices: Watcher,
    known: Vec<ObservedReplica>,
    queue: VecDeque<ReplicaEvent>,
}

/// Changes in the life of replicas: the kernel tells when a status or the record changes.
pub(super) async fn events(
    runtime: Runtime,
    selector: Selector,
) -> Result<Stream<ReplicaEvent>, LocalError> {
    let mut state = Events {
        runtime,
        selector,
        notices: Watcher::open()?,
        known: Vec::new(),
        queue: VecDeque::new(),
    };
    state.known = state.look().await?.unwrap_or_default();
    Ok(
        futures_util::stream::unfold(state, |mut events| async move {
            let event = events.next().await;
            Some((event.map_err(Into::into), events))
        })
        .boxed(),
    )
}

impl Events {
    async fn next(&mut self) -> Result<ReplicaEvent, LocalError> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            self.notices.changed().await?;
            let Some(now) = self.look().await? else {
                continue;
            };
            let time = std::time::SystemTime::now();
            self.queue.extend(changes(&self.known, &now, time));
            self.known = now;
        }
    }

    /// The selected replicas; nothing if one of them could not be read just now.
    async fn look(&mut self) -> Result<Option<Vec<ObservedReplica>>, LocalError> {
        let selector = self.selector.clone();
        let (runs, root) = {
            let layout = self.runtime.layout();
            (layout.runs(), layout.root().to_owned())
        };
        let found = self
            .runtime
            .block("finds what to watch", move |_| Ok(directories(&runs)))
            .await?;
        // The record changes last when a replica goes: its file lies in the root.
        for directory in found.iter().chain([&root]) {
            self.notices.add(directory)?;
        }
        let look = move |runtime: &Runtime| runtime.observe(&selector);
        let observed = self.runtime.block("observes", look).await?;
        let whole = !observed.partial;
        Ok(whole.then(|| observed.replicas().cloned().collect()))
    }
}
