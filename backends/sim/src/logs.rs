//! What replicas wrote, now and as they write it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use unmoor_core::backend::{LogLine, LogOptions, Logs, Stream};
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;
use unmoor_core::{Error, ErrorKind, Result};

use crate::bug::Bug;
use crate::fault::Call;
use crate::model::{Model, Replica};
use crate::sim::Sim;
use crate::world::World;

#[async_trait]
impl Logs for Sim {
    async fn logs(&self, selector: &Selector, options: &LogOptions) -> Result<Stream<LogLine>> {
        let clock = self.world.clock.as_ref();
        let hit = self
            .world
            .faults
            .before(clock, Call::Logs, "read logs")
            .await?;
        let first = self
            .world
            .with(|model| first_lines(model, selector, options));
        let (lines, seen) = first
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "read logs: no replica is selected"))?;
        hit.after("read logs").await?;
        let follow = options.follow && !self.world.with(|model| model.bugs.has(Bug::FollowEnds));
        let state = Follow {
            world: Arc::clone(&self.world),
            selector: selector.clone(),
            seen,
            queue: lines.into(),
            follow,
        };
        Ok(futures_util::stream::unfold(state, |mut state| async move {
            loop {
                if let Some(line) = state.queue.pop_front() {
                    let faults = state.world.faults.clone();
                    let clock = state.world.clock.as_ref();
                    let hit = faults.before(clock, Call::Piece, "log line").await;
                    return Some((hit.map(|_| line), state));
                }
                if !state.follow {
                    return None;
                }
                state.more().await;
            }
        })
        .boxed())
    }
}

struct Follow {
    world: Arc<World>,
    selector: Selector,
    /// How many lines of each replica were told already.
    seen: BTreeMap<ReplicaId, usize>,
    queue: VecDeque<LogLine>,
    follow: bool,
}

fn selected<'a>(model: &'a Model, selector: &'a Selector) -> impl Iterator<Item = &'a Replica> {
    let replicas = model
        .stacks
        .values()
        .flat_map(|holding| holding.replicas.values());
    replicas
        .filter(|replica| selector.matches(&replica.id, &replica.service.spec.labels))
        .filter(|replica| !model.is_foreign_replica(&replica.id))
}

type First = (Vec<LogLine>, BTreeMap<ReplicaId, usize>);

/// The lines that are there, by time; `None` if nothing is selected.
fn first_lines(model: &Model, selector: &Selector, options: &LogOptions) -> Option<First> {
    let mut lines = Vec::new();
    let mut seen = BTreeMap::new();
    for replica in selected(model, selector) {
        seen.insert(replica.id.clone(), replica.logs.len());
        let late = |line: &&LogLine| options.since.is_none_or(|since| line.time >= since);
        let mut own: Vec<LogLine> = replica.logs.iter().filter(late).cloned().collect();
        if let Some(tail) = options.tail {
            let tail = tail + usize::from(model.bugs.has(Bug::TailOffByOne));
            own = own.split_off(own.len().saturating_sub(tail));
        }
        if model.bugs.has(Bug::LogsReversed) {
            own.reverse();
        }
        lines.extend(own);
    }
    if !model.bugs.has(Bug::LogsReversed) {
        lines.sort_by_key(|line| line.time);
    }
    (!seen.is_empty()).then_some((lines, seen))
}

impl Follow {
    /// Waits for further lines, also of replicas that come later.
    async fn more(&mut self) {
        let Self {
            world,
            selector,
            seen,
            ..
        } = &*self;
        let news = world
            .until(|model| {
                let mut lines = Vec::new();
                for replica in selected(model, selector) {
                    let from = seen.get(&replica.id).copied().unwrap_or(0);
                    // A replica made anew in the same place begins its log anew.
                    let from = if from > replica.logs.len() { 0 } else { from };
                    lines.extend(replica.logs[from..].iter().cloned());
                }
                lines.sort_by_key(|line| line.time);
                (!lines.is_empty()).then_some(lines)
            })
            .await;
        for line in &news {
            *self.seen.entry(line.replica.clone()).or_insert(0) += 1;
        }
        self.queue.extend(news);
    }
}
