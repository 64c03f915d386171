//! The one owner of the model: locks it, lets its time catch up, and tells waiters of changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use unmoor_core::backend::Observed;
use unmoor_core::clock::Clock;

use crate::doors::Doors;
use crate::fault::Faults;
use crate::model::Model;

/// A world: everything that connections with the same name share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: Faults,
    /// What was there before the last change, kept while a fault may ask for it.
    pub(crate) former: Mutex<Option<Observed>>,
    model: Mutex<Model>,
    /// Version of the model; sent after every change, read by everybody who waits.
    changed: watch::Sender<u64>,
    doors: Arc<Doors>,
}

impl World {
    pub(crate) fn new(
        name: String,
        clock: Arc<dyn Clock>,
        model: Model,
        doors: Arc<Doors>,
    ) -> Arc<Self> {
        let world = Arc::new(Self {
            name,
            clock,
            faults: Faults::default(),
            former: Mutex::new(None),
            model: Mutex::new(model),
            changed: watch::Sender::new(0),
            doors,
        });
        world.doors.belong_to(Arc::downgrade(&world));
        world
    }

    /// Returns once every port that was given up is free for others.
    pub(crate) async fn settle(&self) {
        self.doors.settle().await;
    }

    /// Looks at or changes the model as it is now.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        let now = self.clock.monotonic();
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.catch_up(now);
        let answer = look(&mut model);
        let version = model.version();
        self.doors.keep(&model.published);
        drop(model);
        self.changed.send_if_modified(|known| {
            let news = *known != version;
            *known = version;
            news
        });
        answer
    }

    /// Waits until `look` finds something; it is asked after every change and every event.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut(&mut Model) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let (found, next) = self.with(|model| (look(model), model.next_event()));
            if let Some(found) = found {
                return found;
            }
            match next {
                None => drop(changed.changed().await),
                Some(at) => {
                    let pause = at.saturating_sub(self.clock.monotonic());
                    tokio::select! {
                        biased;
                        _ = changed.changed() => {}
                        () = self.clock.sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// As [`until`](Self::until), but gives up after `limit`.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        look: impl FnMut(&mut Model) -> Option<T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            found = self.until(look) => Some(found),
            () = self.clock.sleep(limit) => None,
        }
    }
}
