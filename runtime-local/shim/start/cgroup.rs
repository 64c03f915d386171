//! The replica's cgroups: made with their limits, joined without a global lock, removed.
//!
//! Joining never writes a pid to `cgroup.procs`, which costs a grace period of 10 ms: on v1 the
//! single-threaded child writes 0 to `tasks` itself, on v2 it is cloned into its group.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::fault::{Outcome, Step, failure, refuse};
use crate::sys::fs::{self, At};
use crate::sys::{Errno, abi, poll};
use crate::wire::plan::{Cgroup, CgroupVersion, shim_group};

/// Tries to make a path whose parents another shim may be removing.
const TRIES: u32 = 100;
/// How long the last processes of a group may take to leave it.
const LEAVE_MS: u64 = 2_000;
/// Pause between two tries where the kernel tells nobody that a group is empty.
const PAUSE_MS: u64 = 5;

/// Limits of swap, which a kernel that does not count swap has not. Only a group that has been
/// made shows whether they are there: the root of a hierarchy never has them.
const SWAP: [&str; 2] = ["memory.swap.max", "memory.memsw.limit_in_bytes"];

/// The cgroups of one replica.
#[derive(Debug)]
pub(crate) struct Cgroups {
    groups: Vec<Cgroup>,
}

/// What a new process of the replica needs to join.
#[derive(Debug, Default)]
pub(crate) struct Joining {
    /// `tasks` of each v1 group.
    pub(crate) tasks: Vec<OwnedFd>,
    /// The v2 group.
    pub(crate) unified: Option<OwnedFd>,
}

impl Joining {
    /// Moves the calling, single-threaded process into the v1 groups.
    pub(crate) fn join_v1(&self) -> Outcome<()> {
        for tasks in &self.tasks {
            fs::write(tasks.as_fd(), b"0").step("join cgroup", "writing 0 to tasks")?;
        }
        Ok(())
    }
}

impl Cgroups {
    /// Describes the groups; nothing is made yet.
    pub(crate) fn new(groups: Vec<Cgroup>) -> Self {
        Self { groups }
    }

    /// Makes the groups and writes their limits.
    ///
    /// # Errors
    /// A controller or file that is missing, a value that is refused, or a group in use.
    pub(crate) fn create(&self) -> Outcome<()> {
        for group in &self.groups {
            let found = make_path(group)?;
            let dir = directory(group);
            if found == Found::There && has_processes(&dir) {
                return Err(refuse(
                    "create cgroup",
                    format_args!("{dir} has processes already"),
                ));
            }
            for (file, value) in &group.writes {
                match fs::write_text(At::Cwd, &format!("{dir}/{file}"), value) {
                    Err(Errno::NOENT) if SWAP.contains(&file.as_str()) => {}
                    written => written.step(
                        "set cgroup limit",
                        format_args!("{file} = {value} in {dir}"),
                    )?,
                }
            }
        }
        Ok(())
    }

    /// Opens what a new process needs to join all groups.
    pub(crate) fn joining(&self) -> Outcome<Joining> {
        let mut joining = Joining::default();
        for group in &self.groups {
            let dir = directory(group);
            if group.version == CgroupVersion::V2 {
                let flags = abi::O_PATH | abi::O_DIRECTORY;
                joining.unified = Some(fs::open(At::Cwd, &dir, flags, 0).step("open cgroup", dir)?);
            } else {
                let path = format!("{dir}/tasks");
                let tasks = fs::open(At::Cwd, &path, abi::O_WRONLY, 0);
                joining.tasks.push(tasks.step("open cgroup", path)?);
            }
        }
        Ok(joining)
    }

    /// The v1 groups' controllers as mount options, for the view inside.
    pub(crate) fn v1_controllers(&self) -> impl Iterator<Item = String> {
        let v1 = self
            .groups
            .iter()
            .filter(|group| group.version == CgroupVersion::V1);
        v1.map(|group| group.controllers.join(","))
    }

    /// Whether the replica has a v2 group.
    pub(crate) fn has_v2(&self) -> bool {
        self.groups
            .iter()
            .any(|group| group.version == CgroupVersion::V2)
    }

