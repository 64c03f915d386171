//! A file that only takes up room, and gives it to the commands that run when the disk is full.
//!
//! Without it nothing works on a full disk, not even what makes room: the database needs some for
//! its journal before it reads anything.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// What a command may write besides images and volumes.
const SIZE: u64 = 2 << 20;
/// Room is taken where there is this much of it.
const PLENTY: u64 = 4 * SIZE;
const NAME: &str = "room";

/// Takes up room while there is plenty, and gives it back when there is not.
pub(crate) fn keep(root: &Path) {
    let path = root.join(NAME);
    let Ok(disk) = statvfs(root) else { return };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < SIZE {
        // Absent is fine: then it has been given back before.
        let _ = std::fs::remove_file(&path);
    } else if free >= PLENTY && !path.exists() {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        // A disk that cannot reserve room leaves an empty file: as good as none.
        let _ = file.map(|file| fallocate(&file, FallocateFlags::empty(), 0, SIZE));
    }
}
