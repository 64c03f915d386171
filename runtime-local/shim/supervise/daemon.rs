//! From a program that a library has started to a process of its own in the background.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::fault::{Outcome, Step, refuse};
use crate::start::cgroup;
use crate::start::program::IGNORED_SIGNALS;
use crate::sys::fs::{self, At};
use crate::sys::poll::{self, Disposition};
use crate::sys::process::{self, Side};
use crate::sys::{Errno, abi, rights};
use crate::wire::plan::Plan;

/// Limits that a launcher has for itself and that would end the shim or its replica by a signal or
/// a refusal: processor time, size of files, data, memory in use, processes, address space.
const LIMITS: [u32; 6] = [0, 1, 2, 5, 6, 9];

/// Takes a descriptor named on the command line.
///
/// A standard stream is taken as a copy: what is in its place becomes null by [`tidy`].
pub(super) fn take_fd(number: &str) -> Outcome<OwnedFd> {
    let step = "read arguments";
    let parsed = number.parse().ok().filter(|number| *number >= 0);
    let parsed = parsed.ok_or_else(|| refuse(step, format_args!("{number:?} is no descriptor")))?;
    process::inherited_fd(parsed).step(step, format_args!("descriptor {number}"))
}

/// Closes what the launcher left open besides `keep`, and makes the standard streams null.
pub(super) fn tidy(keep: &[&OwnedFd]) -> Outcome<()> {
    let mut numbers = vec![0, 1, 2];
    numbers.extend(keep.iter().map(|fd| fd.as_raw_fd()));
    process::keep_only(&numbers).step("close descriptors", "")?;
    let null = fs::open(At::Cwd, "/dev/null", abi::O_RDWR, 0).step("open /dev/null", "")?;
    for number in 0..3 {
        process::dup_to(null.as_fd(), number).step("set standard stream", number)?;
    }
    Ok(())
}

/// Goes on in a child of its own session and cgroup; the caller's process ends at once.
pub(super) fn detach(plan: &Plan) -> Outcome<()> {
    rights::set_undumpable().step("guard process", "")?;
    let group = cgroup::own_group(&plan.cgroups)?;
    match process::clone(0, group.as_ref().map(AsFd::as_fd)).step("fork", "")? {
        Side::Parent(..) => process::exit(0),
        Side::Child => {}
    }
    process::new_session().step("begin session", "")?;
    rights::set_name("unmoor-shim").step("set name", "")?;
    // Inherited by the program and whatever is run beside it: one empty ring per replica.
    rights::leave_keys().step("leave the launcher's keys", "")?;
    rights::set_subreaper().step("become subreaper", "")?;
    std::env::set_current_dir("/")
        .map_err(Errno::from)
        .step("enter /", "")?;
    fs::umask(0o022);
    rights::forget_scheduling();
    for resource in LIMITS {
        rights::raise_limit(resource).step("raise limit", resource)?;
    }
    // What the launcher ignores would reach the program; what it ignores of its children's ends
    // would blind the shim.
    for signal in 1..=64 {
        poll::set_disposition(signal, Disposition::Default);
    }
    for signal in IGNORED_SIGNALS {
        poll::set_disposition(signal, Disposition::Ignore);
    }
    Ok(())
}

/// Makes the kernel spare the shim when memory is short, if that is allowed; returns what a
/// process of the replica has to be given instead.
pub(super) fn spare_from_oom() -> Option<i32> {
    let path = "/proc/self/oom_score_adj";
    let before = fs::read_text(At::Cwd, path).ok()?.trim().parse().ok()?;
    fs::write_text(At::Cwd, path, "-999").ok()?;
    Some(before)
}

/// A descriptor that becomes readable when a child has ended.
pub(super) fn child_signals() -> Outcome<OwnedFd> {
    let set = poll::signal_set(&[abi::SIGCHLD]);
    poll::block_only(set).step("block signals", "")?;
    poll::signal_fd(set).step("make signal descriptor", "")
}
