//! Directories under watch: which paths have changed, told by the kernel.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use unmoor::{Error, ErrorKind};

use super::rules::Rule;
use crate::exit::Failure;
use crate::sys::watched;

/// A change is carried over once nothing has changed for so long: editors and checkouts write many
/// files at once.
const QUIET: Duration = Duration::from_millis(80);
/// Longest that changes wait while others go on.
const LONGEST: Duration = Duration::from_secs(1);
/// Bytes of events that are read at a time.
const ROOM: usize = 16 << 10;

/// Directories under watch.
#[derive(Debug)]
pub(super) struct Tree {
    source: AsyncFd<OwnedFd>,
    folders: HashMap<i32, PathBuf>,
}

impl Tree {
    /// Watches everything that the rules are about.
    pub(super) fn open(rules: &[Rule]) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::System("watch files", error);
        let source = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let source = source.map_err(|error| failed(error.into()))?;
        let mut tree = Self {
            source: watched(source).map_err(failed)?,
            folders: HashMap::new(),
        };
        for rule in rules {
            let kind = fs::metadata(&rule.path).map_err(|error| {
                let text = format!("watch {} for `{}`", rule.path.display(), rule.service);
                Error::new(ErrorKind::NotFound, text).because(error)
            })?;
            match (kind.is_dir(), rule.path.parent()) {
                (false, Some(parent)) => tree.add(parent)?,
                _ => tree.enter(&rule.path, rules, &mut BTreeSet::new())?,
            }
        }
        Ok(tree)
    }

    fn add(&mut self, folder: &Path) -> Result<(), Failure> {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(self.source.get_ref(), folder, flags) {
            Ok(number) => {
                self.folders.insert(number, folder.to_owned());
                Ok(())
            }
            // It has gone meanwhile, which is told by its parent.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(Errno::NOSPC) => {
                let text = "watch files: the system watches no further directory for this user";
                let hint = "raise `fs.inotify.max_user_watches`, or name what can be ignored";
                Err(Error::new(ErrorKind::Quota, text).hint(hint).into())
            }
            Err(error) => Err(Failure::System("watch a directory", error.into())),
        }
    }

    /// Watches a directory and those in it, and notes everything that lies there.
    fn enter(
        &mut self,
        folder: &Path,
        rules: &[Rule],
        found: &mut BTreeSet<PathBuf>,
    ) -> Result<(), Failure> {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            if !rules.iter().any(|rule| rule.enters(&folder)) {
                continue;
            }
            self.add(&folder)?;
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                // Links are carried over as links: what they lead to is not watched.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                }
                found.insert(entry.path());
            }
        }
        Ok(())
    }

    /// Waits until something has changed that a rule is about, and gives all that has.
    pub(super) async fn changed(&mut self, rules: &[Rule]) -> Result<BTreeSet<PathBuf>, Failure> {
        loop {
            let mut changed = BTreeSet::new();
            self.wait(rules, &mut changed).await?;
            let longest = tokio::time::sleep(LONGEST);
            let mut longest = std::pin::pin!(longest);
            loop {
                tokio::select! {
                    more = self.wait(rules, &mut changed) => more?,
                    () = tokio::time::sleep(QUIET) => break,
                    () = &mut longest => break,
                }
            }
            changed.retain(|path| rules.iter().any(|rule| rule.wants(path)));
            if !changed.is_empty() {
                return Ok(changed);
            }
        }
    }

    /// Waits for events and takes them.
    async fn wait(
        &mut self,
        rules: &[Rule],
        changed: &mut BTreeSet<PathBuf>,
    ) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::System("watch files", error);
        let told = {
            let mut ready = self.source.readable().await.map_err(failed)?;
            let told = read(self.source.get_ref()).map_err(failed)?;
            ready.clear_ready();
            told
        };
        for event in told {
            self.take(event, rules, changed)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        event: Told,
        rules: &[Rule],
        changed: &mut BTreeSet<PathBuf>,
    ) -> Result<(), Failure> {
        if event.what.contains(ReadFlags::QUEUE_OVERFLOW) {
            // Something was not told: everything may have changed.
            for rule in rules {
                changed.insert(rule.path.clone());
                self.enter(&rule.path, rules, changed)?;
            }
            return Ok(());
        }
        if event.what.contains(ReadFlags::IGNORED) {
            self.folders.remove(&event.folder);
            return Ok(());
        }
        let Some((folder, name)) = self.folders.get(&event.folder).zip(event.name) else {
            return Ok(());
        };
        let path = folder.join(OsStr::from_bytes(&name));
        if event.what.contains(ReadFlags::ISDIR) {
            if event.what.contains(ReadFlags::MOVED_FROM) {
                self.leave(&path);
            } else if event
                .what
                .intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO)
            {
                self.enter(&path, rules, changed)?;
            }
        }
        changed.insert(path);
        Ok(())
    }

    /// Forgets a directory that was moved away: what happens in it is no change here.
    fn leave(&mut self, gone: &Path) {
        let source = self.source.get_ref();
        self.folders.retain(|number, folder| {
            let stays = !folder.starts_with(gone);
            if !stays {
                // One that is forgotten already needs no forgetting.
                let _ = inotify::remove_watch(source, *number);
            }
            stays
        });
    }
}

/// What the kernel has told.
struct Told {
    folder: i32,
    what: ReadFlags,
    name: Option<Vec<u8>>,
}

/// Takes all events that are there.
fn read(source: &OwnedFd) -> io::Result<Vec<Told>> {
    let mut room = [MaybeUninit::uninit(); ROOM];
    let mut events = Reader::new(source, &mut room);
    let mut told = Vec::new();
    loop {
        match events.next() {
            Ok(event) => told.push(Told {
                folder: event.wd(),
                what: event.events(),
                name: event.file_name().map(|name| name.to_bytes().to_vec()),
            }),
            Err(Errno::AGAIN) => return Ok(told),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
