//! Tells when endpoints of networks change, for callers that wait for it.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::NetError;

/// Waits for changes of the endpoints on some networks.
#[derive(Debug)]
pub(crate) struct Watch {
    fd: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Starts watching; whatever changes from now on is told by [`Self::changed`].
    ///
    /// # Errors
    /// The kernel gives each user only so many watches (`fs.inotify.max_user_instances`).
    pub(crate) fn open(zones: &[&Path]) -> Result<Self, NetError> {
        let opened = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let fd =
            opened.map_err(|error| NetError::kernel("open an inotify descriptor")(error.into()))?;
        for zone in zones {
            let folder = zone.join("ep");
            fs::create_dir_all(&folder).map_err(NetError::file("make", &folder))?;
            let flags = WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
            add_watch(&fd, &folder, flags)
                .map_err(|error| NetError::file("watch", &folder)(error.into()))?;
        }
        let fd = AsyncFd::with_interest(fd, Interest::READABLE);
        let fd = fd.map_err(NetError::kernel("wait for an inotify descriptor"))?;
        Ok(Self { fd })
    }

    /// Returns when something has changed since the last call, or since the opening.
    ///
    /// Several changes are told once; the zones hold what is true. Dropping the future loses
    /// nothing.
    pub(crate) async fn changed(&mut self) -> Result<(), NetError> {
        loop {
            let ready = self.fd.readable_mut().await;
            let mut ready = ready.map_err(NetError::kernel("wait for changes of a network"))?;
            let drained = ready.try_io(|fd| drain(fd.get_ref()));
            if let Ok(result) = drained {
                return result.map_err(NetError::kernel("read changes of a network"));
            }
        }
    }
}

/// Reads every event that is there; `WouldBlock` when there is none.
fn drain(fd: &OwnedFd) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(fd, &mut buffer);
    let mut any = false;
    loop {
        match reader.next() {
            Ok(_) => any = true,
            Err(Errno::AGAIN) if any => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_change_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::open(&[folder.path()]).unwrap();
        let write = || {
            fs::write(folder.path().join("ep/.web-1"), "x").unwrap();
            fs::rename(
                folder.path().join("ep/.web-1"),
                folder.path().join("ep/web-1"),
            )
            .unwrap();
        };
        write();
        write();
        watch.changed().await.unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(20), watch.changed()).await;
        assert!(quiet.is_err(), "told twice");
        fs::remove_file(folder.path().join("ep/web-1")).unwrap();
        watch.changed().await.unwrap();
    }
}
