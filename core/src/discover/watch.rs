//! Watching a backend that can only be asked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use crate::backend::{Backend, Stream};
use crate::clock::Clock;
use crate::discover::{Cursor, EndpointEvent, Follower};
use crate::error::Result;
use crate::label::Selector;

/// Time between two questions while something changed lately, and while nothing did.
const PACE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

struct Poll<B: ?Sized> {
    backend: Arc<B>,
    selector: Selector,
    clock: Arc<dyn Clock>,
    follower: Follower,
    /// Nothing was asked yet.
    fresh: bool,
    pace: Duration,
    queue: VecDeque<Result<EndpointEvent>>,
}

/// A watch that asks again and again: often while things change, seldom while they do not.
///
/// It resumes after `cursor`, or starts with the whole list.
pub fn poll_endpoints<B: Backend + ?Sized + 'static>(
    backend: Arc<B>,
    selector: Selector,
    cursor: Option<Cursor>,
    clock: Arc<dyn Clock>,
) -> Stream<EndpointEvent> {
    let state = Poll {
        backend,
        selector,
        clock,
        follower: Follower::new(cursor),
        fresh: true,
        pace: PACE.0,
        queue: VecDeque::new(),
    };
    futures_util::stream::unfold(state, |mut poll| async move {
        loop {
            if let Some(event) = poll.queue.pop_front() {
                return Some((event, poll));
            }
            poll.ask().await;
        }
    })
    .boxed()
}

impl<B: Backend + ?Sized> Poll<B> {
    async fn ask(&mut self) {
        if !std::mem::take(&mut self.fresh) {
            self.clock.sleep(self.pace).await;
        }
        match self.backend.endpoints(&self.selector).await {
            Ok(list) => {
                let events = self.follower.turn(list);
                self.pace = if events.is_empty() {
                    (self.pace * 2).min(PACE.1)
                } else {
                    PACE.0
                };
                self.queue.extend(events);
            }
            Err(error) => {
                self.pace = PACE.1;
                self.queue.push_back(Err(self.follower.lost(error)));
            }
        }
    }
}
