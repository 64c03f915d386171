//! Endpoints kept in memory by a watch, for those who look them up often.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::backend::{Backend, Stream};
use crate::clock::Clock;
use crate::discover::{Cursor, Endpoint, EndpointEvent};
use crate::error::{Error, ErrorKind, Result};
use crate::label::Selector;
use crate::name::{ServiceName, StackName};

/// Pauses before a lost watch is begun again: the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How old what a directory says may be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// The watch goes on: what it has told is in here.
    Live,
    /// The watch is lost, or a part could not be read: changes since then are not in here.
    Stale {
        /// For how long.
        since: Duration,
        /// Why.
        why: Arc<str>,
    },
}

/// Every endpoint at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    services: HashMap<StackName, HashMap<ServiceName, Arc<[Endpoint]>>>,
    cursor: Cursor,
}

impl View {
    /// The endpoints of a service; none if there is no such service.
    #[must_use]
    pub fn lookup(&self, stack: &StackName, service: &ServiceName) -> Arc<[Endpoint]> {
        let found = self.services.get(stack).and_then(|all| all.get(service));
        found.map(Arc::clone).unwrap_or_default()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        let services = self.services.values().flat_map(HashMap::values);
        services.flat_map(|list| list.iter())
    }

    /// What tells this view from others: a watch goes on from it.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    fn take(&mut self, event: EndpointEvent) {
        self.cursor = event.cursor();
        match event {
            EndpointEvent::Resync { endpoints, .. } => self.replace(endpoints),
            EndpointEvent::Added { ref endpoint, .. }
            | EndpointEvent::Changed { ref endpoint, .. }
            | EndpointEvent::Removed { ref endpoint, .. } => {
                let (stack, service) = (endpoint.stack.clone(), endpoint.service.clone());
                let mut list = self.lookup(&stack, &service).to_vec();
                event.apply_to(&mut list);
                self.put(stack, service, list);
            }
        }
    }

    fn replace(&mut self, endpoints: Vec<Endpoint>) {
        let mut found: HashMap<_, Vec<Endpoint>> = HashMap::new();
        for endpoint in endpoints {
            let key = (endpoint.stack.clone(), endpoint.service.clone());
            found.entry(key).or_default().push(endpoint);
        }
        self.services.clear();
        for ((stack, service), list) in found {
            self.put(stack, service, list);
        }
    }

    fn put(&mut self, stack: StackName, service: ServiceName, mut list: Vec<Endpoint>) {
        list.sort();
        if !list.is_empty() {
            let services = self.services.entry(stack).or_default();
            services.insert(service, list.into());
        } else if let Some(services) = self.services.get_mut(&stack) {
            services.remove(&service);
            if services.is_empty() {
                self.services.remove(&stack);
            }
        }
    }
}

/// Since when nothing reliable is heard, and why.
type Lost = Option<(Duration, Arc<str>)>;

#[derive(Debug)]
struct Shared {
    /// Written by the task alone, a whole look at a time; read by everybody.
    view: RwLock<(Arc<View>, Lost)>,
    /// Sent by the task after each write; wakes who waits for a change.
    changed: watch::Sender<()>,
    clock: Arc<dyn Clock>,
}

/// The endpoints of what is selected, always at hand: a lookup asks nobody.
///
/// Made by [`Client::directory`](crate::Client::directory); a clone is another reference. Reads see
/// the list as the backend had it at one moment, never half of a change. If the watch behind it is
/// lost, what was known stays, [`freshness`](Self::freshness) says since when, and a new watch
/// starts with the whole list.
#[derive(Debug, Clone)]
pub struct Directory {
    shared: Arc<Shared>,
    _task: Arc<Task>,
}

