//! The shim's state, and how it moves from one phase of the replica's life to the next.

use std::os::fd::{AsFd, OwnedFd, RawFd};

use super::control::{self, Control, Waiter};
use super::exec::Job;
use super::health::Health;
use super::log::Log;
use super::probe::Probe;
use super::record::{self, Record};
use super::restart::{self, BackOff};
use super::streams::Streams;
use super::{daemon, send_report};
use crate::fault::{Outcome, Step, failure, refuse};
use crate::net::NetService;
use crate::start::cgroup::Cgroups;
use crate::start::{Launch, Source, Started, stdio};
use crate::sys::fs::{self, At};
use crate::sys::process::{self, Ended};
use crate::sys::{Errno, abi, poll};
use crate::wire::codec::Reader;
use crate::wire::control::Response;
use crate::wire::netplan::NetPlan;
use crate::wire::plan::{Plan, Restart};
use crate::wire::report::{Failure, Report};
use crate::wire::status::{HealthState, Phase, ProcessId, Status};

/// The kept plan's name in the replica's directory.
pub(super) const PLAN_NAME: &str = "plan";
const LOCK_NAME: &str = "lock";
/// How long a child that lost its shim in the middle of a start may take to notice.
pub(super) const ORPHAN_MS: u64 = 500;

/// A run of the program.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) pid: i32,
    pub(super) id: ProcessId,
    pub(super) pidfd: OwnedFd,
    /// Not a child of this shim but begun by one that has died.
    pub(super) foreign: Option<Foreign>,
    pub(super) network: OwnedFd,
    pub(super) net: Option<NetService>,
    pub(super) begun_ms: u64,
    /// When the program is killed, if it was asked to end.
    pub(super) kill_at_ms: Option<u64>,
    pub(super) health: Option<Health>,
    pub(super) probe: Option<Probe>,
    /// When a try of the health check under way has taken too long.
    pub(super) probe_until_ms: Option<u64>,
    pub(super) pause: Pause,
}

/// How far the end of a program is known that this shim cannot wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    Running,
    /// Ended, not collected by its parent yet: only then the kernel tells how it ended.
    Ended {
        until_ms: u64,
    },
}

impl Run {
    /// Whether a health check makes sense now.
    pub(super) fn may_be_checked(&self) -> bool {
        self.kill_at_ms.is_none() && matches!(self.pause, Pause::No)
    }
}

/// Whether the program's processes may run.
#[derive(Debug)]
pub(super) enum Pause {
    No,
    Freezing { until_ms: u64, waiter: Waiter },
    Frozen,
}

/// Where the replica is, with what belongs to that.
#[derive(Debug)]
pub(super) enum Stage {
    Starting(Box<Launch>),
    Running(Box<Run>),
    /// Ended; the next start is due.
    Waiting {
        due_ms: u64,
    },
    Over,
}

/// Everything.
#[derive(Debug)]
pub(super) struct Shim {
    pub(super) plan: Plan,
    pub(super) net: Option<NetPlan>,
    pub(super) cgroups: Cgroups,
    pub(super) run_dir: OwnedFd,
    pub(super) record: Record,
    pub(super) log: Log,
    pub(super) control: Control,
    pub(super) children: OwnedFd,
    pub(super) streams: Streams,
    pub(super) stage: Stage,
    pub(super) jobs: Vec<Job>,
    /// Ends of processes that no job has claimed yet.
    pub(super) strays: Vec<(i32, Ended)>,
    pub(super) restart: Restart,
    pub(super) back_off: BackOff,
    /// Who waits for the end of the replica.
    pub(super) stoppers: Vec<Waiter>,
    /// Who waits for the start of the program.
    pub(super) starters: Vec<Waiter>,
    /// The launcher, until the first start has ended.
    pub(super) report: Option<OwnedFd>,
    pub(super) oom_score_adj: Option<i32>,
    pub(super) oom_before: u64,
    /// Whether the cgroups have been made, or are known to be there.
    pub(super) has_cgroups: bool,
    pub(super) done: Option<i32>,
    /// Held for life: tells others that this shim is there.
    _lock: OwnedFd,
}

