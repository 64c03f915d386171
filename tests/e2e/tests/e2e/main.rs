//! The command line against real containers; each test says so where it cannot run.

mod caller;
mod captures;
mod compose;
mod detached;
mod dry;
mod flags;
mod foreign;
mod from_inside;
mod habits;
mod inside;
mod interrupted;
mod killed;
mod library;
mod lines;
mod packed;
mod plans;
mod profiles;
mod reports;
mod runs;
mod terminal;
mod traffic;
mod verbs;
mod volumes;
mod watch;
mod words;
