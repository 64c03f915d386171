//! Programs run inside a running replica: on request, and for health checks.
//!
//! A helper joins the replica's cgroups and namespaces and makes the program's process as a
//! child of the shim; what belongs to the host is closed before any code of the replica runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::control::Waiter;
use crate::fault::{Outcome, Step, refuse};
use crate::start::cgroup::{Cgroups, Joining};
use crate::start::child::say_and_exit;
use crate::start::program::{self, Program};
use crate::start::sync::{self, Message};
use crate::start::{self, Inside};
use crate::sys::fs::{self, At};
use crate::sys::process::{self, Ended, Side};
use crate::sys::socket::{self, Pair};
use crate::sys::{abi, rights, tty};
use crate::wire::control::Exec;
use crate::wire::plan::Plan;
use crate::wire::report::Failure;

/// Who wants to know how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Client(Waiter),
    Health,
    /// It has taken too long and is being killed.
    Nobody,
}

/// A program that was asked for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) owner: Owner,
    /// Open until the program has been executed or has failed.
    pub(super) sync: Option<OwnedFd>,
    pub(super) helper: i32,
    pub(super) pid: Option<i32>,
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) ended: Option<Ended>,
    pub(super) failure: Option<Failure>,
    pub(super) master: Option<OwnedFd>,
    /// Whether the owner has been told that it runs.
    pub(super) announced: bool,
}

/// What a job works from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) plan: &'a Plan,
    pub(super) cgroups: &'a Cgroups,
    /// Process 1 of the replica.
    pub(super) init: BorrowedFd<'a>,
    pub(super) oom_score_adj: Option<i32>,
}

impl Job {
    /// Makes the helper; `streams` are stdin, stdout and stderr, unused with a terminal.
    pub(super) fn begin(
        place: Place<'_>,
        exec: &Exec,
        streams: &[OwnedFd],
        owner: Owner,
    ) -> Outcome<Self> {
        if !exec.tty && streams.len() != 3 {
            let count = streams.len();
            return Err(refuse(
                "exec",
                format_args!("{count} descriptors came along, not 3"),
            ));
        }
        let (ours, theirs) = socket::pair(Pair::Packets).step("make socket pair", "")?;
        let joining = place.cgroups.joining()?;
        let unified = joining.unified.as_ref().map(AsFd::as_fd);
        match process::clone(0, unified).step("clone for exec", "")? {
            Side::Child => {
                drop(ours);
                let helper = Helper {
                    place,
                    exec,
                    streams,
                    joining,
                    sync: theirs,
                };
                helper.run()
            }
            Side::Parent(helper, _) => Ok(Self {
                owner,
                sync: Some(ours),
                helper,
                pid: None,
                pidfd: None,
                ended: None,
                failure: None,
                master: None,
                announced: false,
            }),
        }
    }

    /// Hears what helper and program have said.
    pub(super) fn advance(&mut self) {
        while let Some(socket) = &self.sync {
            match sync::try_receive(socket) {
                Ok(None) => return,
                Ok(Some(Message::Pid(pid))) => {
                    self.pid = i32::try_from(pid).ok();
                    self.pidfd = process::pidfd(pid).ok();
                }
                Ok(Some(Message::Terminal(master))) => self.master = Some(master),
                Ok(Some(Message::Failed(failure))) => self.failure = Some(failure),
                Ok(Some(Message::End)) => self.sync = None,
                Ok(Some(_)) => {}
                Err(failure) => {
                    self.failure = Some(failure);
                    self.sync = None;
                }
            }
        }
        if self.pid.is_none() && self.failure.is_none() {
            self.failure = Some(refuse("exec", "the helper ended early"));
        }
    }

    /// Sends a signal to the program.
    pub(super) fn signal(&self, signal: u32) -> crate::sys::Result<()> {
        match &self.pidfd {
            Some(pidfd) => process::signal(pidfd.as_fd(), signal),
            None => Err(crate::sys::Errno::SRCH),
        }
    }
}

/// The helper's side.
struct Helper<'a> {
    place: Place<'a>,
    exec: &'a Exec,
    streams: &'a [OwnedFd],
    joining: Joining,
    sync: OwnedFd,
}