impl Shim {
    /// Makes everything that exists once per replica and begins the first start.
    pub(super) fn start(plan: Plan, report: OwnedFd) -> Result<Self, (Failure, OwnedFd)> {
        let mut shim = match Self::open(plan, Fresh::Yes) {
            Ok(shim) => shim,
            Err(failure) => return Err((failure, report)),
        };
        shim.report = Some(report);
        match shim.keep_plan() {
            Ok(()) => shim.begin_start(),
            Err(failure) => shim.start_failed(failure),
        }
        Ok(shim)
    }

    /// Opens the replica's files, takes its lock, and listens.
    pub(super) fn open(plan: Plan, fresh: Fresh) -> Outcome<Self> {
        let run_dir = stdio::open_run_dir(&plan.run_dir)?;
        let lock = take_lock(&run_dir, &plan.run_dir)?;
        let run = run_dir
            .try_clone()
            .map_err(Errno::from)
            .step("open run directory", "")?;
        let opened = Self::open_files(plan, fresh, run_dir, lock);
        if opened.is_err() && fresh == Fresh::Yes {
            remove_files(&run);
        }
        opened
    }

    fn open_files(plan: Plan, fresh: Fresh, run_dir: OwnedFd, lock: OwnedFd) -> Outcome<Self> {
        let net = plan
            .net
            .as_ref()
            .map(|bytes| NetPlan::decode(&mut Reader::new(bytes)));
        let net = net
            .transpose()
            .map_err(|error| refuse("read network plan", error))?;
        let flags = abi::O_RDONLY | abi::O_DIRECTORY;
        let dir = fs::open(At::Cwd, &plan.replica_dir, flags, 0)
            .step("open replica directory", &plan.replica_dir)?;
        let children = daemon::child_signals()?;
        let mut record = Record::open(&run_dir)?;
        record.status.shim = record::own_id();
        match fresh {
            Fresh::Yes => {
                refuse_if_alive(&record, &plan)?;
                record.status = Status {
                    sequence: record.status.sequence,
                    shim: record.status.shim,
                    boot_id: record::boot_id(),
                    ..Default::default()
                };
                record.publish();
                stdio::create(&plan, &run_dir)?;
            }
            // The dead shim may not have come that far.
            Fresh::No if !stdio::exist(&plan, &run_dir) => stdio::create(&plan, &run_dir)?,
            Fresh::No => {}
        }
        let streams = Streams::new(stdio::open_shim_ends(&plan, &run_dir)?);
        let control = Control::open(&run_dir, &plan.run_dir)?;
        let log = Log::open(dir, plan.log)?;
        let cgroups = Cgroups::new(plan.cgroups.clone());
        Ok(Self {
            restart: plan.restart,
            net,
            cgroups,
            run_dir,
            record,
            log,
            control,
            children,
            streams,
            stage: Stage::Over,
            jobs: Vec::new(),
            strays: Vec::new(),
            back_off: BackOff::default(),
            stoppers: Vec::new(),
            starters: Vec::new(),
            report: None,
            oom_score_adj: daemon::spare_from_oom(),
            oom_before: 0,
            has_cgroups: false,
            done: None,
            plan,
            _lock: lock,
        })
    }

    /// Keeps the plan where a successor finds it.
    pub(super) fn keep_plan(&self) -> Outcome<()> {
        let flags = abi::O_RDONLY | abi::O_DIRECTORY;
        let dir = fs::open(At::Cwd, &self.plan.replica_dir, flags, 0);
        let dir = dir.step("keep plan", &self.plan.replica_dir)?;
        let flags = abi::O_CREAT | abi::O_TRUNC | abi::O_WRONLY | abi::O_NOFOLLOW;
        let file = fs::open(At::from(&dir), "plan.new", flags, 0o600).step("keep plan", "open")?;
        fs::write_all(file.as_fd(), &self.plan.encode()).step("keep plan", "write")?;
        fs::rename(At::from(&dir), "plan.new", PLAN_NAME).step("keep plan", "rename")
    }

    /// Whether the loop is to end.
    pub(super) fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// The process's exit code.
    pub(super) fn exit_code(&self) -> i32 {
        self.done.unwrap_or(0)
    }

