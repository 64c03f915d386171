//! What happens by itself: timers, the health check, the network's part of a reload.

use std::os::fd::AsFd;

use super::exec::Owner;
use super::health::Health;
use super::probe::{Probe, Progress};
use super::shim::{Foreign, Pause, Shim, Stage, keep_plan};
use crate::fault::{Outcome, Step, refuse};
use crate::net::{Discovery, NetService};
use crate::sys::fs::{self, At};
use crate::sys::{abi, poll, process};
use crate::wire::codec::Reader;
use crate::wire::control::Exec;
use crate::wire::netplan::NetPlan;
use crate::wire::plan::HealthTest;

/// How often the freezer is looked at while it works.
const FREEZE_STEP_MS: u64 = 2;

impl Shim {
    /// When something is due next.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        let mut due = vec![self.log.due_ms()];
        due.push(self.remains.as_ref().map(|remains| remains.due_ms));
        match &self.stage {
            Stage::Waiting { due_ms } => due.push(Some(*due_ms)),
            Stage::Running(run) => {
                due.push(run.kill_at_ms);
                let check = run.health.as_ref().filter(|_| run.may_be_checked());
                if let Some(Foreign::Ended { until_ms }) = run.foreign {
                    due.push(Some(until_ms));
                }
                due.push(run.probe_until_ms.or(check.map(Health::due_ms)));
                if let Pause::Freezing { .. } = run.pause {
                    due.push(Some(poll::monotonic_ms() + FREEZE_STEP_MS));
                }
            }
            _ => {}
        }
        due.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self, now: u64) {
        if self.log.due_ms().is_some_and(|due| due <= now) {
            self.log.flush();
        }
        if self
            .remains
            .as_ref()
            .is_some_and(|remains| remains.due_ms <= now)
        {
            self.clear_remains();
        }
        if let Stage::Waiting { due_ms } = self.stage
            && due_ms <= now
        {
            self.begin_start();
        }
        if let Some(run) = self.running_mut()
            && run.kill_at_ms.is_some_and(|due| due <= now)
        {
            run.kill_at_ms = Some(u64::MAX);
            let _ = process::signal(run.pidfd.as_fd(), abi::SIGKILL);
        }
        if let Some(Foreign::Ended { until_ms }) = self.running().and_then(|run| run.foreign)
            && until_ms <= now
        {
            self.on_foreign_end(now);
        }
        self.look_at_freezer(now);
        self.look_at_health(now);
    }

    fn look_at_health(&mut self, now: u64) {
        let Some(run) = self.running() else { return };
        let Some(health) = &run.health else { return };
        match run.probe_until_ms {
            Some(until) if until <= now => {
                for job in self
                    .jobs
                    .iter_mut()
                    .filter(|job| job.owner == Owner::Health)
                {
                    job.owner = Owner::Nobody;
                    let _ = job.signal(abi::SIGKILL);
                }
                self.health_result(false);
            }
            Some(_) => {}
            None if health.due_ms() <= now && run.may_be_checked() => {
                let until = now
                    + self
                        .plan
                        .health
                        .as_ref()
                        .map_or(0, |rules| rules.timeout_ms);
                if let Some(run) = self.running_mut() {
                    run.probe_until_ms = Some(until);
                }
                if self.begin_check().is_err() {
                    self.health_result(false);
                }
            }
            None => {}
        }
    }

    fn begin_check(&mut self) -> Outcome<()> {
        let Some(rules) = &self.plan.health else {
            return Ok(());
        };
        let (port, path) = match &rules.test {
            HealthTest::Exec { argv } => {
                let exec = Exec {
                    argv: argv.clone(),
                    env: self.plan.process.env.clone(),
                    cwd: String::new(),
                    user: None,
                    tty: false,
                    rows: 0,
                    cols: 0,
                };
                let null =
                    || fs::open(At::Cwd, "/dev/null", abi::O_RDWR, 0).step("open /dev/null", "");
                return self.begin_job(&exec, &[null()?, null()?, null()?], Owner::Health);
            }
            HealthTest::Tcp { port } => (*port, None),
            HealthTest::Http { port, path } => (*port, Some(path.clone())),
        };
        let Stage::Running(run) = &mut self.stage else {
            return Ok(());
        };
        let probe = Probe::begin(run.network.as_fd(), port, path.as_deref())?;
        run.probe = Some(probe.ok_or_else(|| refuse("check health", "nobody listens"))?);
        Ok(())
    }

    /// The socket of a network check is ready.
    pub(super) fn on_probe(&mut self) {
        let Some(run) = self.running_mut() else {
            return;
        };
        let Some(probe) = &mut run.probe else { return };
        if let Progress::Done(success) = probe.advance(run.network.as_fd()) {
            self.health_result(success);
        }
    }

    /// A try of the health check has ended.
    pub(super) fn health_result(&mut self, success: bool) {
        let Stage::Running(run) = &mut self.stage else {
            return;
        };
        run.probe = None;
        run.probe_until_ms = None;
        if let (Some(health), Some(rules)) = (&mut run.health, &self.plan.health) {
            health.finish(rules, success, poll::monotonic_ms());
        }
        let before = self.record.status.clone();
        self.show_health();
        self.update_ready();
        if self.record.status != before {
            self.record.publish();
        }
    }

    /// Brings names and address map up to date. A start that has not opened them yet reads them
    /// later, and where no program runs nobody uses them.
    pub(super) fn settle_network(&mut self) -> Outcome<()> {
        let service = match &mut self.stage {
            Stage::Starting(launch) => launch.net.as_mut(),
            Stage::Running(run) => run.net.as_mut(),
            Stage::Waiting { .. } | Stage::Over => None,
        };
        service
            .map_or(Ok(()), NetService::settle)
            .step("change the address map", "")
    }

    /// Reads the network's files again, or takes a new network plan for the same interfaces.
    pub(super) fn reload_network(&mut self, net: Option<Vec<u8>>) -> Outcome<()> {
        let step = "reload network";
        let Some(bytes) = net else {
            let service = self.running_mut().and_then(|run| run.net.as_mut());
            service.map_or(Ok(()), NetService::reload).step(step, "")?;
            // Its own word may have been lost with the files.
            self.update_ready();
            self.record.publish();
            return Ok(());
        };
        let plan = NetPlan::decode(&mut Reader::new(&bytes));
        let plan = plan.map_err(|error| refuse(step, error))?;
        let interfaces = |plan: &NetPlan| -> Vec<_> {
            plan.attachments
                .iter()
                .map(|a| (a.host_if.clone(), a.address, a.prefix))
                .collect()
        };
        let before = self.net.as_ref().map(interfaces).unwrap_or_default();
        if self.running().is_some() && before != interfaces(&plan) {
            return Err(refuse(
                step,
                "interfaces change only when the program is started",
            ));
        }
        let other_ports = |now: &NetPlan| NetPlan {
            ports: plan.ports.clone(),
            ..now.clone()
        };
        let same = self
            .net
            .as_ref()
            .is_some_and(|now| other_ports(now) == plan);
        if let Stage::Running(run) = &mut self.stage
            && let (true, Some(service)) = (same, &mut run.net)
        {
            // Its names and its address map stay.
            service.change_ports(&plan).step(step, "")?;
        } else if let Stage::Running(run) = &mut self.stage {
            // The old one first: it holds the same ports.
            run.net = None;
            let discovery = Discovery::of(&self.plan, &plan.service);
            let service = NetService::open(&plan, discovery, run.network.as_fd());
            run.net = Some(service.step(step, "")?);
        }
        self.net = Some(plan);
        self.plan.net = Some(bytes);
        keep_plan(&self.plan)?;
        self.update_ready();
        self.record.publish();
        Ok(())
    }
}
