//! Endpoint changes as they happen: the kernel tells when a status or an endpoint file changes.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use unmoor_core::backend::Stream;
use unmoor_core::clock::Clock;
use unmoor_core::discover::{Cursor, EndpointEvent, Follower};
use unmoor_core::label::Selector;

use crate::engine::Runtime;
use crate::error::LocalError;
use crate::sys::{give_away, watched};

/// Tells that something beneath some directories has changed.
#[derive(Debug)]
pub(super) struct Watcher {
    /// There until it is dropped.
    fd: Option<AsyncFd<OwnedFd>>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            give_away(fd.into_inner());
        }
    }
}

impl Watcher {
    /// Starts without a directory.
    pub(super) fn open() -> Result<Self, LocalError> {
        let failed = |source: std::io::Error| {
            LocalError::io(
                "open a watch (fs.inotify.max_user_instances) on",
                Path::new("/"),
                source,
            )
        };
        let fd =
            init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|e| failed(e.into()))?;
        Ok(Self {
            fd: Some(watched(fd).map_err(failed)?),
        })
    }

    fn fd(&self) -> &AsyncFd<OwnedFd> {
        self.fd.as_ref().expect("it is there until the drop")
    }

    /// Watches a directory; one that is watched already, or gone, is fine.
    pub(super) fn add(&self, path: &Path) -> Result<(), LocalError> {
        let what = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_TO
            | WatchFlags::MODIFY
            | WatchFlags::ONLYDIR;
        match add_watch(self.fd(), path, what) {
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(LocalError::io("watch", path, source)),
        }
    }

    /// Returns when something has changed since the last call: true if there is a new directory.
    pub(super) async fn changed(&self) -> Result<bool, LocalError> {
        let failed = |source: std::io::Error| {
            LocalError::io("wait for changes of", Path::new("the endpoints"), source)
        };
        loop {
            let mut ready = self.fd().readable().await.map_err(failed)?;
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(self.fd().get_ref(), &mut buffer);
            let (mut any, mut new) = (false, false);
            loop {
                match reader.next() {
                    Ok(event) => {
                        any = true;
                        // What was lost of a full queue may have been one too.
                        new |= event
                            .events()
                            .contains(ReadFlags::CREATE | ReadFlags::ISDIR)
                            || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(failed(error.into())),
                }
            }
            ready.clear_ready();
            if any {
                return Ok(new);
            }
        }
    }
}

/// Time before what could not be looked at is looked at again.
const PAUSE: Duration = Duration::from_secs(1);

/// When to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    AtOnce,
    WhenTold,
    AfterPause,
}

struct Watch {
    runtime: Runtime,
    selector: Selector,
    notices: Watcher,
    clock: Arc<dyn Clock>,
    follower: Follower,
    next: Next,
    queue: VecDeque<unmoor_core::Result<EndpointEvent>>,
}

/// A watch over the selected endpoints, after a place in a former one if there is one.
///
/// What changes after this has returned is told as a change.
pub(super) async fn watch(
    runtime: Runtime,
    selector: Selector,
    cursor: Option<Cursor>,
    clock: Arc<dyn Clock>,
) -> Result<Stream<EndpointEvent>, LocalError> {
    let notices = Watcher::open()?;
    let mut state = Watch {
        runtime,
        selector,
        notices,
        clock,
        follower: Follower::new(cursor),
        next: Next::AtOnce,
        queue: VecDeque::new(),
    };
    state.advance().await?;
    Ok(futures_util::stream::unfold(state, |mut watch| async move {
        let event = watch.next().await;
        Some((event, watch))
    })
    .boxed())
}

impl Watch {
    async fn next(&mut self) -> unmoor_core::Result<EndpointEvent> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return event;
            }
            if let Err(error) = self.advance().await {
                return Err(self.follower.lost(error.into()));
            }
        }
    }

    /// Waits until there may be something to tell, and queues what there is.
    async fn advance(&mut self) -> Result<(), LocalError> {
        match std::mem::replace(&mut self.next, Next::AfterPause) {
            Next::AtOnce => {}
            Next::WhenTold => drop(self.notices.changed().await?),
            // What could not be looked at is not waited for.
            Next::AfterPause => self.clock.sleep(PAUSE).await,
        }
        self.look().await?;
        self.next = Next::WhenTold;
        Ok(())
    }

    /// Lists the endpoints and notes what differs from last time.
    async fn look(&mut self) -> Result<(), LocalError> {
        // Watched before they are read: a change in between is told, not lost.
        let runs = self.runtime.layout().runs();
        let directories = self
            .runtime
            .block("finds what to watch", move |_| Ok(directories(&runs)))
            .await?;
        for directory in &directories {
            self.notices.add(directory)?;
        }
        let selector = self.selector.clone();
        let now = self
            .runtime
            .block("lists endpoints", move |runtime| {
                runtime.endpoints(&selector)
            })
            .await?;
        self.queue.extend(self.follower.turn(now));
        Ok(())
    }
}

/// Where anything about endpoints changes: each replica's files of this boot, and each zone.
pub(super) fn directories(runs: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    };
    let mut found = vec![runs.to_owned()];
    found.extend(list(runs));
    for zone in list(&runs.join("net")) {
        found.push(zone.join("ep"));
        found.push(zone.join("svc"));
    }
    found
}
