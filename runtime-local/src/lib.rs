//! A daemonless container runtime as a library, and the backend `local:` over it.

mod backend;
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
