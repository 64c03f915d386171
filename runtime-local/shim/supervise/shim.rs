//! The shim's state and files; `life` moves it from one phase to the next.

use std::os::fd::{AsFd, OwnedFd, RawFd};

use super::control::{self, Control, Waiter};
use super::daemon;
use super::exec::Job;
use super::health::Health;
use super::log::Log;
use super::probe::Probe;
use super::record::{self, Record};
use super::restart::BackOff;
use super::streams::Streams;
use crate::fault::{Outcome, Step, failure, refuse};
use crate::net::NetService;
use crate::start::cgroup::Cgroups;
use crate::start::{Launch, Source, stdio};
use crate::sys::fs::{self, At};
use crate::sys::process::Ended;
use crate::sys::socket::give_away;
use crate::sys::{Errno, abi, poll};
use crate::wire::codec::Reader;
use crate::wire::control::{OLDEST, VERSION};
use crate::wire::netplan::NetPlan;
use crate::wire::plan::Plan;
use crate::wire::report::Failure;
use crate::wire::status::{ProcessId, Status};

/// The kept plan's name in the replica's directory.
pub(super) const PLAN_NAME: &str = "plan";
const LOCK_NAME: &str = "lock";
/// How long a child that lost its shim in the middle of a start may take to notice.
pub(super) const ORPHAN_MS: u64 = 500;
/// How long somebody who only looks whether a shim lives may hold the lock.
const GLANCE_MS: u64 = 50;
const LOCK_STEP_MS: u64 = 5;

/// A run of the program.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) pid: i32,
    pub(super) id: ProcessId,
    pub(super) pidfd: OwnedFd,
    /// Not a child of this shim but begun by one that has died.
    pub(super) foreign: Option<Foreign>,
    pub(super) network: OwnedFd,
    /// Its mounts, kept until its end is known: the last holder waits until the kernel has taken
    /// them down and brought the file system beneath to the disk, which would be the program.
    pub(super) mounts: Option<OwnedFd>,
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

