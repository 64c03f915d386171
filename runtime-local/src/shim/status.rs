//! What a shim says about its replica, read without asking it.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::LocalError;
use crate::state::boot_id;
use crate::wire::status::{Phase, SIZE, Status, StatusError, VERSION};

/// Readings before a record that stays torn counts as damaged.
const TRIES: u32 = 100;

/// What there is of a replica's shim.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// There is no status: the shim never came so far, or everything has been removed.
    Nothing,
    /// The shim lives; its record is true.
    Alive(Status),
    /// The shim has died in this boot; the replica may still run.
    Orphan(Status),
    /// The record is of a former boot; nothing runs.
    Past(Status),
}

impl Seen {
    /// The record, if there is one.
    pub(crate) fn status(&self) -> Option<&Status> {
        match self {
            Self::Nothing => None,
            Self::Alive(status) | Self::Orphan(status) | Self::Past(status) => Some(status),
        }
    }

    /// True if the program is there under a shim that lives.
    pub(crate) fn runs(&self) -> bool {
        let running = [
            Phase::Running,
            Phase::Paused,
            Phase::Stopping,
            Phase::Restarting,
        ];
        matches!(self, Self::Alive(status) if running.contains(&status.phase))
    }
}

/// Reads the record in a run directory; `None` if there is none.
///
/// # Errors
/// `Corrupt` for what is no record of a version this library knows.
pub(crate) fn read(run: &Path) -> Result<Option<Status>, LocalError> {
    let path = run.join("status");
    let mut tries = 0;
    loop {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LocalError::io("read", &path, source)),
        };
        match Status::decode(&bytes) {
            Ok(status) => return Ok(Some(status)),
            // A shim that has only just made the file.
            Err(StatusError::NotAStatus) if bytes.len() < SIZE => return Ok(None),
            Err(StatusError::Torn) if tries < TRIES => {
                tries += 1;
                std::thread::yield_now();
            }
            Err(StatusError::Version(found)) => {
                let what = format!(
                    "{} was written by a shim of a later version of unmoor (record {found}, this \
                     one knows {VERSION})",
                    path.display()
                );
                let hint = "use the unmoor that started it".to_owned();
                return Err(LocalError::Unsupported { what, hint });
            }
            Err(error) => {
                let (what, problem) = (path.display().to_string(), error.to_string());
                return Err(LocalError::Corrupt { what, problem });
            }
        }
    }
}

/// True while a shim holds the lock in this run directory.
pub(crate) fn is_shim_alive(run: &Path) -> bool {
    let Ok(file) = File::open(run.join("lock")) else {
        return false;
    };
    // A shared lock: two readers at once do not take each other for the shim.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => true,
        Ok(()) | Err(_) => false,
    }
}

/// Reads the record and looks whether its shim lives.
pub(crate) fn see(run: &Path) -> Result<Seen, LocalError> {
    // A shim has its lock before it writes its first record. So whoever looks at the lock only
    // when there is a record takes no beginner for dead, nor the lock from its hands.
    if read(run)?.is_none() {
        return Ok(Seen::Nothing);
    }
    // And then the record again: what a shim wrote that has died since is still true.
    let alive = is_shim_alive(run);
    let Some(status) = read(run)? else {
        return Ok(Seen::Nothing);
    };
    let boot: String = status
        .boot_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(match (alive, boot == boot_id()) {
        (true, _) => Seen::Alive(status),
        (false, true) => Seen::Orphan(status),
        (false, false) => Seen::Past(status),
    })
}
