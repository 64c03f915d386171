//! The child's side of a start: from a process with new namespaces to the program.

use std::os::fd::{AsFd, OwnedFd};

use super::cgroup::{Cgroups, Joining};
use super::inside::Inside;
use super::program::{self, Program};
use super::stdio::ProgramEnds;
use super::sync::{self, Message};
use super::{mounts, root, sysctl, system};
use crate::fault::{Outcome, Step, refuse};
use crate::init;
use crate::sys::fs::{self, At};
use crate::sys::mount::{self, Depth};
use crate::sys::tty::Pty;
use crate::sys::{abi, process, rights, socket};
use crate::wire::netplan::NetPlan;
use crate::wire::plan::Plan;
use crate::wire::report::Failure;

/// Everything the child is given by being a copy of the shim.
#[derive(Debug)]
pub(crate) struct Child<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) net: Option<&'a NetPlan>,
    pub(crate) cgroups: &'a Cgroups,
    pub(crate) joining: Joining,
    pub(crate) ends: Option<ProgramEnds>,
    pub(crate) sync: OwnedFd,
}

impl Child<'_> {
    /// Becomes the program, or says why not and ends.
    pub(crate) fn run(self) -> ! {
        let failure = match self.become_program() {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        let code = failure.exit_code;
        let _ = sync::send(&self.sync, &Message::Failed(failure));
        process::exit(code)
    }

    fn become_program(&self) -> Outcome<core::convert::Infallible> {
        rights::set_undumpable().step("guard process", "")?;
        self.joining.join_v1()?;
        let prepared = self.receive_mounts()?;
        let (inside, terminal) = self.build(prepared)?;
        self.bring_up_network()?;
        let cwd = system::working_directory(&inside, &self.plan.process.cwd)?;
        if self.plan.read_only_root {
            mount::set_attributes(inside.root(), abi::MOUNT_ATTR_RDONLY, Depth::One)
                .step("make root read-only", "")?;
        }
        root::enter(&inside)?;
        self.take_streams(&inside, terminal.as_ref())?;
        let ready = Message::Ready(terminal.map(|pty| pty.master));
        sync::send(&self.sync, &ready)?;
        self.expect(|message| matches!(message, Message::Go))?;
        // After the rights of the mounts are settled: the directory itself, not its path again.
        fs::fchdir(cwd.as_fd()).step("enter working directory", &self.plan.process.cwd)?;
        if self.plan.init {
            let Message::Ready(master) = &ready else {
                unreachable!("it was made so above")
            };
            init::split(master.as_ref().map(AsFd::as_fd))?;
        }
        Err(self.program().execute(&self.sync))
    }

    fn program(&self) -> Program<'_> {
        let process = &self.plan.process;
        Program {
            argv: &process.argv,
            env: &process.env,
            uid: process.uid,
            gid: process.gid,
            groups: &process.groups,
            caps: process.caps,
            no_new_privs: process.no_new_privs,
            seccomp: &process.seccomp,
        }
    }

    fn expect(&self, wanted: impl Fn(&Message) -> bool) -> Outcome<Message> {
        let message = sync::receive(&self.sync)?;
        if wanted(&message) {
            return Ok(message);
        }
        Err(refuse(
            "wait for the shim",
            "it ended before the program could start",
        ))
    }

    fn receive_mounts(&self) -> Outcome<Vec<OwnedFd>> {
        let mut all = Vec::new();
        loop {
            match self.expect(|message| matches!(message, Message::Mounts { .. }))? {
                Message::Mounts { fds, more } => {
                    all.extend(fds);
                    if !more {
                        return Ok(all);
                    }
                }
                _ => return Err(refuse("wait for the shim", "no mounts")),
            }
        }
    }

    /// Builds the root and all mounts in it.
    fn build(&self, mut prepared: Vec<OwnedFd>) -> Outcome<(Inside, Option<Pty>)> {
        let plan = self.plan;
        // Still with the host root's user id: it may look into directories closed to others.
        let refused = sysctl::write_early(plan)?;
        process::unshare(abi::CLONE_NEWCGROUP).step("make cgroup namespace", "")?;
        mount::mount("", "/", "", abi::MS_REC | abi::MS_PRIVATE, "")
            .step("separate mounts", "/")?;
        let flags = abi::O_PATH | abi::O_DIRECTORY;
        let run =
            fs::open(At::Cwd, &plan.run_dir, flags, 0).step("open run directory", &plan.run_dir)?;
        rights::set_groups(&[]).step("become root inside", "groups")?;
        rights::set_user(0, 0).step("become root inside", "")?;
        sysctl::write_late(&refused)?;
        fs::umask(0);
        rights::set_host_name(&plan.hostname).step("set host name", &plan.hostname)?;
        let stage = root::make_stage(plan, run.as_fd())?;
        let count = root::prepared_count(plan);
        if prepared.len() < count + usize::from(plan.host_network) {
            return Err(refuse("attach root", "too few mounts were prepared"));
        }
        let mut binds = prepared.split_off(count);
        let sys = plan.host_network.then(|| binds.remove(0));
        let inside = root::assemble(plan, &stage, &prepared)?;
        let terminal = system::mount_all(plan, self.cgroups, &inside, sys.as_ref())?;
        mounts::attach_all(plan, &inside, &stage, binds)?;
        system::mask(plan, &inside)?;
        system::protect(plan, &inside)?;
        Ok((inside, terminal))
    }

    fn bring_up_network(&self) -> Outcome<()> {
        self.expect(|message| matches!(message, Message::Wired))?;
        if self.plan.host_network {
            // Nothing there is the replica's: neither interfaces nor parameters.
            return sysctl::refuse_network(self.plan);
        }
        match self.net {
            Some(net) => crate::net::child_setup(net).step("set up network inside", "")?,
            None => socket::bring_up("lo").step("bring up loopback", "lo")?,
        }
        sysctl::write_network(self.plan)
    }

    fn take_streams(&self, inside: &Inside, terminal: Option<&Pty>) -> Outcome<()> {
        process::new_session().step("begin session", "")?;
        if let Some(pty) = terminal {
            let slave = pty.slave.as_fd();
            return program::take_streams([slave, slave, slave], true);
        }
        let Some(ends) = &self.ends else {
            return Err(refuse(
                "set standard stream",
                "there is neither a fifo nor a terminal",
            ));
        };
        let null;
        let stdin = match &ends.stdin {
            Some(stdin) => stdin,
            None => {
                null = inside
                    .open("/dev/null", abi::O_RDONLY)
                    .step("open /dev/null", "inside")?;
                &null
            }
        };
        program::take_streams(
            [stdin.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd()],
            false,
        )
    }
}

/// What a child that must not go on says.
pub(crate) fn say_and_exit(sync: &OwnedFd, failure: Failure) -> ! {
    let code = failure.exit_code;
    let _ = sync::send(sync, &Message::Failed(failure));
    process::exit(code)
}
