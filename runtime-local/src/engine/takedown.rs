//! The end of a replica's interfaces: they are out of sight long before the kernel has answered who
//! removes them, so nobody waits for the answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::Runtime;
use crate::error::LocalError;
use crate::net;
use crate::state::ReplicaRecord;

/// From so many at once on they are left to the kernel: requests are dealt with one by one.
const MANY: usize = 64;
/// How long interfaces may take to go.
const PATIENCE: Duration = Duration::from_millis(500);

/// Replicas whose interfaces this process waits for.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A replica's interfaces on their way out.
#[derive(Debug)]
pub(super) struct Leaving {
    names: Vec<String>,
}

impl Runtime {
    /// Begins to remove the interfaces of a replica that has ended.
    pub(super) fn take_down(&self, record: &ReplicaRecord) -> Leaving {
        let addresses = record.addresses.values().copied();
        let names: Vec<_> = addresses.map(net::veth_name).collect();
        let before = WAITING.fetch_add(1, Ordering::Relaxed);
        let leaving = Leaving { names };
        if !leaving.names.is_empty()
            && before < MANY
            && let Ok(threads) = Handle::try_current()
            && let Ok(found) = net::find_interfaces(&leaving.names)
        {
            // Whoever waits for the names to go does it again if this fails.
            let remove = move || found.into_iter().try_for_each(net::Interface::remove);
            drop(threads.spawn_blocking(remove));
        }
        leaving
    }
}

impl Leaving {
    /// Returns when they are gone.
    pub(super) fn wait(&self) -> Result<(), LocalError> {
        if self.names.is_empty() {
            return Ok(());
        }
        Ok(net::await_interfaces(&self.names, PATIENCE)?)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}