/// What is left of a run that has ended, for a moment: mostly the shim is sent away then, and need
/// not wait until the kernel has taken it down.
#[derive(Debug)]
pub(super) struct Remains {
    pub(super) due_ms: u64,
    /// Its mounts: the last holder waits until the file system beneath is on the disk.
    pub(super) mounts: Option<OwnedFd>,
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
    pub(super) remains: Option<Remains>,
    pub(super) jobs: Vec<Job>,
    /// Ends of processes that no job has claimed yet.
    pub(super) strays: Vec<(i32, Ended)>,
    pub(super) back_off: BackOff,
    /// Kept out of discovery by request.
    pub(super) drained: bool,
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
        shim.begin_start();
        Ok(shim)
    }

    /// Opens the replica's files, takes its lock, and listens.
    pub(super) fn open(plan: Plan, fresh: Fresh) -> Outcome<Self> {
        let run_dir = stdio::open_run_dir(&plan.run_dir)?;
        let lock = take_lock(&run_dir, &plan.run_dir, fresh)?;
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
        let mut record = Record::open(&run_dir, fresh)?;
        record.status.shim = record::own_id();
        (record.status.speaks, record.status.obeys) = (VERSION, OLDEST);
        match fresh {
            Fresh::Yes => {
                refuse_if_alive(&record, &plan)?;
                // First: whoever finds a status finds the plan that belongs to it.
                keep_plan(&plan)?;
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
            net,
            cgroups,
            run_dir,
            record,
            log,
            control,
            children,
            streams,
            stage: Stage::Over,
            remains: None,
            jobs: Vec::new(),
            strays: Vec::new(),
            back_off: BackOff::default(),
            drained: false,
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

    pub(super) fn source(&self) -> Source<'_> {
        Source {
            plan: &self.plan,
            net: self.net.as_ref(),
            cgroups: &self.cgroups,
            run: &self.run_dir,
            oom_score_adj: self.oom_score_adj,
        }
    }

    /// Removes what the shim has made outside of the replica's directory.
    pub(super) fn clean_up(&mut self) -> Outcome<()> {
        let mounts = self.remains.take().and_then(|remains| remains.mounts);
        give_away(mounts.into_iter().collect());
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

impl Fresh {
    /// How lock and record are opened.
    ///
    /// A successor makes neither: a shim that dies leaves both, one that was sent away has removed
    /// both, and then there is nothing to take over, whatever the successor has waited for.
    pub(super) fn flags(self) -> i32 {
        let flags = abi::O_RDWR | abi::O_NOFOLLOW;
        match self {
            Self::Yes => flags | abi::O_CREAT,
            Self::No => flags,
        }
    }
}

/// Somebody was faster: the predecessor has not died but was sent away, or nobody is wanted.
pub(super) fn gone(step: &str) -> Failure {
    refuse(step, "the replica has been removed")
}

/// Whether the open run directory is the one of that name.
fn is_in_place(run: &OwnedFd, path: &str) -> bool {
    let flags = abi::O_PATH | abi::O_DIRECTORY;
    let named = fs::open(At::Cwd, path, flags, 0).and_then(|named| fs::stat(named.as_fd()));
    let held = fs::stat(run.as_fd());
    matches!((held, named), (Ok(held), Ok(named)) if held.is_same(&named))
}

/// Keeps the plan where a successor finds it.
pub(super) fn keep_plan(plan: &Plan) -> Outcome<()> {
    let flags = abi::O_RDONLY | abi::O_DIRECTORY;
    let dir = fs::open(At::Cwd, &plan.replica_dir, flags, 0);
    let dir = dir.step("keep plan", &plan.replica_dir)?;
    let flags = abi::O_CREAT | abi::O_TRUNC | abi::O_WRONLY | abi::O_NOFOLLOW;
    let file = fs::open(At::from(&dir), "plan.new", flags, 0o600).step("keep plan", "open")?;
    fs::write_all(file.as_fd(), &plan.encode()).step("keep plan", "write")?;
    fs::rename(At::from(&dir), "plan.new", PLAN_NAME).step("keep plan", "rename")
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

/// Takes the lock of the run directory.
///
/// A successor waits a little: a killed shim, and a child it was just making, hold the lock until
/// the kernel has taken them down. So does a first one: others look at the lock by taking it.
fn take_lock(run: &OwnedFd, path: &str, fresh: Fresh) -> Outcome<OwnedFd> {
    let step = "lock run directory";
    let patience = match fresh {
        Fresh::Yes => GLANCE_MS,
        Fresh::No => ORPHAN_MS,
    };
    let until = poll::monotonic_ms() + patience;
    loop {
        let lock = match fs::open(At::from(run), LOCK_NAME, fresh.flags(), 0o600) {
            Err(Errno::NOENT) if fresh == Fresh::No => return Err(gone(step)),
            other => other.step(step, path)?,
        };
        match fs::lock(lock.as_fd()) {
            Ok(()) => {}
            Err(Errno::AGAIN) if poll::monotonic_ms() < until => {
                // The kernel tells nobody that a lock was given up.
                let _ = poll::poll(&mut [], Some(LOCK_STEP_MS));
                continue;
            }
            Err(Errno::AGAIN) => {
                let why = format_args!("another shim supervises {path}");
                return Err(refuse(step, why));
            }
            Err(errno) => return Err(failure(step, errno, path)),
        }
        // A shim that has just quit may have removed the file between the two calls.
        let held = fs::stat(lock.as_fd()).step(step, path)?;
        if !fs::stat_at(At::from(run), LOCK_NAME).is_ok_and(|named| named.ino == held.ino) {
            continue;
        }
        if is_in_place(run, path) {
            return Ok(lock);
        }
        // Who removes a replica takes the name from its directory first, then what is in it.
        let _ = fs::unlink(At::from(run), LOCK_NAME);
        return Err(gone(step));
    }
}
