//! Watching a backend that can only be asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use crate::backend::{Backend, Stream};
use crate::clock::Clock;
use crate::discover::{Cursor, Endpoint, EndpointEvent};
use crate::label::Selector;

/// Time between two questions while something changed lately, and while nothing did.
const PACE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The events that turn `before` into `after`; removals first, so that an address that moved
/// between replicas is never announced twice at once.
#[must_use]
pub fn diff(before: &[Endpoint], after: &[Endpoint], cursor: Cursor) -> Vec<EndpointEvent> {
    let old: BTreeMap<_, _> = before.iter().map(|e| (e.key(), e)).collect();
    let new: BTreeMap<_, _> = after.iter().map(|e| (e.key(), e)).collect();
    let mut events = Vec::new();
    for (key, endpoint) in &old {
        if !new.contains_key(key) {
            events.push(EndpointEvent::Removed {
                endpoint: (*endpoint).clone(),
                cursor,
            });
        }
    }
    for (key, endpoint) in &new {
        match old.get(key) {
            None => events.push(EndpointEvent::Added {
                endpoint: (*endpoint).clone(),
                cursor,
            }),
            Some(former) if former != endpoint => {
                events.push(EndpointEvent::Changed {
                    endpoint: (*endpoint).clone(),
                    cursor,
                });
            }
            Some(_) => {}
        }
    }
    events
}

struct Poll<B: ?Sized> {
    backend: Arc<B>,
    selector: Selector,
    clock: Arc<dyn Clock>,
    known: Option<Vec<Endpoint>>,
    cursor: u64,
    pace: Duration,
    queue: std::collections::VecDeque<EndpointEvent>,
}

/// A watch that asks again and again: often while things change, seldom while they do not.
pub fn poll_endpoints<B: Backend + ?Sized + 'static>(
    backend: Arc<B>,
    selector: Selector,
    clock: Arc<dyn Clock>,
) -> Stream<EndpointEvent> {
    let state = Poll {
        backend,
        selector,
        clock,
        known: None,
        cursor: 0,
        pace: PACE.0,
        queue: std::collections::VecDeque::new(),
    };
    futures_util::stream::unfold(state, |mut poll| async move {
        loop {
            if let Some(event) = poll.queue.pop_front() {
                return Some((Ok(event), poll));
            }
            if poll.known.is_some() {
                poll.clock.sleep(poll.pace).await;
            }
            let now = match poll.backend.endpoints(&poll.selector).await {
                Ok(list) => list,
                Err(error) => {
                    // The list may be stale when the platform answers again: start over then.
                    poll.known = Some(poll.known.take().unwrap_or_default());
                    poll.pace = PACE.1;
                    return Some((Err(error), poll));
                }
            };
            poll.cursor += 1;
            let cursor = Cursor(poll.cursor);
            match poll.known.replace(now.clone()) {
                None => poll.queue.push_back(EndpointEvent::Resync {
                    endpoints: now,
                    cursor,
                }),
                Some(before) => {
                    let events = diff(&before, &now, cursor);
                    poll.pace = if events.is_empty() {
                        (poll.pace * 2).min(PACE.1)
                    } else {
                        PACE.0
                    };
                    poll.queue.extend(events);
                }
            }
        }
    })
    .boxed()
}
