//! How a replica moves from one phase of its life to the next: started, ended, started again.

use super::health::Health;
use super::record;
use super::restart;
use super::send_report;
use super::shim::{Pause, Remains, Run, Shim, Stage};
use crate::fault::{Outcome, refuse};
use crate::start::{Launch, Started};
use crate::sys::process::{self, Ended};
use crate::sys::socket::give_away;
use crate::sys::{abi, poll};
use crate::wire::control::Response;
use crate::wire::report::{Failure, Report};
use crate::wire::status::{HealthState, Phase, ProcessId};

/// How long the kernel has to take an ended run down by itself.
const REMAINS_MS: u64 = 200;

impl Shim {
    /// Begins a start of the program.
    pub(super) fn begin_start(&mut self) {
        self.clear_remains();
        let status = &mut self.record.status;
        status.generation += 1;
        status.phase = Phase::Starting;
        status.next_start_ns = 0;
        status.error.clear();
        status.health = HealthState::None;
        status.failing_streak = 0;
        match self.launch_child() {
            Ok(launch) => {
                self.record.status.init = record::id_of(launch.pid);
                self.stage = Stage::Starting(Box::new(launch));
                self.record.publish();
            }
            Err(failure) => self.start_failed(failure),
        }
    }

    fn launch_child(&mut self) -> Outcome<Launch> {
        if !self.has_cgroups {
            self.cgroups.create()?;
            self.has_cgroups = true;
        }
        self.oom_before = self.cgroups.oom_kills();
        self.streams.renew_input(&self.plan, &self.run_dir)?;
        Launch::begin(self.source())
    }

    /// The child of a start has said something.
    pub(super) fn on_launch(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let Stage::Starting(mut launch) = stage else {
            self.stage = stage;
            return;
        };
        match launch.advance(self.source()) {
            Ok(Some(started)) => self.started(started),
            Ok(None) => self.stage = Stage::Starting(launch),
            Err(failure) => {
                launch.abandon();
                drop(launch);
                self.start_failed(failure);
            }
        }
    }

    fn started(&mut self, started: Started) {
        let now = poll::monotonic_ms();
        let ended = started.ended;
        self.streams.set_terminal(started.master);
        let health = self
            .plan
            .health
            .as_ref()
            .map(|rules| Health::begin(rules, now));
        self.stage = Stage::Running(Box::new(Run {
            pid: started.pid,
            id: self.record.status.init,
            pidfd: started.pidfd,
            foreign: None,
            network: started.network,
            mounts: started.mounts,
            net: started.net,
            begun_ms: now,
            kill_at_ms: None,
            health,
            probe: None,
            probe_until_ms: None,
            pause: Pause::No,
        }));
        let status = &mut self.record.status;
        status.phase = Phase::Running;
        status.started_ns = poll::wall_ns();
        self.show_health();
        self.update_ready();
        self.record.publish();
        self.report_started();
        for waiter in std::mem::take(&mut self.starters) {
            self.control.answer(waiter, &Response::Done);
        }
        if let Some(ended) = ended {
            self.run_ended(Some(ended));
        }
    }

    /// Tells the launcher that all is well.
    pub(super) fn report_started(&mut self) {
        if let Some(report) = self.report.take() {
            let Some(init) = u32::try_from(self.running().map_or(0, |run| run.pid)).ok() else {
                return;
            };
            let shim_pid = process::own_pid();
            send_report(
                &report,
                &Report::Started {
                    shim_pid,
                    init_pid: init,
                },
            );
        }
    }

    /// A start has failed: the first one ends the shim, a later one counts as a run.
    pub(super) fn start_failed(&mut self, failure: Failure) {
        self.streams.drain(&mut self.log);
        self.teardown_network();
        if let Some(report) = self.report.take() {
            let code = failure.exit_code;
            let cleaned = self.clean_up();
            let mut failure = failure;
            if let Err(left) = cleaned {
                failure.detail = format!("{} (and then: {left})", failure.detail);
            }
            send_report(&report, &Report::Failed(failure));
            self.stage = Stage::Over;
            self.done = Some(code);
            return;
        }
        let status = &mut self.record.status;
        status.error = failure.to_string();
        status.exit_code = Some(failure.exit_code);
        status.signal = 0;
        status.finished_ns = poll::wall_ns();
        let asked = std::mem::take(&mut self.starters);
        for waiter in &asked {
            self.control.refuse(*waiter, failure.clone());
        }
        self.after_end(0, asked.is_empty(), Phase::Failed);
    }

