//! The facets about the inside of replicas, and events.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use unmoor_core::Result;
use unmoor_core::backend::{
    Attach, ExecOutput, ExecSession, FileStat, Files, ObservedReplica, Ownership, ProcessEntry,
    Processes, Signals, Stats, Stream, Usage,
};
use unmoor_core::event::{ReplicaEvent, changes};
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;
use unmoor_core::signal::Signal;
use unmoor_core::{Error, ErrorKind};

use crate::bug::Bug;
use crate::fault::Call;
use crate::model::Model;
use crate::sim::Sim;
use crate::world::World;

#[async_trait]
impl Signals for Sim {
    async fn signal(&self, replica: &ReplicaId, signal: Signal) -> Result<()> {
        let hit = self.before(Call::Inside, "signal").await?;
        self.world.with(|model| {
            model.need_ours("signal", replica)?;
            model.signal_replica(replica, signal)
        })?;
        hit.after("signal").await
    }
}

#[async_trait]
impl Stats for Sim {
    async fn usage(&self, selector: &Selector) -> Result<Vec<Usage>> {
        let hit = self.before(Call::Inside, "read statistics").await?;
        hit.after("read statistics").await?;
        Ok(self.world.with(|model| model.usage_of_all(selector)))
    }
}

#[async_trait]
impl Processes for Sim {
    async fn processes(&self, replica: &ReplicaId) -> Result<Vec<ProcessEntry>> {
        let hit = self.before(Call::Inside, "list processes").await?;
        hit.after("list processes").await?;
        self.world.with(|model| {
            model.need_ours("list processes of", replica)?;
            model.list_processes(replica)
        })
    }
}

#[async_trait]
impl Files for Sim {
    async fn stat(&self, replica: &ReplicaId, path: &str) -> Result<FileStat> {
        let hit = self.before(Call::Inside, "read files").await?;
        hit.after("read files").await?;
        self.world.with(|model| {
            model.need_ours("read files of", replica)?;
            model.stat_file(replica, path)
        })
    }

    async fn read(&self, replica: &ReplicaId, path: &str) -> Result<Stream<Vec<u8>>> {
        let hit = self.before(Call::Inside, "read files").await?;
        let bytes = self.world.with(|model| {
            model.need_ours("read files of", replica)?;
            model.pack(replica, path)
        })?;
        hit.after("read files").await?;
        let sim = self.clone();
        let piece = async move {
            let hit = sim.before(Call::Piece, "piece of a file").await?;
            hit.after("piece of a file").await?;
            Ok(bytes)
        };
        Ok(futures_util::stream::once(piece).boxed())
    }

    async fn write(
        &self,
        replica: &ReplicaId,
        directory: &str,
        archive: Stream<Vec<u8>>,
        owner: Ownership,
    ) -> Result<()> {
        let bytes = archive.try_concat().await?;
        let hit = self.before(Call::Inside, "write files").await?;
        self.world.with(|model| {
            model.need_ours("write files of", replica)?;
            model.unpack(replica, directory, &bytes, owner)
        })?;
        hit.after("write files").await
    }
}

#[async_trait]
impl Attach for Sim {
    async fn attach(&self, replica: &ReplicaId) -> Result<Box<dyn ExecSession>> {
        let begun = |model: &mut Model| -> Result<_> {
            model.need_ours("attach to", replica)?;
            let found = model.alive("attach to", replica)?;
            let tty = found.service.spec.tty;
            Ok((found.run, found.logs.len(), found.main, tty))
        };
        let hit = self.before(Call::Inside, "attach").await?;
        let (run, line, main, tty) = self.world.with(begun)?;
        hit.after("attach").await?;
        Ok(Box::new(Attached {
            world: Arc::clone(&self.world),
            replica: replica.clone(),
            run,
            line,
            main,
            tty,
            ended: false,
        }))
    }
}

/// A session on the streams of a replica's own program.
#[derive(Debug)]
struct Attached {
    world: Arc<World>,
    replica: ReplicaId,
    /// The run of the program that was joined; a later one is another program.
    run: u64,
    line: usize,
    main: Option<u64>,
    tty: bool,
    ended: bool,
}

#[async_trait]
impl ExecSession for Attached {
    async fn next(&mut self) -> Result<Option<ExecOutput>> {
        if self.ended {
            return Ok(None);
        }
        let (replica, run, mut line) = (&self.replica, self.run, self.line);
        let look = |model: &mut Model| model.attached(replica, run, &mut line);
        let output = self.world.until(look).await;
        self.line = line;
        self.ended = matches!(output, ExecOutput::Exited(_));
        Ok(Some(output))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let feed = |model: &mut Model| {
            let lost = model.bugs.has(Bug::AttachLosesInput);
            lost || self.main.is_some_and(|pid| model.feed(pid, bytes))
        };
        if self.world.with(feed) {
            return Ok(bytes.len());
        }
        let text = "write to a program: its input is closed";
        Err(Error::new(ErrorKind::WrongPhase, text))
    }

    async fn close_stdin(&mut self) -> Result<()> {
        if let Some(pid) = self.main {
            self.world.with(|model| model.close_stdin(pid));
        }
        Ok(())
    }

    async fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        if self.tty && columns > 0 && rows > 0 {
            return Ok(());
        }
        let text = "resize a terminal: the program has none";
        Err(Error::new(ErrorKind::WrongPhase, text))
    }
}

struct Events {
    world: Arc<World>,
    selector: Selector,
    known: Vec<ObservedReplica>,
    queue: VecDeque<ReplicaEvent>,
}

fn seen(model: &Model, selector: &Selector) -> Vec<ObservedReplica> {
    model.observe(selector).replicas().cloned().collect()
}

/// Changes in the life of replicas, as they happen.
pub(crate) fn events(world: Arc<World>, selector: Selector) -> Stream<ReplicaEvent> {
    let known = world.with(|model| seen(model, &selector));
    let state = Events {
        world,
        selector,
        known,
        queue: VecDeque::new(),
    };
    futures_util::stream::unfold(state, |mut state| async move {
        loop {
            if let Some(event) = state.queue.pop_front() {
                return Some((Ok(event), state));
            }
            state.advance().await;
        }
    })
    .boxed()
}

impl Events {
    async fn advance(&mut self) {
        let Self {
            world,
            selector,
            known,
            ..
        } = &*self;
        let look = |model: &mut Model| {
            let now = seen(model, selector);
            let deaf = model.bugs.has(Bug::EventsForgetEnds);
            let mut events = changes(known, &now, model.wall());
            events.retain(|event| {
                !(deaf && matches!(event.change, unmoor_core::event::Change::Ended { .. }))
            });
            (*known != now).then_some((now, events))
        };
        let (now, events) = world.until(look).await;
        self.known = now;
        self.queue.extend(events);
    }
}
