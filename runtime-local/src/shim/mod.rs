//! The library's side of the shim: installing it, launching it, talking to it, reading what it
//! wrote.

mod control;
mod install;
mod launch;
mod session;
mod settle;
mod status;

pub(crate) use control::{Control, obeys, silence};
pub(crate) use install::Program;
pub(crate) use launch::{Launching, PATIENCE, adopt, launch};
pub(crate) use session::{END_OF_INPUT, Session, read_stream, watched, write_some};
pub(crate) use settle::{Follower, settle};
pub(crate) use status::{Seen, is_shim_alive, see};