    /// The start under way.
    pub(super) fn launch(&self) -> Option<&Launch> {
        match &self.stage {
            Stage::Starting(launch) => Some(launch),
            _ => None,
        }
    }

    /// The run under way.
    pub(super) fn running(&self) -> Option<&Run> {
        match &self.stage {
            Stage::Running(run) => Some(run),
            _ => None,
        }
    }

    /// The run under way.
    pub(super) fn running_mut(&mut self) -> Option<&mut Run> {
        match &mut self.stage {
            Stage::Running(run) => Some(run),
            _ => None,
        }
    }

    /// Whether there may be output to read.
    pub(super) fn has_output(&self) -> bool {
        matches!(self.stage, Stage::Starting(_) | Stage::Running(_))
    }

    /// The name service's descriptors.
    pub(super) fn net_fds(&self) -> &[RawFd] {
        self.running()
            .and_then(|run| run.net.as_ref())
            .map_or(&[], NetService::fds)
    }

    fn source(&self) -> Source<'_> {
        Source {
            plan: &self.plan,
            net: self.net.as_ref(),
            cgroups: &self.cgroups,
            run: &self.run_dir,
            oom_score_adj: self.oom_score_adj,
        }
    }

    /// Begins a start of the program.
    pub(super) fn begin_start(&mut self) {
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
        if let Some(mut net) = run.net {
            let _ = net.set_ready(false);
        }
        self.teardown_network();
        self.note_end(ended, uptime_ms);
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
        let policy = self.restart;
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
        let Some(run) = self.running_mut() else {
            return;
        };
        let healthy = run
            .health
            .as_ref()
            .is_none_or(|h| h.state == HealthState::Healthy);
        let ready = healthy && run.kill_at_ms.is_none() && matches!(run.pause, Pause::No);
        let told = run.net.as_mut().map_or(Ok(()), |net| net.set_ready(ready));
        if let Err(error) = told {
            self.record.status.error = format!("publish endpoint: {error}");
        }
        self.record.status.ready = ready;
    }

    /// Removes what the shim has made outside of the replica's directory.
    pub(super) fn clean_up(&mut self) -> Outcome<()> {
        let result = self.cgroups.remove();
        if result.is_ok() || self.report.is_some() {
            remove_files(&self.run_dir);
        }
        result
    }
}

/// Whether the replica's files are made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fresh {
    Yes,
    No,
}

/// A replica that still runs is adopted, never started a second time.
fn refuse_if_alive(record: &Record, plan: &Plan) -> Outcome<()> {
    let status = &record.status;
    if status.boot_id != record::boot_id() {
        return Ok(());
    }
    match record::open_process(status.init) {
        Some(pidfd) if !record::ends_within(&pidfd, ORPHAN_MS) => Err(refuse(
            "start",
            format_args!("{} runs without a shim and has to be adopted", plan.replica),
        )),
        _ => Ok(()),
    }
}

/// Removes everything that a shim makes in the run directory; the lock goes last.
fn remove_files(run: &OwnedFd) {
    stdio::remove(run);
    control::remove(run);
    for name in [record::NAME, LOCK_NAME] {
        let _ = fs::unlink(At::from(run), name);
    }
}

fn take_lock(run: &OwnedFd, path: &str) -> Outcome<OwnedFd> {
    let step = "lock run directory";
    for _ in 0..16 {
        let flags = abi::O_CREAT | abi::O_RDWR | abi::O_NOFOLLOW;
        let lock = fs::open(At::from(run), LOCK_NAME, flags, 0o600).step(step, path)?;
        match fs::lock(lock.as_fd()) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                return Err(refuse(step, format_args!("another shim supervises {path}")));
            }
            Err(errno) => return Err(failure(step, errno, path)),
        }
        // A shim that has just quit may have removed the file between the two calls.
        let held = fs::stat(lock.as_fd()).step(step, path)?;
        if fs::stat_at(At::from(run), LOCK_NAME).is_ok_and(|named| named.ino == held.ino) {
            return Ok(lock);
        }
    }
    Err(refuse(step, format_args!("{path} is being removed")))
}
