//! Locks between processes: `flock` on a file, which dies with its holder, and a bounded wait.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::process;
use crate::error::LocalError;

/// Pause between two tries; doubles up to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(50));

/// A held lock; released when dropped, and by the kernel when its holder dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, waiting for another holder for at most `patience`.
    ///
    /// # Errors
    /// `Busy` naming the holder.
    pub(crate) async fn take(
        path: PathBuf,
        what: &str,
        patience: Duration,
    ) -> Result<Self, LocalError> {
        let mut pause = PAUSE.0;
        let mut waited = Duration::ZERO;
        loop {
            if let Some(lock) = Self::attempt(&path)? {
                return Ok(lock);
            }
            if waited >= patience {
                return Err(LocalError::Busy {
                    what: what.to_owned(),
                    holder: holder(&path),
                    waited: patience.as_secs(),
                });
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Takes the lock if nobody holds it.
    pub(crate) fn attempt(path: &Path) -> Result<Option<Self>, LocalError> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|source| LocalError::io("open lock", path, source))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(source) => return Err(LocalError::io("lock", path, source)),
        }
        // The former holder removes the file before it lets go: what we hold may have no name
        // any more, and then somebody else may hold the new one.
        let ours = file
            .metadata()
            .map_err(|source| LocalError::io("look at", path, source))?;
        match std::fs::metadata(path) {
            Ok(named) if named.ino() == ours.ino() && named.dev() == ours.dev() => {}
            _ => return Ok(None),
        }
        // For the message of those who wait; a lock is no worse without it. Of one width, so that
        // the former holder's is overwritten: a file that was truncated is flushed to the disk
        // when it is closed (ext4), which takes longer than all the rest.
        let _ = file.write_all(format!("{:>10}", std::process::id()).as_bytes());
        Ok(Some(Self {
            file,
            path: path.to_owned(),
        }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file that stays is taken again like a new one.
        let _ = std::fs::remove_file(&self.path);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(16).read_to_string(&mut text));
    match read.ok().and_then(|_| text.trim().parse().ok()) {
        Some(pid) => process::describe(pid),
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_taker_waits_and_learns_who_holds_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lock");
        let held = Lock::take(path.clone(), "stack `s`", Duration::ZERO)
            .await
            .expect("free");
        let error = Lock::take(path.clone(), "stack `s`", Duration::from_millis(5))
            .await
            .expect_err("held");
        let pid = std::process::id().to_string();
        assert!(error.to_string().contains(&pid), "{error}");
        drop(held);
        assert!(!path.exists(), "a released lock leaves no file");
        Lock::take(path, "stack `s`", Duration::ZERO)
            .await
            .expect("free again");
    }

    #[test]
    fn only_one_of_many_holds_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lock");
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut taken = 0;
                    while taken < 200 {
                        let Some(lock) = Lock::attempt(&path).expect("no fault") else {
                            continue;
                        };
                        let others = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert_eq!(others, 0, "two holders");
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(lock);
                        taken += 1;
                    }
                });
            }
        });
    }
}
