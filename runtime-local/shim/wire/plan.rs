//! The plan: everything a shim needs to start and supervise one replica, decided beforehand.
//!
//! The library compiles it; the shim executes it and keeps a copy in `<replica dir>/plan`, from
//! which a successor adopts the replica. Paths are absolute host paths unless said otherwise.

use super::codec::{CodecError, Reader, Writer};

#[path = "plan_codec.rs"]
mod codec_impl;

/// The first four bytes of an encoded plan.
pub const MAGIC: u32 = 0x4d55_4c50;
/// The version of the encoding that this source writes unless the plan needs the next one, so that
/// an older source reads whatever it can carry out.
pub const VERSION: u32 = 1;
/// The version that can ask for the network of the node.
pub const VERSION_HOST_NETWORK: u32 = 2;

/// What one shim is told to run, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Identity of the replica; appears in logs and error texts only.
    pub replica: String,
    /// Lasting files: `plan`, `log`, and `upper`/`work` of the overlay. Must exist, mode 0700.
    pub replica_dir: String,
    /// Files of this boot: `status`, `ctl`, `lock`, `stdout`, `stderr`, `stdin`. Must exist.
    pub run_dir: String,
    /// Range of host ids the replica's ids are mapped to; `None` (tests only): no user namespace.
    pub id_map: Option<IdMap>,
    /// Host name inside.
    pub hostname: String,
    /// Where the root file system comes from.
    pub root: Root,
    /// Whether the root file system is mounted read-only.
    pub read_only_root: bool,
    /// Mounts on top of the default ones, in the order in which they are made.
    pub mounts: Vec<Mount>,
    /// Paths inside that read as empty; missing ones are passed over.
    pub masked_paths: Vec<String>,
    /// Paths inside that are made read-only; missing ones are passed over.
    pub read_only_paths: Vec<String>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Kernel parameters `net.*`, `kernel.shm*`, `kernel.msg*`, `kernel.sem`, `fs.mqueue.*`.
    pub sysctls: Vec<(String, String)>,
    /// The program.
    pub process: Process,
    /// One entry per hierarchy the replica joins; at most one of version 2.
    pub cgroups: Vec<Cgroup>,
    /// Signal that asks the program to end.
    pub stop_signal: u32,
    /// Time between that signal and SIGKILL.
    pub stop_grace_ms: u64,
    /// What happens when the program ends by itself.
    pub restart: Restart,
    /// How to find out whether the program serves.
    pub health: Option<Health>,
    /// Bounds of the log on disk.
    pub log: LogLimits,
    /// Encoded network plan for the net module; `None`: nothing but loopback.
    pub net: Option<Vec<u8>>,
    /// Whether a small init runs as process 1, reaps orphans and forwards signals.
    pub init: bool,
    /// Whether the program is in the network namespace of its node; there is no `net` then.
    pub host_network: bool,
}

/// A contiguous range of host ids; ids `0..size` inside are `base..base+size` outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// First host id.
    pub base: u32,
    /// Number of ids.
    pub size: u32,
}

/// Source of the root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// Image layers combined by overlayfs, with `<replica dir>/upper` and `work` on top.
    ///
    /// The shim makes `upper` and `work` when they are missing.
    Layers {
        /// Directory that holds all layers.
        store: String,
        /// Layers, topmost first, as paths relative to `store` (owners on disk start at 0).
        layers: Vec<String>,
    },
    /// A plain directory, used in place (owners on disk start at 0).
    Directory {
        /// The directory.
        path: String,
    },
}

/// One mount inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Path inside; resolved within the root, created when missing.
    pub target: String,
    /// What appears there.
    pub kind: MountKind,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host; always `nosuid` and `nodev`.
    Bind {
        /// Host path, final symbolic links followed; must exist.
        source: String,
        /// Owners on disk start at 0 and are shifted by the id map (volumes); otherwise host ids
        /// outside the map show as nobody.
        idmapped: bool,
        /// Refuse writes.
        read_only: bool,
        /// Include mounts beneath the source (not together with `idmapped`).
        recursive: bool,
        /// When the source is an empty directory, first copy what the root has at the target.
        populate: bool,
    },
    /// Memory.
    Tmpfs {
        /// Bound in bytes; 0: the kernel's default.
        size: u64,
        /// Permission bits of its root.
        mode: u32,
        /// Owner of its root, as seen inside.
        uid: u32,
        /// Group of its root, as seen inside.
        gid: u32,
        /// Refuse writes.
        read_only: bool,
        /// Refuse to execute files.
        no_exec: bool,
    },
    /// A device of the host, as a node of the replica's own.
    Device {
        /// Whether it is one of blocks, not of characters.
        block: bool,
        /// Its driver.
        major: u32,
        /// Which of the driver's.
        minor: u32,
        /// Permission bits.
        mode: u32,
        /// Owner as seen inside.
        uid: u32,
        /// Group as seen inside.
        gid: u32,
    },
    /// A file with the given bytes (secrets, configs, `/etc/hosts`), kept in memory.
    File {
        /// The bytes.
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner as seen inside.
        uid: u32,
        /// Group as seen inside.
        gid: u32,
        /// Refuse writes.
        read_only: bool,
    },
}

