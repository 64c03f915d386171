//! The leak ledger: a snapshot of every kernel object and file that a runtime could leave behind.
//!
//! Take one before and one after; [`Ledger::diff`] must be empty. A snapshot reads the network
//! namespace, the mount namespace and the processes that the caller sees, so a caller inside its
//! own namespaces gets a view free of the rest of the machine.
//!
//! ```no_run
//! use std::time::Duration;
//! use unmoor_tools::ledger::Ledger;
//!
//! let before = Ledger::take()?;
//! // create things and remove them again
//! let leaks = before.settle(Duration::from_secs(5))?;
//! assert!(leaks.is_empty(), "{leaks}");
//! # Ok::<(), unmoor_tools::ledger::LedgerError>(())
//! ```

mod cgroup;
mod diff;
mod error;
mod exclusive;
mod files;
mod firewall;
mod kernel;
mod mounts;
mod net;
mod process;
mod snapshot;
mod sockets;
mod store;

pub use diff::{Change, Diff};
pub use error::LedgerError;
pub use exclusive::Exclusive;
pub use snapshot::{Ledger, Options, Section};