    /// Freezes the replica's processes or lets them go on.
    pub(crate) fn freeze(&self, frozen: bool) -> Outcome<()> {
        let (file, value) = match self.freezer().ok_or_else(no_freezer)? {
            (CgroupVersion::V2, dir) => (
                format!("{dir}/cgroup.freeze"),
                if frozen { "1" } else { "0" },
            ),
            (CgroupVersion::V1, dir) => (
                format!("{dir}/freezer.state"),
                if frozen { "FROZEN" } else { "THAWED" },
            ),
        };
        fs::write_text(At::Cwd, &file, value).step("freeze", format_args!("{value} to {file}"))
    }

    /// Whether all processes have come to rest.
    pub(crate) fn is_frozen(&self) -> bool {
        let read = |path: String| fs::read_text(At::Cwd, &path).unwrap_or_default();
        match self.freezer() {
            Some((CgroupVersion::V2, dir)) => read(format!("{dir}/cgroup.events"))
                .lines()
                .any(|line| line == "frozen 1"),
            Some((CgroupVersion::V1, dir)) => {
                read(format!("{dir}/freezer.state")).trim() == "FROZEN"
            }
            None => false,
        }
    }

    fn freezer(&self) -> Option<(CgroupVersion, String)> {
        let v2 = self
            .groups
            .iter()
            .find(|group| group.version == CgroupVersion::V2);
        let v1 = self.groups.iter().find(|group| controls(group, "freezer"));
        v2.or(v1).map(|group| (group.version, directory(group)))
    }

    /// How often the kernel has killed a process of the replica for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some(group) = self.groups.iter().find(|group| controls(group, "memory")) else {
            return 0;
        };
        let file = match group.version {
            CgroupVersion::V1 => "memory.oom_control",
            CgroupVersion::V2 => "memory.events",
        };
        let text = fs::read_text(At::Cwd, &format!("{}/{file}", directory(group)));
        let text = text.unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Removes the groups, those nested in them, and parents left empty.
    ///
    /// # Errors
    /// A group that still has processes after two seconds.
    pub(crate) fn remove(&self) -> Outcome<()> {
        let mut first = Ok(());
        for group in &self.groups {
            let result = remove_tree(&directory(group));
            if first.is_ok() {
                first = result;
            }
            let mut path = group.path.as_str();
            while let Some((parent, _)) = path.rsplit_once('/') {
                path = parent;
                if fs::rmdir(At::Cwd, format!("{}/{path}", group.base)).is_err() {
                    break;
                }
            }
        }
        first
    }
}

/// Makes and opens the shim's own group in the unified hierarchy.
///
/// Where its caller is the shim must not stay: it would end with the service, session or job that
/// the caller is part of. Without a unified hierarchy there is nothing that says so, hence `None`.
pub(crate) fn own_group(replica: &[Cgroup]) -> Outcome<Option<OwnedFd>> {
    let unified = |group: &&Cgroup| group.version == CgroupVersion::V2;
    let Some(beside) = replica.iter().find(unified) else {
        return Ok(None);
    };
    let own = Cgroup {
        path: shim_group(&beside.path),
        controllers: Vec::new(),
        writes: Vec::new(),
        ..beside.clone()
    };
    make_path(&own)?;
    let (dir, flags) = (directory(&own), abi::O_PATH | abi::O_DIRECTORY);
    fs::open(At::Cwd, &dir, flags, 0)
        .step("open cgroup", dir)
        .map(Some)
}

fn no_freezer() -> crate::wire::report::Failure {
    refuse("freeze", "the replica is in no cgroup that can freeze it")
}

fn controls(group: &Cgroup, controller: &str) -> bool {
    group.controllers.iter().any(|name| name == controller)
}

fn directory(group: &Cgroup) -> String {
    format!("{}/{}", group.base, group.path)
}

fn has_processes(dir: &str) -> bool {
    let processes = fs::read_text(At::Cwd, &format!("{dir}/cgroup.procs"));
    processes.is_ok_and(|list| !list.trim().is_empty())
}

/// Whether a group had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    There,
    Made,
}

