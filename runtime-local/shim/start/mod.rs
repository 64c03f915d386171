//! Starting the program: the shim's side of it, in steps that never make the shim wait.
//!
//! [`Launch::begin`] makes the cgroups' descriptors, clones the child into its namespaces,
//! writes its id maps and hands it the mounts only the host's root can make. The child builds
//! its root, says that it is ready, and executes the program when told to; [`Launch::advance`]
//! is called whenever it has said something.

pub(crate) mod cgroup;
pub(crate) mod child;
pub(crate) mod program;
pub(crate) mod stdio;
pub(crate) mod sync;

mod devices;
mod inside;
mod mounts;
mod populate;
mod root;
mod sysctl;
mod system;

pub(crate) use inside::Inside;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cgroup::Cgroups;
use child::Child;
use sync::Message;

use crate::fault::{Outcome, Step, refuse};
use crate::net::{Discovery, NetService};
use crate::sys::fs::{self, At};
use crate::sys::process::{self, Ended, Side};
use crate::sys::socket::{self, Pair};
use crate::sys::{abi, rights};
use crate::wire::netplan::NetPlan;
use crate::wire::plan::Plan;

/// The namespaces that every replica has for itself, but for the one of its cgroups.
const NAMESPACES: u64 =
    abi::CLONE_NEWPID | abi::CLONE_NEWNS | abi::CLONE_NEWUTS | abi::CLONE_NEWIPC;

/// The namespaces that a replica has for itself by its plan, but for the one of its cgroups.
pub(crate) fn namespaces(plan: &Plan) -> u64 {
    let mut kinds = NAMESPACES;
    if plan.id_map.is_some() {
        kinds |= abi::CLONE_NEWUSER;
    }
    if !plan.host_network {
        kinds |= abi::CLONE_NEWNET;
    }
    kinds
}

/// What a start works from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) net: Option<&'a NetPlan>,
    pub(crate) cgroups: &'a Cgroups,
    pub(crate) run: &'a OwnedFd,
    /// What a process of the replica gets when the plan does not say.
    pub(crate) oom_score_adj: Option<i32>,
}

/// A replica that is being started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    sync: OwnedFd,
    /// Names and addresses, once the child stands.
    pub(crate) net: Option<NetService>,
    network: Option<OwnedFd>,
    mounts: Option<OwnedFd>,
    master: Option<OwnedFd>,
    /// How the child ended, when it has been collected already.
    pub(crate) ended: Option<Ended>,
}

/// A replica whose program has been executed.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) ended: Option<Ended>,
    /// Its network namespace.
    pub(crate) network: OwnedFd,
    /// Its mount namespace.
    pub(crate) mounts: Option<OwnedFd>,
    pub(crate) net: Option<NetService>,
    /// Our end of its terminal.
    pub(crate) master: Option<OwnedFd>,
}

impl Launch {
    /// Clones the child and gets it going.
    pub(crate) fn begin(source: Source<'_>) -> Outcome<Self> {
        let plan = source.plan;
        let ends = stdio::open_program_ends(plan, source.run)?;
        let (ours, theirs) = socket::pair(Pair::Packets).step("make socket pair", "")?;
        let joining = source.cgroups.joining()?;
        let unified = joining.unified.as_ref().map(AsFd::as_fd);
        let cloned = process::clone(namespaces(plan), unified);
        match cloned.step("clone into new namespaces", "")? {
            Side::Child => {
                drop(ours);
                let Source {
                    plan, net, cgroups, ..
                } = source;
                Child {
                    plan,
                    net,
                    cgroups,
                    joining,
                    ends,
                    sync: theirs,
                }
                .run()
            }
            Side::Parent(pid, pidfd) => {
                drop(theirs);
                let mut launch = Self {
                    pid,
                    pidfd,
                    sync: ours,
                    net: None,
                    network: None,
                    mounts: None,
                    master: None,
                    ended: None,
                };
                launch
                    .equip(source)
                    .map_err(|error| launch.explain(error))?;
                Ok(launch)
            }
        }
    }

