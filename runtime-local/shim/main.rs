//! The shim: starts and supervises one local replica, and outlives whoever asked for it.
//!
//! `shim PLAN REPORT` starts a replica: descriptor `PLAN` holds the encoded plan, on descriptor
//! `REPORT` one record says how the start went. `shim --adopt DIRECTORY REPORT` takes over the
//! replica whose shim has died, by the plan kept in its directory. Both return at once and go on
//! in the background.

mod fault;
mod init;
mod net;
mod start;
mod supervise;
mod sys;

#[allow(
    dead_code,
    reason = "the library and the shim each use their half of every message"
)]
pub mod wire;

fn main() {
    sys::process::exit(supervise::run(std::env::args().skip(1)));
}
