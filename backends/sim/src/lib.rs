//! The reference semantics of an unmoor backend, in memory: virtual time, faults on request.
//!
//! ```text
//! Sim (Backend and facets) ─▶ Faults ─▶ World (lock, time, waiting) ─▶ Model (data and rules)
//!                                                                        └▶ probe (the one program)
//! ```
//!
//! The model runs one program, the conformance suite's probe, by interpreting its arguments; every
//! other program fails as one that is not there. Images are what was loaded from files.

mod backend;
mod bug;
mod caps;
mod clock;
mod connect;
mod doors;
mod exec;
mod fault;
mod image;
mod images;
mod inside;
mod logs;
mod model;
mod probe;
mod rng;
mod schedule;
mod sim;
mod state;
mod watch;
mod world;

pub use bug::Bug;
pub use clock::VirtualClock;
pub use connect::SimConnect;
pub use fault::{Call, Effect, Fault, Faults, Gate};
pub use probe::MARKER;
pub use schedule::{Caller, Scheduler, drive};
pub use sim::{Builder, Glance, Sim};