    /// The descriptor on which the child speaks.
    pub(crate) fn sync(&self) -> BorrowedFd<'_> {
        self.sync.as_fd()
    }

    fn equip(&mut self, source: Source<'_>) -> Outcome<()> {
        let plan = source.plan;
        let namespace = |kind: &str| {
            let path = format!("/proc/{}/ns/{kind}", self.pid);
            fs::open(At::Cwd, &path, abi::O_RDONLY, 0).step("open namespace", path)
        };
        write_id_maps(plan, self.pid)?;
        set_oom_score(plan, source.oom_score_adj, self.pid)?;
        let user = plan.id_map.map(|_| namespace("user")).transpose()?;
        let user = user.as_ref().map(AsFd::as_fd);
        let mut mounts = root::prepare(plan, user)?;
        mounts.extend(mounts::prepare_binds(plan, user)?);
        mounts.extend(devices::prepare(plan)?);
        sync::send_mounts(&self.sync, &mounts)?;
        let network = self.network.insert(namespace("net")?);
        self.mounts = Some(namespace("mnt")?);
        if let Some(net) = source.net {
            crate::net::host_setup(net, self.pid, network.as_fd()).step("set up network", "")?;
        }
        sync::send(&self.sync, &Message::Wired)
    }

    /// What the child said when it failed, rather than what its silence did to us.
    fn explain(&mut self, error: crate::wire::report::Failure) -> crate::wire::report::Failure {
        let said = loop {
            match sync::try_receive(&self.sync) {
                Ok(Some(Message::Failed(said))) => break Some(said),
                Ok(Some(Message::End) | None) | Err(_) => break None,
                Ok(Some(_)) => {}
            }
        };
        self.abandon();
        said.unwrap_or(error)
    }

    /// Hears what the child has said; `Some` when the program has been executed.
    pub(crate) fn advance(&mut self, source: Source<'_>) -> Outcome<Option<Started>> {
        while let Some(message) = sync::try_receive(&self.sync)? {
            match message {
                Message::Ready(master) => {
                    self.master = master;
                    let result = self.release(source);
                    result.map_err(|error| self.explain(error))?;
                }
                Message::Failed(failure) => {
                    self.abandon();
                    return Err(failure);
                }
                Message::End => return self.finish().map(Some),
                _ => {
                    self.abandon();
                    return Err(refuse("start", "the child said something out of turn"));
                }
            }
        }
        Ok(None)
    }

    /// The child stands; open its names and addresses, then let the program begin.
    fn release(&mut self, source: Source<'_>) -> Outcome<()> {
        if let (Some(net), Some(namespace)) = (source.net, self.network.as_ref()) {
            let discovery = Discovery::of(source.plan, &net.service);
            let service = NetService::open(net, discovery, namespace.as_fd());
            self.net = Some(service.step("open name service", "")?);
        }
        for limit in &source.plan.process.rlimits {
            rights::set_limit(self.pid, limit.resource, limit.soft, limit.hard).step(
                "set resource limit",
                format_args!("number {} to {}:{}", limit.resource, limit.soft, limit.hard),
            )?;
        }
        sync::send(&self.sync, &Message::Go)
    }

    fn finish(&mut self) -> Outcome<Started> {
        let network = self.network.take();
        let network = network.ok_or_else(|| refuse("start", "no network namespace"))?;
        let pidfd = self.pidfd.try_clone().map_err(crate::sys::Errno::from);
        Ok(Started {
            pid: self.pid,
            ended: self.ended,
            pidfd: pidfd.step("keep process descriptor", "")?,
            network,
            mounts: self.mounts.take(),
            net: self.net.take(),
            master: self.master.take(),
        })
    }

    /// Kills the child and waits for its end.
    pub(crate) fn abandon(&mut self) {
        if self.ended.is_none() {
            let _ = process::signal(self.pidfd.as_fd(), abi::SIGKILL);
            self.ended = process::wait(self.pid).ok();
        }
    }
}

fn write_id_maps(plan: &Plan, pid: i32) -> Outcome<()> {
    let Some(map) = plan.id_map else {
        return Ok(());
    };
    let line = format!("0 {} {}\n", map.base, map.size);
    for file in ["uid_map", "gid_map"] {
        fs::write_text(At::Cwd, &format!("/proc/{pid}/{file}"), &line)
            .step("map ids", format_args!("{file}: {}", line.trim()))?;
    }
    Ok(())
}

/// Written by the shim: a value below the shim's own must not be reachable from inside.
fn set_oom_score(plan: &Plan, default: Option<i32>, pid: i32) -> Outcome<()> {
    let Some(score) = plan.process.oom_score_adj.or(default) else {
        return Ok(());
    };
    fs::write_text(
        At::Cwd,
        &format!("/proc/{pid}/oom_score_adj"),
        &score.to_string(),
    )
    .step("set oom score", score)
}
