//! What clients ask for.

use std::os::fd::{AsFd, RawFd};

use super::control::{self, Asked, Waiter};
use super::log::Stream;
use super::restart::BackOff;
use super::shim::{Pause, Shim, Stage, keep_plan};
use crate::sys::{abi, poll, process, tty};
use crate::wire::control::{Request, Response, VERSION};
use crate::wire::plan::Restart;
use crate::wire::status::Phase;

/// How long a freezer may take.
const FREEZE_MS: u64 = 2_000;

impl Shim {
    /// A client has sent something, or has gone.
    pub(super) fn on_client(&mut self, id: u64) {
        while let Some(asked) = self.control.next(id) {
            self.on_request(asked);
        }
    }

    fn on_request(
        &mut self,
        Asked {
            waiter,
            request,
            fds,
        }: Asked,
    ) {
        match request {
            Request::Hello { .. } => {
                let pid = process::own_pid();
                self.control.answer(
                    waiter,
                    &Response::Welcome {
                        version: VERSION,
                        pid,
                    },
                );
            }
            Request::Signal { signal } => self.signal(waiter, signal),
            Request::Stop { signal, grace_ms } => self.stop(waiter, signal, grace_ms),
            Request::Kill => self.stop(waiter, abi::SIGKILL, Some(0)),
            Request::Start => self.start_again(waiter),
            Request::Pause => self.pause(waiter),
            Request::Resume => self.resume(waiter),
            Request::Exec(exec) => self.exec(waiter, &exec, &fds),
            Request::SignalExec { pid, signal } => self.signal_exec(waiter, pid, signal),
            Request::ResizeTty { rows, cols } => self.resize(waiter, rows, cols),
            Request::Reload { net } => {
                let result = self.reload_network(net);
                self.control.answer_result(waiter, result);
            }
            Request::SetRestart { restart } => self.set_restart(waiter, restart),
            Request::Quit => self.quit(waiter),
            Request::Attach { stdin } => self.attach(waiter, stdin),
            Request::CloseStdin => {
                self.streams.close_input();
                self.control.answer(waiter, &Response::Done);
            }
            Request::Drain { drained } => {
                self.drained = drained;
                self.update_ready();
                self.record.publish();
                self.control.answer(waiter, &Response::Done);
            }
            Request::Settle => {
                let result = self.settle_network();
                self.control.answer_result(waiter, result);
            }
        }
    }

    fn signal(&mut self, waiter: Waiter, signal: u32) {
        let Some(run) = self.running() else {
            self.control
                .refuse_phase(waiter, "signal", "the program does not run");
            return;
        };
        let result = process::signal(run.pidfd.as_fd(), signal);
        let result = control::outcome(result, "signal", &signal.to_string());
        self.control.answer_result(waiter, result);
    }

    fn stop(&mut self, waiter: Waiter, signal: u32, grace_ms: Option<u64>) {
        self.record.status.stop_requested = true;
        self.stoppers.push(waiter);
        let signal = if signal == 0 {
            self.plan.stop_signal
        } else {
            signal
        };
        let grace_ms = grace_ms.unwrap_or(self.plan.stop_grace_ms);
        match &mut self.stage {
            Stage::Starting(launch) => {
                launch.abandon();
                self.stopped_while_starting();
            }
            Stage::Waiting { .. } => self.over(Phase::Exited),
            Stage::Over => {
                let phase = self.record.status.phase;
                self.over(phase);
            }
            Stage::Running(run) => {
                let due = poll::monotonic_ms().saturating_add(grace_ms);
                run.kill_at_ms = Some(run.kill_at_ms.map_or(due, |earlier| earlier.min(due)));
                // New connections go elsewhere before the program learns anything.
                self.record.status.phase = Phase::Stopping;
                self.update_ready();
                self.record.publish();
                self.thaw();
                if let Some(run) = self.running() {
                    let _ = process::signal(run.pidfd.as_fd(), signal);
                }
            }
        }
    }

    fn thaw(&mut self) {
        let Some(run) = self.running_mut() else {
            return;
        };
        match std::mem::replace(&mut run.pause, Pause::No) {
            Pause::No => return,
            Pause::Frozen => {}
            Pause::Freezing { waiter, .. } => {
                self.control
                    .refuse_phase(waiter, "pause", "resumed before all processes rested");
            }
        }
        let _ = self.cgroups.freeze(false);
    }

