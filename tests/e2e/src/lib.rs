//! The command line against real containers, in namespaces of a test's own.
//!
//! [`pack`] makes root file systems of programs that this machine has installed, [`foreign`] the
//! images of the test stack from them, [`shop`] those of the example, [`stage`] the namespaces and directories a test plays in,
//! [`screen`] what is seen on a terminal, [`traffic`] the visitors that come meanwhile, and
//! [`patience`] the waiting for what must become true.

pub mod account;
pub mod foreign;
pub mod pack;
pub mod patience;
mod processes;
pub mod program;
pub mod screen;
pub mod shop;
pub mod stage;
pub mod traffic;
