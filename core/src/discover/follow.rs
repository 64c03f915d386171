//! From one list after the other to the events of a watch: pure, and the same for every backend.

use std::collections::BTreeMap;

use crate::discover::{Cursor, Endpoint, EndpointEvent, Endpoints};
use crate::error::{Error, Result};
use crate::label::Selector;

/// The events that turn `before` into `after`; removals first, so that an address that moved
/// between replicas is never announced twice at once.
///
/// Each event has the cursor of the list as it is after that event.
#[must_use]
pub fn diff(before: &[Endpoint], after: &[Endpoint]) -> Vec<EndpointEvent> {
    let old: BTreeMap<_, _> = before.iter().map(|e| (e.key(), e)).collect();
    let new: BTreeMap<_, _> = after.iter().map(|e| (e.key(), e)).collect();
    let mut cursor = Cursor::of(before);
    let mut events = Vec::new();
    for (_, endpoint) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
        cursor = cursor.without(endpoint);
        let endpoint = (*endpoint).clone();
        events.push(EndpointEvent::Removed { endpoint, cursor });
    }
    for (key, now) in &new {
        let former = old.get(key);
        if former == Some(now) {
            continue;
        }
        let endpoint = (*now).clone();
        cursor = former.map_or(cursor, |former| cursor.without(former));
        cursor = cursor.with(now);
        events.push(match former {
            None => EndpointEvent::Added { endpoint, cursor },
            Some(_) => EndpointEvent::Changed { endpoint, cursor },
        });
    }
    events
}

/// What a watcher has been told, and what it has to be told next.
#[derive(Debug, Default)]
pub struct Follower {
    /// The list that the watcher has.
    known: Option<Vec<Endpoint>>,
    /// The watcher says that it has the list with this cursor.
    resume: Option<Cursor>,
    /// What the watcher was told to be unreadable.
    unread: Vec<Selector>,
    /// A look has failed since the last list.
    failed: bool,
}

impl Follower {
    /// Follows for a watcher that has nothing, or the list with this cursor.
    #[must_use]
    pub fn new(resume: Option<Cursor>) -> Self {
        Self {
            resume,
            ..Self::default()
        }
    }

    /// True once a list was looked at.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.known.is_some()
    }

    /// The list as it was told last.
    #[must_use]
    pub fn known(&self) -> &[Endpoint] {
        self.known.as_deref().unwrap_or_default()
    }

    /// What a failed look is told as; the next list is told whole.
    pub fn lost(&mut self, error: Error) -> Error {
        self.failed = true;
        error
    }

    /// What to tell after another look.
    pub fn turn(&mut self, now: Endpoints) -> Vec<Result<EndpointEvent>> {
        let Endpoints {
            mut list,
            unreadable,
        } = now;
        // What cannot be read now is as it was.
        let kept = self.known().iter().filter(|former| {
            let unread = unreadable.iter().any(|item| item.covers(former));
            unread && !list.iter().any(|e| e.key() == former.key())
        });
        let kept: Vec<Endpoint> = kept.cloned().collect();
        list.extend(kept);
        list.sort();
        let read_again = !self.unread.is_empty() && unreadable.is_empty();
        let cursor = Cursor::of(&list);
        let resumed = self.resume.take() == Some(cursor) && unreadable.is_empty();
        let whole = self.known.is_none() || self.failed || read_again;
        let mut events: Vec<Result<EndpointEvent>> = if self.known.is_none() && resumed {
            Vec::new()
        } else if whole {
            let endpoints = list.clone();
            vec![Ok(EndpointEvent::Resync { endpoints, cursor })]
        } else {
            diff(self.known(), &list).into_iter().map(Ok).collect()
        };
        self.failed = false;
        self.known = Some(list);
        let before = std::mem::take(&mut self.unread);
        for item in unreadable {
            if !before.contains(&item.what) {
                events.push(Err(item.error));
            }
            self.unread.push(item.what);
        }
        events
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
