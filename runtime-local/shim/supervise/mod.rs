//! Supervision: the life of a replica from its first start to its removal.
//!
//! One thread, one loop: `events` waits and hands out, `shim` holds the state and moves it,
//! `requests` does what clients ask. Nothing here waits for a replica.

mod adopt;
mod control;
mod daemon;
mod events;
mod exec;
mod health;
mod jobs;
mod life;
mod log;
mod probe;
mod record;
mod requests;
mod restart;
mod shim;
mod streams;
mod times;

use std::os::fd::{AsFd, OwnedFd};

use shim::Shim;

use crate::fault::{EXIT_SETUP, Outcome, Step, refuse};
use crate::sys::fs;
use crate::wire::plan::Plan;
use crate::wire::report::{Failure, Report};

/// The longest plan; it carries the contents of secrets and configs.
const PLAN_MAX: usize = 64 << 20;

/// Runs the shim; returns the exit code of the process that the launcher waits for, or of the
/// background process at its end.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> i32 {
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (mode, report) = match arguments.as_slice() {
        ["--adopt", directory, report] => (Mode::Adopt(directory), report),
        [plan, report] => (Mode::Start(plan), report),
        _ => return EXIT_SETUP,
    };
    let Ok(report) = daemon::take_fd(report) else {
        return EXIT_SETUP;
    };
    match begin(&mode, report) {
        Ok(shim) => events::serve(shim),
        Err((failure, report)) => {
            send_report(&report, &Report::Failed(failure));
            EXIT_SETUP
        }
    }
}

enum Mode<'a> {
    Start(&'a str),
    Adopt(&'a str),
}

fn begin(mode: &Mode<'_>, report: OwnedFd) -> Result<Shim, (Failure, OwnedFd)> {
    match mode {
        Mode::Start(plan) => {
            let plan = match prepare_start(plan, &report) {
                Ok(plan) => plan,
                Err(failure) => return Err((failure, report)),
            };
            Shim::start(plan, report)
        }
        Mode::Adopt(directory) => {
            let prepared = daemon::tidy(&[&report]).and_then(|()| read_kept_plan(directory));
            let plan = match prepared.and_then(|plan| daemon::detach(&plan).map(|()| plan)) {
                Ok(plan) => plan,
                Err(failure) => return Err((failure, report)),
            };
            adopt::adopt(plan, report)
        }
    }
}

fn prepare_start(plan: &str, report: &OwnedFd) -> Outcome<Plan> {
    let source = daemon::take_fd(plan)?;
    daemon::tidy(&[report, &source])?;
    let bytes = fs::read_to_end(source.as_fd(), PLAN_MAX).step("read plan", "")?;
    let plan = decode(&bytes)?;
    daemon::detach(&plan)?;
    Ok(plan)
}

fn read_kept_plan(directory: &str) -> Outcome<Plan> {
    let path = format!("{directory}/{}", shim::PLAN_NAME);
    let flags = crate::sys::abi::O_RDONLY;
    let file = fs::open(fs::At::Cwd, &path, flags, 0).step("read plan", &path)?;
    let bytes = fs::read_to_end(file.as_fd(), PLAN_MAX).step("read plan", &path)?;
    decode(&bytes)
}

fn decode(bytes: &[u8]) -> Outcome<Plan> {
    Plan::decode(bytes).map_err(|error| refuse("read plan", error))
}

fn send_report(report: &OwnedFd, what: &Report) {
    // The launcher may be gone; the status record says the same.
    let _ = fs::write_all(report.as_fd(), &what.encode());
}
