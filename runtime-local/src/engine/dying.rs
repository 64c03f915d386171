//! Asking a shim that may be dying.
//!
//! A process that was sent SIGKILL holds its lock until it is gone, so a look takes it for alive.
//! Whoever asks it anything is told by the lost connection; its successor is asked instead.

use super::Runtime;
use super::dismiss::{LEAVE, open_process, wait_for_end};
use crate::error::LocalError;
use crate::shim::{self, Seen};
use crate::state::ReplicaRecord;

/// Shims of one replica that may die one after another under one command.
const DEATHS: u32 = 3;

impl Runtime {
    /// Does something by what is seen of a replica, and again where its shim dies meanwhile.
    ///
    /// What is done must bear being done twice: a shim may die between the deed and its answer.
    pub(super) fn with_shim<T>(
        &self,
        record: &ReplicaRecord,
        mut deed: impl FnMut(Seen) -> Result<T, LocalError>,
    ) -> Result<T, LocalError> {
        let run = self.layout().run(&record.key);
        let mut deaths = 0;
        loop {
            let seen = shim::see(&run)?;
            let shim = seen.status().map(|status| status.shim);
            let result = self.see_alive(record).and_then(&mut deed);
            match result {
                Err(error) if error.is_of_the_dead() && deaths < DEATHS => {
                    // One that lives has closed the connection for a reason of its own.
                    if let Some(shim) = shim.and_then(open_process)
                        && !wait_for_end(&shim, LEAVE)
                    {
                        return Err(error);
                    }
                    tracing::debug!(replica = %record.id, "look again: {error}");
                    deaths += 1;
                }
                result => return result,
            }
        }
    }
}
