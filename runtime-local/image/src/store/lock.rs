//! Locks between processes; they end with their holder, however it ends.
//!
//! Order, to exclude deadlock: [`Hold`] first, then at most one blob, layer or name lock.
//! Lock files are removed only by whoever holds the whole store exclusively.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Store;
use crate::error::{ImageError, IoContext};

/// While this lives, nothing is removed from the store.
///
/// Take it before an image is looked up, and keep it until what uses the image is on record
/// where a prune will find it.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

/// The only user of a whole store.
#[derive(Debug)]
pub(super) struct Alone {
    _file: File,
}

/// The only user of one blob, layer or the names.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Store {
    /// Keeps everything in the store as long as the answer lives; waits while one prunes.
    pub fn hold(&self) -> Result<Hold, ImageError> {
        let file = self.lock_file("store")?;
        wait(&file, FlockOperation::LockShared).at("lock", self.path())?;
        Ok(Hold { _file: file })
    }

    /// The same without a wait: nothing while one prunes.
    pub fn try_hold(&self) -> Result<Option<Hold>, ImageError> {
        let file = self.lock_file("store")?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Some(Hold { _file: file })),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
            Err(error) => Err(error).at("lock", self.path()),
        }
    }

    pub(super) fn alone(&self, patience: Duration) -> Result<Alone, ImageError> {
        let file = self.lock_file("store")?;
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(2);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Alone { _file: file }),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {}
                Err(Errno::WOULDBLOCK) => {
                    let what = format!("image store {}", self.path().display());
                    return Err(ImageError::Busy { what });
                }
                Err(error) => return Err(error).at("lock", self.path()),
            }
            // flock has no time-out of its own; nothing else tells when a lock becomes free.
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    pub(super) fn lock(&self, name: &str) -> Result<Lock, ImageError> {
        let file = self.lock_file(name)?;
        wait(&file, FlockOperation::LockExclusive).at("lock", self.dir("locks").join(name))?;
        Ok(Lock { _file: file })
    }

    fn lock_file(&self, name: &str) -> Result<File, ImageError> {
        let path = self.dir("locks").join(name);
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        match opened {
            // Where nothing can be written one can still read, and keep others from pruning.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => File::open(&path),
            other => other,
        }
        .at("open", &path)
    }
}

fn wait(file: &File, operation: FlockOperation) -> Result<(), Errno> {
    loop {
        match flock(file, operation) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
