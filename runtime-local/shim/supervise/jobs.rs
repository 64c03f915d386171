//! Children of the shim: the replica's program, helpers, and programs run inside.

use std::os::fd::{AsFd, OwnedFd};

use super::control::{self, Waiter};
use super::exec::{Job, Owner, Place};
use super::record;
use super::shim::{Foreign, Pause, Shim, Stage};
use crate::fault::{Outcome, refuse};
use crate::sys::process::{self, Ended};
use crate::sys::{abi, poll};
use crate::wire::control::{Exec, Response};

/// How long the parent of a foreign program may take to collect it.
const COLLECT_MS: u64 = 1_000;

impl Shim {
    /// Runs another program inside for a client.
    pub(super) fn exec(&mut self, waiter: Waiter, exec: &Exec, fds: &[OwnedFd]) {
        // Whoever has given up has been told that it failed.
        if self.control.is_gone(waiter) {
            return;
        }
        match self.running().map(|run| &run.pause) {
            Some(Pause::No) => {}
            Some(_) => {
                return self
                    .control
                    .refuse_phase(waiter, "exec", "the replica is paused");
            }
            None => {
                return self
                    .control
                    .refuse_phase(waiter, "exec", "the program does not run");
            }
        }
        if let Err(failure) = self.begin_job(exec, fds, Owner::Client(waiter)) {
            self.control.refuse(waiter, failure);
        }
    }

    /// Begins a job; its end is told to its owner.
    pub(super) fn begin_job(
        &mut self,
        exec: &Exec,
        streams: &[OwnedFd],
        owner: Owner,
    ) -> Outcome<()> {
        let Stage::Running(run) = &self.stage else {
            return Err(refuse("exec", "the program does not run"));
        };
        let place = Place {
            plan: &self.plan,
            cgroups: &self.cgroups,
            init: run.pidfd.as_fd(),
            oom_score_adj: self.oom_score_adj,
        };
        self.jobs.push(Job::begin(place, exec, streams, owner)?);
        Ok(())
    }

    /// Sends a signal to a program begun by `exec`.
    pub(super) fn signal_exec(&mut self, waiter: Waiter, pid: u32, signal: u32) {
        let job = self
            .jobs
            .iter()
            .find(|job| job.pid == i32::try_from(pid).ok());
        let Some(job) = job else {
            return self
                .control
                .refuse_phase(waiter, "signal", "no such program");
        };
        let result = control::outcome(job.signal(signal), "signal", &pid.to_string());
        self.control.answer_result(waiter, result);
    }

    /// Children have ended.
    pub(super) fn on_children(&mut self) {
        poll::drain_signals(self.children.as_fd());
        while let Ok(Some((pid, ended))) = process::reap(-1) {
            self.on_child(pid, ended);
        }
    }

    fn on_child(&mut self, pid: i32, ended: Ended) {
        match &mut self.stage {
            Stage::Starting(launch) if launch.pid == pid => {
                launch.ended = Some(ended);
                self.on_launch();
                return;
            }
            Stage::Running(run) if run.pid == pid => return self.run_ended(Some(ended)),
            _ => {}
        }
        for job in &mut self.jobs {
            // Its last words may say which process is whose.
            job.advance();
            if job.pid == Some(pid) {
                job.ended = Some(ended);
                return;
            }
            if job.helper == pid {
                return;
            }
        }
        if self.jobs.iter().any(|job| job.pid.is_none()) {
            self.strays.push((pid, ended));
        }
    }

    /// A program that this shim did not begin has ended, or has been collected by its parent.
    pub(super) fn on_foreign_end(&mut self, now: u64) {
        let Some(run) = self.running_mut() else {
            return;
        };
        let ended = process::exit_info(run.pidfd.as_fd()).or_else(|| record::zombie_end(run.id));
        match run.foreign {
            Some(Foreign::Running) if ended.is_none() => {
                run.foreign = Some(Foreign::Ended {
                    until_ms: now + COLLECT_MS,
                });
            }
            Some(_) => self.run_ended(ended),
            None => {}
        }
    }

    /// The helper or program of a job has said something.
    pub(super) fn on_job(&mut self, index: usize) {
        if let Some(job) = self.jobs.get_mut(index) {
            job.advance();
        }
    }

    /// Tells owners of jobs what they are to know, and forgets those that are over.
    pub(super) fn settle_jobs(&mut self) {
        let mut at = 0;
        while at < self.jobs.len() {
            let job = &mut self.jobs[at];
            if let Some(pid) = job.pid.filter(|_| job.ended.is_none())
                && let Some(stray) = self.strays.iter().position(|(stray, _)| *stray == pid)
            {
                job.ended = Some(self.strays.swap_remove(stray).1);
            }
            if job.sync.is_some() {
                at += 1;
                continue;
            }
            if self.settle(at) {
                self.jobs.remove(at);
            } else {
                at += 1;
            }
        }
        if self.jobs.iter().all(|job| job.pid.is_some()) {
            self.strays.clear();
        }
    }

    /// True when the job is over.
    fn settle(&mut self, at: usize) -> bool {
        let job = &mut self.jobs[at];
        let owner = job.owner;
        if let Some(failure) = job.failure.take() {
            match owner {
                Owner::Client(waiter) => self.control.refuse(waiter, failure),
                Owner::Health => self.health_result(false),
                Owner::Nobody => {}
            }
            return true;
        }
        if let (Owner::Client(waiter), false) = (owner, job.announced) {
            job.announced = true;
            let pid = job.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
            let master = job.master.take();
            let fds: Vec<_> = master.iter().map(AsFd::as_fd).collect();
            let heard = self
                .control
                .answer_with(waiter, &Response::Started { pid }, &fds);
            if !heard {
                let _ = self.jobs[at].signal(abi::SIGKILL);
            }
        }
        let Some(ended) = self.jobs[at].ended else {
            return false;
        };
        match owner {
            Owner::Client(waiter) => {
                let (exit_code, signal) = (ended.code, ended.signal);
                self.control
                    .answer(waiter, &Response::Exited { exit_code, signal });
            }
            Owner::Health => self.health_result(ended.code == 0),
            Owner::Nobody => {}
        }
        true
    }
}
