//! Endpoint changes, told as they happen.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use unmoor_core::Result;
use unmoor_core::backend::Stream;
use unmoor_core::discover::{Cursor, Endpoint, EndpointEvent, Follower, diff};
use unmoor_core::label::Selector;

use crate::bug::Bug;
use crate::world::World;

struct Watch {
    world: Arc<World>,
    selector: Selector,
    /// The list that was looked at last.
    seen: Option<Vec<Endpoint>>,
    follower: Follower,
    resumes: bool,
    queue: VecDeque<Result<EndpointEvent>>,
}

/// Begins a watch: what changes after this has returned is told as a change.
pub(crate) async fn watch(
    world: Arc<World>,
    selector: Selector,
    cursor: Option<Cursor>,
) -> Stream<EndpointEvent> {
    let mut state = Watch {
        world,
        selector,
        seen: None,
        follower: Follower::new(cursor),
        resumes: cursor.is_some(),
        queue: VecDeque::new(),
    };
    state.advance().await;
    futures_util::stream::unfold(state, |mut state| async move {
        loop {
            if let Some(event) = state.queue.pop_front() {
                return Some((event, state));
            }
            state.advance().await;
        }
    })
    .boxed()
}

impl Watch {
    /// Waits for the next difference and queues its events.
    async fn advance(&mut self) {
        let (selector, seen) = (&self.selector, &self.seen);
        let (now, bugs) = self
            .world
            .until(|model| {
                let now = model.endpoints(selector);
                let news = seen.as_ref() != Some(&now);
                news.then(|| (now, model.bugs.clone()))
            })
            .await;
        let first = self.seen.replace(now.clone()).is_none();
        let mut events = self.follower.turn(now.clone().into());
        if first && bugs.has(Bug::WatchWithoutResync) {
            events = diff(&[], &now).into_iter().map(Ok).collect();
        }
        if first && self.resumes && bugs.has(Bug::WatchResumesBlindly) {
            events.clear();
        }
        if bugs.has(Bug::WatchForgetsRemovals) {
            events.retain(|event| !matches!(event, Ok(EndpointEvent::Removed { .. })));
        }
        self.queue.extend(events);
    }
}