/// The task that follows; it ends with the last directory.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Directory {
    pub(crate) async fn open(
        backend: Arc<dyn Backend>,
        selector: Selector,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let begin = Arc::clone(&backend).watch(&selector, None, Arc::clone(&clock));
        let mut stream = begin.await?;
        let first = stream.next().await.unwrap_or_else(|| Err(ended()))?;
        let mut view = View::default();
        view.take(first);
        let shared = Arc::new(Shared {
            view: RwLock::new((Arc::new(view), None)),
            changed: watch::Sender::new(()),
            clock,
        });
        let writer = Arc::clone(&shared);
        let task = tokio::spawn(async move { writer.follow(backend, selector, stream).await });
        Ok(Self {
            shared,
            _task: Arc::new(Task(task)),
        })
    }

    /// The endpoints of a service now; none if there is no such service.
    #[must_use]
    pub fn lookup(&self, stack: &StackName, service: &ServiceName) -> Arc<[Endpoint]> {
        self.shared.read(|(view, _)| view.lookup(stack, service))
    }

    /// Everything as it is at one moment, for several lookups that must agree.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.shared.read(|(view, _)| Arc::clone(view))
    }

    /// How old its answers may be.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        let now = self.shared.clock.monotonic();
        self.shared.read(|(_, lost)| match lost {
            None => Freshness::Live,
            Some((at, why)) => Freshness::Stale {
                since: now.saturating_sub(*at),
                why: Arc::clone(why),
            },
        })
    }

    /// Returns the view once it is another one than that of `after`.
    pub async fn changed(&self, after: Cursor) -> Arc<View> {
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let view = self.view();
            if view.cursor != after {
                return view;
            }
            // The sender lives in `self`, so waiting cannot fail.
            let _ = changed.changed().await;
        }
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "the watch has ended")
}

impl Shared {
    fn read<T>(&self, look: impl FnOnce(&(Arc<View>, Lost)) -> T) -> T {
        look(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut (Arc<View>, Lost))) {
        change(&mut self.view.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
    }

    async fn follow(
        &self,
        backend: Arc<dyn Backend>,
        selector: Selector,
        mut stream: Stream<EndpointEvent>,
    ) {
        let mut pause = PAUSE.0;
        loop {
            while let Some(event) = stream.next().await {
                pause = PAUSE.0;
                // What a look has found is there at once: readers get all of it or nothing.
                let mut events = vec![event];
                while let Some(Some(event)) = stream.next().now_or_never() {
                    events.push(event);
                }
                self.take(events);
            }
            self.lose(&ended());
            stream = loop {
                self.clock.sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
                let begin = Arc::clone(&backend).watch(&selector, None, Arc::clone(&self.clock));
                match begin.await {
                    Ok(stream) => break stream,
                    Err(error) => self.lose(&error),
                }
            };
        }
    }

    fn take(&self, events: Vec<Result<EndpointEvent>>) {
        let now = self.clock.monotonic();
        let is_whole = |event: &_| matches!(event, Ok(EndpointEvent::Resync { .. }));
        if !events.iter().any(is_whole) {
            return self.write(|(view, lost)| take(Arc::make_mut(view), lost, now, events));
        }
        // A whole list takes its time: readers do not wait for it.
        let (view, mut lost) = self.read(Clone::clone);
        let mut view = View::clone(&view);
        take(&mut view, &mut lost, now, events);
        self.write(|held| *held = (Arc::new(view), lost));
    }

    fn lose(&self, error: &Error) {
        let now = self.clock.monotonic();
        self.write(|(_, lost)| note(lost, now, error));
    }
}

fn take(view: &mut View, lost: &mut Lost, now: Duration, events: Vec<Result<EndpointEvent>>) {
    for event in events {
        match event {
            Ok(event) => {
                if matches!(event, EndpointEvent::Resync { .. }) {
                    *lost = None;
                }
                view.take(event);
            }
            Err(error) => note(lost, now, &error),
        }
    }
}

/// Notes why; the time is that of the first loss.
fn note(lost: &mut Lost, now: Duration, error: &Error) {
    let since = lost.take().map_or(now, |(since, _)| since);
    *lost = Some((since, error.chain().into()));
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
