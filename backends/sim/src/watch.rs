//! Endpoint changes, told as they happen.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use unmoor_core::backend::Stream;
use unmoor_core::discover::{Cursor, Endpoint, EndpointEvent, diff};
use unmoor_core::label::Selector;

use crate::bug::Bug;
use crate::world::World;

struct Watch {
    world: Arc<World>,
    selector: Selector,
    known: Option<Vec<Endpoint>>,
    queue: VecDeque<EndpointEvent>,
}

pub(crate) fn watch(world: Arc<World>, selector: Selector) -> Stream<EndpointEvent> {
    let state = Watch {
        world,
        selector,
        known: None,
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

impl Watch {
    /// Waits for the next difference and queues its events.
    async fn advance(&mut self) {
        let Self {
            world,
            selector,
            known,
            ..
        } = &*self;
        let (now, version, bugs) = world
            .until(|model| {
                let now = model.endpoints(selector);
                let news = known.as_ref() != Some(&now);
                news.then(|| (now, model.version(), model.bugs.clone()))
            })
            .await;
        let cursor = Cursor(version);
        let mut events = match self.known.replace(now.clone()) {
            None if !bugs.has(Bug::WatchWithoutResync) => {
                vec![EndpointEvent::Resync {
                    endpoints: now,
                    cursor,
                }]
            }
            None => diff(&[], &now, cursor),
            Some(before) => diff(&before, &now, cursor),
        };
        if bugs.has(Bug::WatchForgetsRemovals) {
            events.retain(|event| !matches!(event, EndpointEvent::Removed { .. }));
        }
        self.queue.extend(events);
    }
}