    /// The program has ended; `None` when how it ended cannot be learnt.
    pub(super) fn run_ended(&mut self, ended: Option<Ended>) {
        let Stage::Running(run) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return;
        };
        let uptime_ms = poll::monotonic_ms().saturating_sub(run.begun_ms);
        self.streams.drain(&mut self.log);
        if let Pause::Freezing { waiter, .. } = run.pause {
            self.control
                .refuse_phase(waiter, "pause", "the replica has ended");
        }
        let mut net = run.net;
        if let Some(net) = &mut net {
            let _ = net.set_ready(false);
        }
        self.note_end(ended, uptime_ms);
        // After everybody knows. The kernel takes the interfaces down with the network namespace,
        // which nobody holds any more; whoever does so earlier waits for its grace periods.
        if let Some(net) = net {
            give_away(net.leave());
        }
        if let Some(Err(error)) = self.net.as_ref().map(crate::net::after_end) {
            self.record.status.error = format!("take down network: {error}");
            self.record.publish();
        }
        self.remains = Some(Remains {
            due_ms: poll::monotonic_ms() + REMAINS_MS,
            mounts: run.mounts,
        });
    }

    /// Removes what an ended run has left, unless the kernel has done so by itself.
    pub(super) fn clear_remains(&mut self) {
        if let Some(remains) = self.remains.take() {
            drop(remains.mounts);
            self.teardown_network();
        }
    }

    /// The child of a start was killed by request.
    pub(super) fn stopped_while_starting(&mut self) {
        if self.report.is_some() {
            let stoppers = std::mem::take(&mut self.stoppers);
            self.start_failed(refuse("start", "the replica was stopped meanwhile"));
            for waiter in stoppers {
                let exit_code = None;
                self.control
                    .answer(waiter, &Response::Stopped { exit_code });
            }
            return;
        }
        for waiter in std::mem::take(&mut self.starters) {
            self.control
                .refuse_phase(waiter, "start", "the replica was stopped meanwhile");
        }
        self.streams.drain(&mut self.log);
        self.teardown_network();
        let signal = abi::SIGKILL;
        let code = 128 + signal.cast_signed();
        self.note_end(Some(Ended { code, signal }), 0);
    }

    /// The program of a dead shim has ended, when and perhaps how nobody has seen.
    pub(super) fn ended_unseen(&mut self, ended: Option<Ended>) {
        self.streams.drain(&mut self.log);
        self.teardown_network();
        let status = &self.record.status;
        let uptime_ms = poll::wall_ns().saturating_sub(status.started_ns) / 1_000_000;
        self.note_end(ended, uptime_ms);
    }

    fn note_end(&mut self, ended: Option<Ended>, uptime_ms: u64) {
        let oom_killed = self.cgroups.oom_kills() > self.oom_before;
        let status = &mut self.record.status;
        status.exit_code = ended.map(|ended| ended.code);
        status.exit_unknown = ended.is_none();
        status.signal = ended.map_or(0, |ended| ended.signal);
        status.oom_killed = oom_killed;
        status.finished_ns = poll::wall_ns();
        self.after_end(uptime_ms, true, Phase::Exited);
    }

    /// Decides what comes after an end.
    fn after_end(&mut self, uptime_ms: u64, may_restart: bool, last: Phase) {
        let status = &mut self.record.status;
        status.init = ProcessId::default();
        status.ready = false;
        let policy = self.plan.restart;
        let wanted = may_restart
            && !status.stop_requested
            && restart::is_wanted(policy, status.exit_code, status.restarts);
        if wanted {
            let wait_ms = self.back_off.next(uptime_ms);
            status.restarts += 1;
            status.phase = Phase::Restarting;
            status.next_start_ns = poll::wall_ns() + wait_ms * 1_000_000;
            self.stage = Stage::Waiting {
                due_ms: poll::monotonic_ms() + wait_ms,
            };
            self.record.publish();
        } else {
            self.over(last);
        }
    }

    /// Nothing more happens by itself.
    pub(super) fn over(&mut self, phase: Phase) {
        self.stage = Stage::Over;
        self.record.status.phase = phase;
        self.record.status.next_start_ns = 0;
        self.record.publish_durably();
        let exit_code = self.record.status.exit_code;
        for waiter in std::mem::take(&mut self.stoppers) {
            self.control
                .answer(waiter, &Response::Stopped { exit_code });
        }
    }

    fn teardown_network(&mut self) {
        if let Some(net) = &self.net
            && let Err(error) = crate::net::host_teardown(net)
        {
            self.record.status.error = format!("take down network: {error}");
            self.record.publish();
        }
    }

    /// Copies the health check's state to the status.
    pub(super) fn show_health(&mut self) {
        let seen = self.running().and_then(|run| run.health.as_ref());
        let (state, streak) = seen.map_or((HealthState::None, 0), |h| (h.state, h.streak));
        self.record.status.health = state;
        self.record.status.failing_streak = streak;
    }

    /// Publishes the replica as an endpoint, or withdraws it, as its state demands.
    pub(super) fn update_ready(&mut self) {
        let drained = self.drained;
        let Some(run) = self.running_mut() else {
            return;
        };
        let healthy = run
            .health
            .as_ref()
            .is_none_or(|h| h.state == HealthState::Healthy);
        let wanted = run.kill_at_ms.is_none() && !drained;
        let ready = healthy && wanted && matches!(run.pause, Pause::No);
        let told = run.net.as_mut().map_or(Ok(()), |net| net.set_ready(ready));
        if let Err(error) = told {
            self.record.status.error = format!("publish endpoint: {error}");
        }
        self.record.status.ready = ready;
    }
}