/// Makes every component of a group's path, ready for its children; tells about the last.
fn make_path(group: &Cgroup) -> Outcome<Found> {
    let sane = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !group.path.split('/').all(sane) {
        return Err(refuse(
            "create cgroup",
            format_args!("bad path {:?}", group.path),
        ));
    }
    for attempt in 0.. {
        match try_make_path(group) {
            // Another shim has just removed a parent that it found empty.
            Err(error) if error.errno == Errno::NOENT.0 && attempt < TRIES => {}
            other => return other,
        }
    }
    Ok(Found::There)
}

fn try_make_path(group: &Cgroup) -> Outcome<Found> {
    let mut found = Found::There;
    let mut dir = group.base.clone();
    for part in group.path.split('/') {
        if group.version == CgroupVersion::V2 {
            enable_controllers(&dir, &group.controllers)?;
        }
        let parent = dir.clone();
        dir = format!("{dir}/{part}");
        match fs::mkdir(At::Cwd, &dir, 0o755) {
            Ok(()) => found = Found::Made,
            Err(Errno::EXIST) => found = Found::There,
            Err(errno) => return Err(failure("create cgroup", errno, dir)),
        }
        if group.version == CgroupVersion::V1 && controls(group, "cpuset") {
            inherit_cpuset(&parent, &dir)?;
        }
    }
    Ok(found)
}

/// On v2 a controller works in a group only if every group above hands it down.
fn enable_controllers(dir: &str, controllers: &[String]) -> Outcome<()> {
    if controllers.is_empty() {
        return Ok(());
    }
    let file = format!("{dir}/cgroup.subtree_control");
    let enabled = fs::read_text(At::Cwd, &file).step("read cgroup controllers", &file)?;
    for controller in controllers {
        if !enabled
            .split_ascii_whitespace()
            .any(|name| name == controller)
        {
            fs::write_text(At::Cwd, &file, &format!("+{controller}")).step(
                "enable cgroup controller",
                format_args!("{controller} in {dir}"),
            )?;
        }
    }
    Ok(())
}

/// A v1 cpuset group takes no process before it has processors and memory nodes.
fn inherit_cpuset(parent: &str, dir: &str) -> Outcome<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = format!("{dir}/{file}");
        let value = fs::read_text(At::Cwd, &own).step("read cpuset", &own)?;
        if value.trim().is_empty() {
            let above = format!("{parent}/{file}");
            let above = fs::read_text(At::Cwd, &above).step("read cpuset", &above)?;
            fs::write_text(At::Cwd, &own, above.trim()).step("set cpuset", &own)?;
        }
    }
    Ok(())
}

fn remove_tree(dir: &str) -> Outcome<()> {
    let until = poll::monotonic_ms() + LEAVE_MS;
    loop {
        let errno = match fs::rmdir(At::Cwd, dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(errno) => errno,
        };
        if poll::monotonic_ms() >= until {
            return Err(failure("remove cgroup", errno, dir));
        }
        let children = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut nested = false;
        for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
            nested = true;
            remove_tree(&child.path().to_string_lossy())?;
        }
        if !nested {
            wait_for_leave(dir, until);
        }
    }
}

/// Waits until the last process has left a group, or a little.
///
/// The replica's groups are left at one moment: once its v2 group, the first, is empty, so are the
/// others, which tell nobody.
fn wait_for_leave(dir: &str, until: u64) {
    let events = fs::open(At::Cwd, format!("{dir}/cgroup.events"), abi::O_RDONLY, 0);
    let mut text = [0; 128];
    if let Ok(events) = events
        && let Ok(len) = fs::pread(events.as_fd(), &mut text, 0)
        && text[..len].starts_with(b"populated 1")
    {
        let _ = fs::write_text(At::Cwd, &format!("{dir}/cgroup.kill"), "1");
        let mut fds = [abi::PollFd {
            fd: events.as_raw_fd(),
            events: abi::POLLPRI,
            revents: 0,
        }];
        let rest = until.saturating_sub(poll::monotonic_ms());
        let _ = poll::poll(&mut fds, Some(rest));
    } else {
        let _ = poll::poll(&mut [], Some(PAUSE_MS));
    }
}
