//! A daemonless container runtime as a library, and the backend `local:` over it.
//!
//! ```text
//! backend/    unmoor's contract: one call to the engine for each action and facet
//! engine/     makes, changes, removes; records an intent first, so that a crash is put right
//! state/      the database, locks that die with their holder, who a process is
//! sandbox/    what a replica may do: capabilities, system calls, cgroups, ids, limits
//! net/        bridges, addresses, published ports, zones of names
//! shim/       the library's side of the shim: install, launch, ask, read its status
//! copy/       files into and out of running replicas
//! logs/       what replicas wrote
//! wire/       messages and files shared with the shim (`../shim`), which runs each replica
//! ```
//!
//! Programs that use unmoor need nothing from here but [`LocalConnect`], which the crate `unmoor`
//! puts into its catalog. What outlives a call is one shim for each replica; everything else lies
//! beneath one directory, by default `/var/lib/unmoor`.

mod backend;
mod copy;
mod engine;
mod error;
mod failpoint;
mod layout;
mod logs;
mod net;
mod preflight;
mod sandbox;
mod shim;
mod state;
mod sys;
#[path = "../shim/wire/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "the library and the shim each use their half of every message"
)]
mod wire;

pub use backend::{LocalBackend, LocalConnect};
