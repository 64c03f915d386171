//! Taking over a replica whose shim has died.
//!
//! The status record says what was, the kernel says what is. A program that still runs is
//! supervised again from here on; one that ended meanwhile has ended in an unknown way.

use std::os::fd::{AsFd, OwnedFd};

use super::health::Health;
use super::record;
use super::restart::BackOff;
use super::shim::{Foreign, Fresh, ORPHAN_MS, Pause, Run, Shim, Stage};
use crate::fault::{Outcome, Step};
use crate::init;
use crate::net::{Discovery, NetService};
use crate::sys::abi;
use crate::sys::fs::{self, At};
use crate::sys::poll;
use crate::sys::process::{self, Ended};
use crate::wire::plan::Plan;
use crate::wire::report::Failure;
use crate::wire::status::Phase;

/// Adopts the replica of a plan; the report says what was found.
pub(super) fn adopt(plan: Plan, report: OwnedFd) -> Result<Shim, (Failure, OwnedFd)> {
    let mut shim = match Shim::open(plan, Fresh::No) {
        Ok(shim) => shim,
        Err(failure) => return Err((failure, report)),
    };
    let taken = shim.take_over();
    shim.report = Some(report);
    match taken {
        Ok(()) => {
            shim.report_started();
            Ok(shim)
        }
        // The replica itself is left as it is: a later attempt may succeed.
        Err(failure) => match shim.report.take() {
            Some(report) => Err((failure, report)),
            None => Ok(shim),
        },
    }
}

impl Shim {
    fn take_over(&mut self) -> Outcome<()> {
        let before = self.record.status.phase;
        self.back_off = BackOff::after(self.record.status.restarts);
        let same_boot = self.record.status.boot_id == record::boot_id();
        let init = self.record.status.init;
        let pidfd = same_boot.then(|| record::open_process(init)).flatten();
        let pidfd = pidfd.filter(|pidfd| !has_ended(pidfd, before));
        self.record.status.boot_id = record::boot_id();
        match pidfd {
            Some(pidfd) => self.resume_run(pidfd),
            None => {
                let ended = if same_boot {
                    record::zombie_end(init)
                } else {
                    None
                };
                self.pick_up_the_pieces(before, ended);
                Ok(())
            }
        }
    }

    /// The program still runs.
    fn resume_run(&mut self, pidfd: OwnedFd) -> Outcome<()> {
        let pid = self.record.status.init.pid.cast_signed();
        let namespace = |kind: &str| {
            let path = format!("/proc/{pid}/ns/{kind}");
            fs::open(At::Cwd, &path, abi::O_RDONLY, 0).step("open namespace", path)
        };
        let (network, mounts) = (namespace("net")?, namespace("mnt")?);
        let net = match &self.net {
            Some(net) => {
                let discovery = Discovery::of(&self.plan, &net.service);
                let service = NetService::open(net, discovery, network.as_fd());
                Some(service.step("open name service", "")?)
            }
            None => None,
        };
        if self.plan.process.tty && self.plan.init {
            let master = process::foreign_fd(pidfd.as_fd(), init::TERMINAL);
            self.streams
                .set_terminal(Some(master.step("take over terminal", "")?));
        }
        let now = poll::monotonic_ms();
        let stopping = self.record.status.stop_requested;
        let frozen = self.cgroups.is_frozen();
        let seen = (self.record.status.health, self.record.status.failing_streak);
        let health = self
            .plan
            .health
            .is_some()
            .then(|| Health::resume(now, seen));
        self.has_cgroups = true;
        self.stage = Stage::Running(Box::new(Run {
            pid,
            id: self.record.status.init,
            pidfd,
            foreign: Some(Foreign::Running),
            network,
            mounts: Some(mounts),
            net,
            begun_ms: now,
            kill_at_ms: stopping.then(|| now + self.plan.stop_grace_ms),
            health,
            probe: None,
            probe_until_ms: None,
            pause: if frozen { Pause::Frozen } else { Pause::No },
        }));
        let status = &mut self.record.status;
        status.phase = match (stopping, frozen) {
            (true, _) => Phase::Stopping,
            (false, true) => Phase::Paused,
            (false, false) => Phase::Running,
        };
        if status.started_ns == 0 {
            status.started_ns = poll::wall_ns();
        }
        self.show_health();
        self.update_ready();
        self.record.publish();
        Ok(())
    }

    /// The program does not run: go on where the dead shim would have.
    fn pick_up_the_pieces(&mut self, before: Phase, ended: Option<Ended>) {
        match before {
            Phase::Exited | Phase::Failed => self.over(before),
            Phase::Restarting => {
                self.stage = Stage::Waiting {
                    due_ms: poll::monotonic_ms(),
                };
                self.record.publish();
            }
            _ => self.ended_unseen(ended),
        }
    }
}

/// Whether the process has ended already; a child left in the middle of its start sees the
/// closed socket and ends soon.
fn has_ended(pidfd: &OwnedFd, before: Phase) -> bool {
    let in_start = matches!(before, Phase::Creating | Phase::Starting);
    let patience = if in_start { ORPHAN_MS } else { 0 };
    record::ends_within(pidfd, patience)
}
