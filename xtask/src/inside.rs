//! The outer namespaces: tests that change networks and mounts never touch those of the host.
//!
//! A task re-executes itself under `unshare` with its own network, mount and pid namespace. The
//! pid namespace makes sure of the end: when its first process goes, nothing of a test is left.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, wait};

use crate::groups::OwnGroups;
use crate::process::{on_path, run};
use crate::{Failure, Outcome};

/// Bridged packets must not pass the host's iptables rules, which may drop them.
const BRIDGE_FILTERS: [&str; 3] = [
    "bridge-nf-call-iptables",
    "bridge-nf-call-ip6tables",
    "bridge-nf-call-arptables",
];

/// How a task is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// In namespaces of its own.
    Namespaces,
    /// Where the caller is, because of the reason.
    None(&'static str),
}

/// Whether this user and kernel give us namespaces.
pub(crate) fn isolation() -> Isolation {
    if !rustix::process::geteuid().is_root() {
        return Isolation::None("not root: tests that need it skip themselves");
    }
    if !on_path("unshare") {
        return Isolation::None("there is no unshare program (package util-linux)");
    }
    let mut probe = Command::new("unshare");
    probe.args([
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "true",
    ]);
    if probe.status().is_ok_and(|status| status.success()) {
        Isolation::Namespaces
    } else {
        Isolation::None("this root may not make namespaces")
    }
}

/// Where this program lies. A build of the whole workspace puts a new one in its place; the kernel
/// then names the old one with a mark at the end.
fn this_program() -> Result<PathBuf, Failure> {
    let exe = std::env::current_exe()
        .map_err(|error| Failure::new(format!("cannot find this program: {error}")))?;
    let replaced = exe
        .to_str()
        .and_then(|text| text.strip_suffix(" (deleted)"));
    Ok(replaced.map(PathBuf::from).unwrap_or(exe))
}

/// A command that runs `xtask inside WORDS…`, in namespaces where they can be had.
pub(crate) fn command(isolation: Isolation, words: &[&str]) -> Result<Command, Failure> {
    let exe = this_program()?;
    let mut command = match isolation {
        Isolation::Namespaces => {
            let mut command = Command::new("unshare");
            let kinds = [
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--mount-proc",
                "--kill-child",
            ];
            command.args(kinds).arg(exe).args(["inside", "init"]);
            // Nothing in there reaches a registry; everything has been built before.
            command.env("CARGO_NET_OFFLINE", "true");
            command
        }
        Isolation::None(why) => {
            eprintln!("namespaces: none, {why}");
            let mut command = Command::new(exe);
            command.arg("inside");
            command
        }
    };
    command.args(words);
    Ok(command)
}

/// The first process of the pid namespace: prepares the place, runs the task, reaps orphans.
pub(crate) fn init(words: &[&str]) -> Outcome {
    prepare_network()?;
    let groups = OwnGroups::enter()?;
    let outcome = run_task(words);
    end_all_others()?;
    outcome.and(groups.leave())
}

/// Ends and reaps whatever the task left, because no group with a process can be removed.
fn end_all_others() -> Outcome {
    // To the first process of a namespace, this "group" is every other process in it.
    match kill_process_group(Pid::INIT, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => return Err(Failure::new(format!("cannot end what is left: {error}"))),
    }
    loop {
        match wait(WaitOptions::empty()) {
            Ok(_) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(error) => return Err(Failure::new(format!("cannot wait for the rest: {error}"))),
        }
    }
}

fn run_task(words: &[&str]) -> Outcome {
    let exe = this_program()?;
    let task = Command::new(exe)
        .arg("inside")
        .args(words)
        .spawn()
        .map_err(|error| Failure::new(format!("cannot start the task: {error}")))?;
    loop {
        let waited = wait(WaitOptions::empty())
            .map_err(|error| Failure::new(format!("cannot wait for the task: {error}")))?;
        let Some((pid, status)) = waited else {
            continue;
        };
        if u32::try_from(pid.as_raw_nonzero().get()) != Ok(task.id()) {
            continue;
        }
        return match status.exit_status() {
            Some(0) => Ok(()),
            Some(code) => Err(Failure::new(format!("the task ended with code {code}"))),
            None => Err(Failure::new("the task was killed")),
        };
    }
}

fn prepare_network() -> Outcome {
    if on_path("ip") {
        run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    } else {
        eprintln!("namespaces: no ip program (package iproute2), so the loopback address is down");
    }
    for name in BRIDGE_FILTERS {
        let path = format!("/proc/sys/net/bridge/{name}");
        if fs::exists(&path).unwrap_or(false) {
            fs::write(&path, "0")
                .map_err(|error| Failure::new(format!("cannot write {path}: {error}")))?;
        }
    }
    Ok(())
}