/// The program and its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Arguments; the first is looked up in `PATH` of `env` inside when it holds no slash.
    pub argv: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory inside; created when missing.
    pub cwd: String,
    /// User inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
    /// Supplementary groups inside, exactly these.
    pub groups: Vec<u32>,
    /// Capability sets.
    pub caps: Capabilities,
    /// Whether exec can never raise rights.
    pub no_new_privs: bool,
    /// `struct sock_filter` array, 8 bytes an instruction; empty: no filter.
    pub seccomp: Vec<u8>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Preference of the out-of-memory killer.
    pub oom_score_adj: Option<i32>,
    /// Whether stdin, stdout and stderr are a terminal. Together with [`Plan::init`] the terminal
    /// outlives the shim; without, the program is hung up when its shim is killed.
    pub tty: bool,
    /// Whether stdin is `<run dir>/stdin` (or the terminal) instead of `/dev/null`.
    pub open_stdin: bool,
}

/// Capability sets as bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Upper bound over every exec.
    pub bounding: u64,
    /// Rights in force.
    pub effective: u64,
    /// Rights that may be put in force.
    pub permitted: u64,
    /// Rights kept over exec by file capabilities.
    pub inheritable: u64,
    /// Rights kept over exec by a non-root user.
    pub ambient: u64,
}

/// One resource limit; `u64::MAX` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_*` number.
    pub resource: u32,
    /// Limit in force.
    pub soft: u64,
    /// Bound of the soft limit.
    pub hard: u64,
}

/// Generation of a cgroup hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// One cgroup the replica joins before anything else happens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Generation.
    pub version: CgroupVersion,
    /// Existing directory (mount point or delegated subtree) that shims never make or remove.
    pub base: String,
    /// Path below `base`, such as `unmoor/shop/web-1`. The shim makes every component, sets up
    /// `cpuset` or `cgroup.subtree_control` on the way, and removes those left empty at the end.
    pub path: String,
    /// Controllers that the writes need: on v1 what is mounted at `base`, on v2 what has to be
    /// enabled from `base` down.
    pub controllers: Vec<String>,
    /// Files below `path` and what to write to them, in order; a failed write fails the start.
    pub writes: Vec<(String, String)>,
}

/// The path of the group that a replica's shim lives in, in the unified hierarchy: beside that of
/// the replica, because a group whose children have limits holds no process of its own.
pub fn shim_group(path: &str) -> String {
    format!("{path}.shim")
}

/// What happens when the program ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Stay ended.
    No,
    /// Start again after a non-zero exit.
    OnFailure {
        /// Give up after so many restarts in a row; 0: never.
        max: u32,
    },
    /// Start again, also after a boot.
    Always,
    /// Start again, but after a boot only if it was not stopped by request.
    UnlessStopped,
}

/// Wait before the first restart; doubles from one to the next.
pub const RESTART_DELAY_FIRST_MS: u64 = 100;
/// The longest wait before a restart.
pub const RESTART_DELAY_MAX_MS: u64 = 60_000;
/// A run this long makes the next wait the first one again.
pub const RESTART_RESET_MS: u64 = 10_000;

/// A health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is tried.
    pub test: HealthTest,
    /// Time between two tries.
    pub interval_ms: u64,
    /// A try that takes longer has failed.
    pub timeout_ms: u64,
    /// Failures in this time after the start do not count.
    pub start_period_ms: u64,
    /// Time between two tries within the start period, until the first success.
    pub start_interval_ms: u64,
    /// Failures in a row that make the replica unhealthy.
    pub retries: u32,
}

/// What a health check tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthTest {
    /// A program inside that exits with 0.
    Exec {
        /// Its arguments.
        argv: Vec<String>,
    },
    /// A TCP connection to the replica itself.
    Tcp {
        /// Port.
        port: u16,
    },
    /// An HTTP GET to the replica itself, answered with a status from 200 to 399.
    Http {
        /// Port.
        port: u16,
        /// Path, beginning with a slash.
        path: String,
    },
}

/// Bounds of the log on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Size at which `log` becomes `log.1`; 0: never.
    pub max_bytes: u64,
    /// Number of files kept, `log` included; at least 1.
    pub files: u32,
}

impl Plan {
    /// Turns the plan into bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec_impl::encode(self)
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// Bytes that are not a plan, are of another version, or end early.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec_impl::decode(bytes)
    }
}

/// Appends a restart policy; shared with the control messages.
pub(super) fn write_restart(w: &mut Writer, restart: Restart) {
    match restart {
        Restart::No => w.u32(0),
        Restart::OnFailure { max } => w.u32(1).u32(max),
        Restart::Always => w.u32(2),
        Restart::UnlessStopped => w.u32(3),
    };
}

/// Reads what [`write_restart`] wrote.
pub(super) fn read_restart(r: &mut Reader<'_>) -> Result<Restart, CodecError> {
    Ok(match r.u32()? {
        0 => Restart::No,
        1 => Restart::OnFailure { max: r.u32()? },
        2 => Restart::Always,
        3 => Restart::UnlessStopped,
        other => return Err(CodecError::Unknown(other)),
    })
}