impl Helper<'_> {
    fn run(self) -> ! {
        match self.enter() {
            Ok(Side::Parent(pid, _)) => {
                let pid = u32::try_from(pid).unwrap_or(0);
                let _ = sync::send(&self.sync, &Message::Pid(pid));
                process::exit(0)
            }
            Ok(Side::Child) => {
                let failure = match self.prepare() {
                    Ok(()) => self.program().execute(&self.sync),
                    Err(failure) => failure,
                };
                say_and_exit(&self.sync, failure)
            }
            Err(failure) => say_and_exit(&self.sync, failure),
        }
    }

    /// Joins cgroups and namespaces; returns on both sides of the last clone.
    fn enter(&self) -> Outcome<Side> {
        let plan = self.place.plan;
        if let Some(score) = plan.process.oom_score_adj.or(self.place.oom_score_adj) {
            fs::write_text(At::Cwd, "/proc/self/oom_score_adj", &score.to_string())
                .step("set oom score", score)?;
        }
        self.joining.join_v1()?;
        for limit in &plan.process.rlimits {
            rights::set_limit(0, limit.resource, limit.soft, limit.hard).step(
                "set resource limit",
                format_args!("number {}", limit.resource),
            )?;
        }
        let kinds = start::namespaces(plan) | abi::CLONE_NEWCGROUP;
        process::enter(self.place.init, kinds).step("enter the replica", "")?;
        rights::set_groups(&[]).step("become root inside", "groups")?;
        rights::set_user(0, 0).step("become root inside", "")?;
        // Only a new process is in the pid namespace; the shim shall be its parent.
        process::clone(abi::CLONE_PARENT, None).step("clone inside the replica", "")
    }

    /// In the new process, inside: session, terminal or streams, working directory.
    fn prepare(&self) -> Outcome<()> {
        let flags = abi::O_PATH | abi::O_DIRECTORY;
        let root = fs::open(At::Cwd, "/", flags, 0).step("open root", "")?;
        let inside = Inside::new(root);
        let process = &self.place.plan.process;
        let cwd = if self.exec.cwd.is_empty() {
            &process.cwd
        } else {
            &self.exec.cwd
        };
        let cwd = if cwd.is_empty() { "/" } else { cwd.as_str() };
        let dir = inside
            .open(cwd, flags)
            .step("open working directory", cwd)?;
        process::new_session().step("begin session", "")?;
        if self.exec.tty {
            self.take_terminal(&inside)?;
        } else {
            let [a, b, c] = [&self.streams[0], &self.streams[1], &self.streams[2]];
            program::take_streams([a.as_fd(), b.as_fd(), c.as_fd()], false)?;
        }
        fs::fchdir(dir.as_fd()).step("enter working directory", cwd)
    }

    fn take_terminal(&self, inside: &Inside) -> Outcome<()> {
        let step = "open terminal";
        let pty = tty::open_in(inside.root(), "dev/pts/ptmx").step(step, "/dev/pts/ptmx")?;
        let (uid, gid, _) = self.user();
        fs::chown(pty.slave.as_fd(), uid, gid).step(step, "owner")?;
        if self.exec.rows > 0 && self.exec.cols > 0 {
            tty::resize(pty.master.as_fd(), self.exec.rows, self.exec.cols).step(step, "size")?;
        }
        sync::send(&self.sync, &Message::Terminal(pty.master))?;
        let slave = pty.slave.as_fd();
        program::take_streams([slave, slave, slave], true)
    }

    fn user(&self) -> (u32, u32, &[u32]) {
        let process = &self.place.plan.process;
        match &self.exec.user {
            Some(user) => (user.uid, user.gid, &user.groups),
            None => (process.uid, process.gid, &process.groups),
        }
    }

    fn program(&self) -> Program<'_> {
        let process = &self.place.plan.process;
        let (uid, gid, groups) = self.user();
        Program {
            argv: &self.exec.argv,
            env: &self.exec.env,
            uid,
            gid,
            groups,
            caps: process.caps,
            no_new_privs: process.no_new_privs,
            seccomp: &process.seccomp,
        }
    }
}