    fn start_again(&mut self, waiter: Waiter) {
        match self.stage {
            Stage::Over | Stage::Waiting { .. } => {
                self.starters.push(waiter);
                self.drained = false;
                let status = &mut self.record.status;
                status.stop_requested = false;
                status.restarts = 0;
                self.back_off = BackOff::default();
                self.begin_start();
            }
            Stage::Starting(_) => self.starters.push(waiter),
            Stage::Running(_) => {
                self.control
                    .refuse_phase(waiter, "start", "the program runs already");
            }
        }
    }

    fn pause(&mut self, waiter: Waiter) {
        match self.running().map(|run| (&run.pause, run.kill_at_ms)) {
            Some((Pause::No, None)) => {}
            Some((Pause::Frozen, _)) => return self.control.answer(waiter, &Response::Done),
            _ => {
                return self
                    .control
                    .refuse_phase(waiter, "pause", "the program does not run");
            }
        }
        if let Err(failure) = self.cgroups.freeze(true) {
            return self.control.refuse(waiter, failure);
        }
        let until_ms = poll::monotonic_ms() + FREEZE_MS;
        if let Some(run) = self.running_mut() {
            run.pause = Pause::Freezing { until_ms, waiter };
        }
        self.update_ready();
        self.look_at_freezer(poll::monotonic_ms());
    }

    /// Whether the freezer is done by now, or has taken too long.
    pub(super) fn look_at_freezer(&mut self, now: u64) {
        let Some(run) = self.running() else { return };
        let Pause::Freezing { until_ms, waiter } = run.pause else {
            return;
        };
        if self.cgroups.is_frozen() {
            if let Some(run) = self.running_mut() {
                run.pause = Pause::Frozen;
            }
            self.record.status.phase = Phase::Paused;
            self.record.publish();
            self.control.answer(waiter, &Response::Done);
        } else if now >= until_ms {
            self.thaw();
            self.update_ready();
            self.record.publish();
        }
    }

    fn resume(&mut self, waiter: Waiter) {
        if self.running().is_none() {
            return self
                .control
                .refuse_phase(waiter, "resume", "the program does not run");
        }
        self.thaw();
        if self.record.status.phase == Phase::Paused {
            self.record.status.phase = Phase::Running;
        }
        self.update_ready();
        self.record.publish();
        self.control.answer(waiter, &Response::Done);
    }

    fn set_restart(&mut self, waiter: Waiter, restart: Restart) {
        self.plan.restart = restart;
        if restart == Restart::No && matches!(self.stage, Stage::Waiting { .. }) {
            self.over(Phase::Exited);
        }
        // A successor goes by the kept plan.
        let kept = keep_plan(&self.plan);
        self.control.answer_result(waiter, kept);
    }

    fn resize(&mut self, waiter: Waiter, rows: u16, cols: u16) {
        match self.streams.terminal() {
            Some(terminal) => {
                let result = tty::resize(terminal, rows, cols);
                let result = control::outcome(result, "resize terminal", "");
                self.control.answer_result(waiter, result);
            }
            None => self
                .control
                .refuse_phase(waiter, "resize terminal", "there is none"),
        }
    }

    fn attach(&mut self, waiter: Waiter, stdin: bool) {
        if self.running().is_none() {
            return self
                .control
                .refuse_phase(waiter, "attach", "the program does not run");
        }
        match self.streams.follow(stdin) {
            Ok(ends) => {
                let mut fds = vec![ends.out.as_fd()];
                fds.extend(ends.err.as_ref().map(AsFd::as_fd));
                self.control.answer_with(waiter, &Response::Attached, &fds);
            }
            Err(failure) => self.control.refuse(waiter, failure),
        }
    }

    fn quit(&mut self, waiter: Waiter) {
        if !matches!(self.stage, Stage::Over) {
            return self
                .control
                .refuse_phase(waiter, "quit", "the replica has not ended");
        }
        match self.clean_up() {
            Ok(()) => {
                self.control.answer(waiter, &Response::Done);
                self.done = Some(0);
            }
            Err(failure) => self.control.refuse(waiter, failure),
        }
    }

    /// Output is there.
    pub(super) fn on_output(&mut self, stream: Stream) {
        if !self.streams.pump(stream, &mut self.log) {
            // A terminal that nobody holds any more; its end has come or is about to.
            self.streams.set_terminal(None);
        }
    }

    /// The name service has something to do.
    pub(super) fn on_net(&mut self, fd: RawFd) {
        if let Some(net) = self.running_mut().and_then(|run| run.net.as_mut()) {
            net.on_ready(fd);
            if let Some(problem) = net.take_problem() {
                self.record.status.error = format!("network: {problem}");
                self.record.publish();
            }
        }
    }
}
