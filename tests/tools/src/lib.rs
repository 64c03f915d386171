//! Test tools: a ledger of what the host holds, and a proxy that breaks connections on purpose.
//!
//! Everything that creates kernel objects is tested between two [`ledger::Ledger::take`] calls;
//! everything that speaks over a network is tested through a [`proxy::FaultProxy`].

pub mod ledger;
pub mod proxy;
mod skip;
mod work;

pub use skip::{LOG_VARIABLE, skipped};
pub use work::Work;
