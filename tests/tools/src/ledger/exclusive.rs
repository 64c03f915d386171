//! One ledger test at a time: tests in other processes change the same host.

use std::fs::File;
use std::path::PathBuf;

use super::LedgerError;

/// A lock over all processes of this user's tests; released when dropped or killed.
#[derive(Debug)]
pub struct Exclusive {
    _lock: File,
}

impl Exclusive {
    /// Waits until no other process holds the lock, and takes it.
    ///
    /// # Errors
    /// When the lock file cannot be made in the directory for temporary files.
    pub fn wait() -> Result<Self, LedgerError> {
        let user = rustix::process::getuid().as_raw();
        let path: PathBuf = std::env::temp_dir().join(format!("unmoor-ledger-{user}.lock"));
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| LedgerError::write(&path, source))?;
        lock.lock()
            .map_err(|source| LedgerError::write(&path, source))?;
        Ok(Self { _lock: lock })
    }
}
