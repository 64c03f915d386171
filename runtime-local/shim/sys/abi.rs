//! Numbers and layouts of the Linux interface that the shim uses, for x86_64 and aarch64.

#![allow(
    dead_code,
    reason = "the table lists what belongs together, used today or not"
)]

pub(crate) use core::ffi::{c_int, c_long};

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little"
)))]
compile_error!("the shim runs on 64-bit little-endian Linux");

/// Calls whose numbers differ between architectures.
#[cfg(target_arch = "x86_64")]
pub(crate) mod nr {
    use super::c_long;
    pub(crate) const READ: c_long = 0;
    pub(crate) const WRITE: c_long = 1;
    pub(crate) const RT_SIGACTION: c_long = 13;
    pub(crate) const RT_SIGPROCMASK: c_long = 14;
    pub(crate) const IOCTL: c_long = 16;
    pub(crate) const PREAD64: c_long = 17;
    pub(crate) const PWRITE64: c_long = 18;
    pub(crate) const GETPID: c_long = 39;
    pub(crate) const SOCKET: c_long = 41;
    pub(crate) const CONNECT: c_long = 42;
    pub(crate) const SENDMSG: c_long = 46;
    pub(crate) const RECVMSG: c_long = 47;
    pub(crate) const BIND: c_long = 49;
    pub(crate) const LISTEN: c_long = 50;
    pub(crate) const SOCKETPAIR: c_long = 53;
    pub(crate) const SETSOCKOPT: c_long = 54;
    pub(crate) const GETSOCKOPT: c_long = 55;
    pub(crate) const EXECVE: c_long = 59;
    pub(crate) const WAIT4: c_long = 61;
    pub(crate) const KILL: c_long = 62;
    pub(crate) const FCNTL: c_long = 72;
    pub(crate) const FLOCK: c_long = 73;
    pub(crate) const FTRUNCATE: c_long = 77;
    pub(crate) const FDATASYNC: c_long = 75;
    pub(crate) const FCHDIR: c_long = 81;
    pub(crate) const FCHMOD: c_long = 91;
    pub(crate) const FCHOWN: c_long = 93;
    pub(crate) const UMASK: c_long = 95;
    pub(crate) const SETSID: c_long = 112;
    pub(crate) const SETGROUPS: c_long = 116;
    pub(crate) const SETRESUID: c_long = 117;
    pub(crate) const SETRESGID: c_long = 119;
    pub(crate) const CAPSET: c_long = 126;
    pub(crate) const RT_SIGTIMEDWAIT: c_long = 128;
    pub(crate) const PERSONALITY: c_long = 135;
    pub(crate) const FSTATFS: c_long = 138;
    pub(crate) const SETPRIORITY: c_long = 141;
    pub(crate) const SCHED_SETSCHEDULER: c_long = 144;
    pub(crate) const PIVOT_ROOT: c_long = 155;
    pub(crate) const PRCTL: c_long = 157;
    pub(crate) const MOUNT: c_long = 165;
    pub(crate) const UMOUNT2: c_long = 166;
    pub(crate) const SETHOSTNAME: c_long = 170;
    pub(crate) const SCHED_SETAFFINITY: c_long = 203;
    pub(crate) const CLOCK_GETTIME: c_long = 228;
    pub(crate) const EXIT_GROUP: c_long = 231;
    pub(crate) const KEYCTL: c_long = 250;
    pub(crate) const IOPRIO_SET: c_long = 251;
    pub(crate) const WAITID: c_long = 247;
    pub(crate) const OPENAT: c_long = 257;
    pub(crate) const MKDIRAT: c_long = 258;
    pub(crate) const MKNODAT: c_long = 259;
    pub(crate) const FCHOWNAT: c_long = 260;
    pub(crate) const UNLINKAT: c_long = 263;
    pub(crate) const RENAMEAT: c_long = 264;
    pub(crate) const SYMLINKAT: c_long = 266;
    pub(crate) const READLINKAT: c_long = 267;
    pub(crate) const FCHMODAT: c_long = 268;
    pub(crate) const UNSHARE: c_long = 272;
    pub(crate) const PPOLL: c_long = 271;
    pub(crate) const ACCEPT4: c_long = 288;
    pub(crate) const SIGNALFD4: c_long = 289;
    pub(crate) const DUP3: c_long = 292;
    pub(crate) const PRLIMIT64: c_long = 302;
    pub(crate) const SETNS: c_long = 308;
    pub(crate) const SECCOMP: c_long = 317;
    pub(crate) const STATX: c_long = 332;
}

/// Calls whose numbers differ between architectures.
#[cfg(target_arch = "aarch64")]
pub(crate) mod nr {
    use super::c_long;
    pub(crate) const DUP3: c_long = 24;
    pub(crate) const FCNTL: c_long = 25;
    pub(crate) const IOCTL: c_long = 29;
    pub(crate) const IOPRIO_SET: c_long = 30;
    pub(crate) const FLOCK: c_long = 32;
    pub(crate) const MKNODAT: c_long = 33;
    pub(crate) const MKDIRAT: c_long = 34;
    pub(crate) const UNLINKAT: c_long = 35;
    pub(crate) const SYMLINKAT: c_long = 36;
    pub(crate) const RENAMEAT: c_long = 38;
    pub(crate) const UMOUNT2: c_long = 39;
    pub(crate) const MOUNT: c_long = 40;
    pub(crate) const PIVOT_ROOT: c_long = 41;
    pub(crate) const FSTATFS: c_long = 44;
    pub(crate) const FTRUNCATE: c_long = 46;
    pub(crate) const FCHDIR: c_long = 50;
    pub(crate) const FCHMOD: c_long = 52;
    pub(crate) const FCHMODAT: c_long = 53;
    pub(crate) const FCHOWNAT: c_long = 54;
    pub(crate) const FCHOWN: c_long = 55;
    pub(crate) const OPENAT: c_long = 56;
    pub(crate) const READ: c_long = 63;
    pub(crate) const WRITE: c_long = 64;
    pub(crate) const PREAD64: c_long = 67;
    pub(crate) const PWRITE64: c_long = 68;
    pub(crate) const PPOLL: c_long = 73;
    pub(crate) const SIGNALFD4: c_long = 74;
    pub(crate) const READLINKAT: c_long = 78;
    pub(crate) const FDATASYNC: c_long = 83;
    pub(crate) const CAPSET: c_long = 91;
    pub(crate) const PERSONALITY: c_long = 92;
    pub(crate) const EXIT_GROUP: c_long = 94;
    pub(crate) const WAITID: c_long = 95;
    pub(crate) const UNSHARE: c_long = 97;
    pub(crate) const CLOCK_GETTIME: c_long = 113;
    pub(crate) const SCHED_SETSCHEDULER: c_long = 119;
    pub(crate) const SCHED_SETAFFINITY: c_long = 122;
    pub(crate) const KILL: c_long = 129;
    pub(crate) const RT_SIGACTION: c_long = 134;
    pub(crate) const RT_SIGPROCMASK: c_long = 135;
    pub(crate) const RT_SIGTIMEDWAIT: c_long = 137;
    pub(crate) const SETPRIORITY: c_long = 140;
    pub(crate) const SETRESUID: c_long = 147;
    pub(crate) const SETRESGID: c_long = 149;
    pub(crate) const SETSID: c_long = 157;
    pub(crate) const SETGROUPS: c_long = 159;
    pub(crate) const SETHOSTNAME: c_long = 161;
    pub(crate) const UMASK: c_long = 166;
    pub(crate) const PRCTL: c_long = 167;
    pub(crate) const GETPID: c_long = 172;
    pub(crate) const SOCKET: c_long = 198;
    pub(crate) const SOCKETPAIR: c_long = 199;
    pub(crate) const BIND: c_long = 200;
    pub(crate) const LISTEN: c_long = 201;
    pub(crate) const CONNECT: c_long = 203;
    pub(crate) const SETSOCKOPT: c_long = 208;
    pub(crate) const GETSOCKOPT: c_long = 209;
    pub(crate) const SENDMSG: c_long = 211;
    pub(crate) const RECVMSG: c_long = 212;
    pub(crate) const KEYCTL: c_long = 219;
    pub(crate) const EXECVE: c_long = 221;
    pub(crate) const ACCEPT4: c_long = 242;
    pub(crate) const WAIT4: c_long = 260;
    pub(crate) const PRLIMIT64: c_long = 261;
    pub(crate) const SETNS: c_long = 268;
    pub(crate) const SECCOMP: c_long = 277;
    pub(crate) const STATX: c_long = 291;
}

/// Calls with the same number everywhere.
pub(crate) mod nr_common {
    use super::c_long;
    pub(crate) const PIDFD_SEND_SIGNAL: c_long = 424;
    pub(crate) const OPEN_TREE: c_long = 428;
    pub(crate) const MOVE_MOUNT: c_long = 429;
    pub(crate) const FSOPEN: c_long = 430;
    pub(crate) const FSCONFIG: c_long = 431;
    pub(crate) const FSMOUNT: c_long = 432;
    pub(crate) const PIDFD_OPEN: c_long = 434;
    pub(crate) const CLONE3: c_long = 435;
    pub(crate) const CLOSE_RANGE: c_long = 436;
    pub(crate) const OPENAT2: c_long = 437;
    pub(crate) const PIDFD_GETFD: c_long = 438;
    pub(crate) const MOUNT_SETATTR: c_long = 442;
}

// Directories and symbolic links are the same bits on both; O_DIRECTORY, O_NOFOLLOW and the
// large-file bit are not.
pub(crate) const AT_FDCWD: c_int = -100;
pub(crate) const AT_EMPTY_PATH: c_int = 0x1000;
pub(crate) const AT_RECURSIVE: c_int = 0x8000;
pub(crate) const AT_SYMLINK_NOFOLLOW: c_int = 0x100;
pub(crate) const AT_REMOVEDIR: c_int = 0x200;

pub(crate) const O_RDONLY: c_int = 0;
pub(crate) const O_WRONLY: c_int = 1;
pub(crate) const O_RDWR: c_int = 2;
pub(crate) const O_CREAT: c_int = 0o100;
pub(crate) const O_EXCL: c_int = 0o200;
pub(crate) const O_NOCTTY: c_int = 0o400;
pub(crate) const O_TRUNC: c_int = 0o1000;
pub(crate) const O_APPEND: c_int = 0o2000;
pub(crate) const O_NONBLOCK: c_int = 0o4000;
pub(crate) const O_CLOEXEC: c_int = 0o2_000_000;
pub(crate) const O_PATH: c_int = 0o10_000_000;
#[cfg(target_arch = "x86_64")]
pub(crate) const O_DIRECTORY: c_int = 0o200_000;
#[cfg(target_arch = "x86_64")]
pub(crate) const O_NOFOLLOW: c_int = 0o400_000;
#[cfg(target_arch = "aarch64")]
pub(crate) const O_DIRECTORY: c_int = 0o40_000;
#[cfg(target_arch = "aarch64")]
pub(crate) const O_NOFOLLOW: c_int = 0o100_000;

pub(crate) const RESOLVE_NO_XDEV: u64 = 1;
pub(crate) const RESOLVE_NO_MAGICLINKS: u64 = 2;
pub(crate) const RESOLVE_NO_SYMLINKS: u64 = 4;
pub(crate) const RESOLVE_BENEATH: u64 = 8;
pub(crate) const RESOLVE_IN_ROOT: u64 = 16;

pub(crate) const S_IFMT: u32 = 0o170_000;
pub(crate) const S_IFIFO: u32 = 0o010_000;
pub(crate) const S_IFCHR: u32 = 0o020_000;
pub(crate) const S_IFBLK: u32 = 0o060_000;
pub(crate) const S_IFDIR: u32 = 0o040_000;
pub(crate) const S_IFREG: u32 = 0o100_000;
pub(crate) const S_IFLNK: u32 = 0o120_000;

pub(crate) const PROC_SUPER_MAGIC: i64 = 0x9fa0;
pub(crate) const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

pub(crate) const CLONE_FILES: u64 = 0x400;
pub(crate) const CLONE_PIDFD: u64 = 0x1000;
pub(crate) const CLONE_PARENT: u64 = 0x8000;
pub(crate) const CLONE_NEWNS: u64 = 0x2_0000;
pub(crate) const CLONE_NEWCGROUP: u64 = 0x200_0000;
pub(crate) const CLONE_NEWUTS: u64 = 0x400_0000;
pub(crate) const CLONE_NEWIPC: u64 = 0x800_0000;
pub(crate) const CLONE_NEWUSER: u64 = 0x1000_0000;
pub(crate) const CLONE_NEWPID: u64 = 0x2000_0000;
pub(crate) const CLONE_NEWNET: u64 = 0x4000_0000;
pub(crate) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

pub(crate) const MS_RDONLY: u64 = 1;
pub(crate) const MS_NOSUID: u64 = 2;
pub(crate) const MS_NODEV: u64 = 4;
pub(crate) const MS_NOEXEC: u64 = 8;
pub(crate) const MS_BIND: u64 = 4096;
pub(crate) const MS_REC: u64 = 16384;
pub(crate) const MS_PRIVATE: u64 = 1 << 18;
pub(crate) const MNT_DETACH: c_int = 2;

pub(crate) const MOUNT_ATTR_RDONLY: u64 = 1;
pub(crate) const MOUNT_ATTR_NOSUID: u64 = 2;
pub(crate) const MOUNT_ATTR_NODEV: u64 = 4;
pub(crate) const MOUNT_ATTR_NOEXEC: u64 = 8;
pub(crate) const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
pub(crate) const OPEN_TREE_CLONE: c_int = 1;
pub(crate) const MOVE_MOUNT_F_EMPTY_PATH: c_int = 4;
pub(crate) const MOVE_MOUNT_T_EMPTY_PATH: c_int = 0x40;
pub(crate) const FSCONFIG_SET_STRING: c_int = 1;
pub(crate) const FSCONFIG_CMD_CREATE: c_int = 6;

pub(crate) const PR_SET_PDEATHSIG: c_int = 1;
pub(crate) const PR_SET_DUMPABLE: c_int = 4;
pub(crate) const PR_SET_KEEPCAPS: c_int = 8;
pub(crate) const PR_SET_NAME: c_int = 15;
pub(crate) const PR_CAPBSET_DROP: c_int = 24;
pub(crate) const PR_SET_CHILD_SUBREAPER: c_int = 36;
pub(crate) const PR_SET_NO_NEW_PRIVS: c_int = 38;
pub(crate) const PR_CAP_AMBIENT: c_int = 47;
pub(crate) const PR_CAP_AMBIENT_RAISE: c_int = 2;
pub(crate) const PR_CAP_AMBIENT_CLEAR_ALL: c_int = 4;
pub(crate) const SECCOMP_SET_MODE_FILTER: c_int = 1;
pub(crate) const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
pub(crate) const CAP_LAST_KNOWN: u32 = 63;

pub(crate) const AF_UNIX: c_int = 1;
pub(crate) const AF_INET: c_int = 2;
pub(crate) const AF_INET6: c_int = 10;
pub(crate) const SOCK_STREAM: c_int = 1;
pub(crate) const SOCK_DGRAM: c_int = 2;
pub(crate) const SOCK_SEQPACKET: c_int = 5;
pub(crate) const SOCK_CLOEXEC: c_int = 0o2_000_000;
pub(crate) const SOCK_NONBLOCK: c_int = 0o4000;
pub(crate) const SOL_SOCKET: c_int = 1;
pub(crate) const SO_ERROR: c_int = 4;
pub(crate) const SO_SNDBUF: c_int = 7;
pub(crate) const SO_PEERCRED: c_int = 17;
pub(crate) const SO_SNDBUFFORCE: c_int = 32;
pub(crate) const SCM_RIGHTS: c_int = 1;
pub(crate) const MSG_PEEK: c_int = 2;
pub(crate) const MSG_CTRUNC: c_int = 8;
pub(crate) const MSG_TRUNC: c_int = 0x20;
pub(crate) const MSG_DONTWAIT: c_int = 0x40;
pub(crate) const MSG_NOSIGNAL: c_int = 0x4000;
pub(crate) const MSG_CMSG_CLOEXEC: c_int = 0x4000_0000;

pub(crate) const SIGHUP: u32 = 1;
pub(crate) const SIGINT: u32 = 2;
pub(crate) const SIGQUIT: u32 = 3;
pub(crate) const SIGUSR1: u32 = 10;
pub(crate) const SIGUSR2: u32 = 12;
pub(crate) const SIGKILL: u32 = 9;
pub(crate) const SIGPIPE: u32 = 13;
pub(crate) const SIGTERM: u32 = 15;
pub(crate) const SIGCHLD: u32 = 17;
pub(crate) const SIGCONT: u32 = 18;
pub(crate) const SIGSTOP: u32 = 19;

pub(crate) const POLLIN: i16 = 1;
pub(crate) const POLLPRI: i16 = 2;
pub(crate) const POLLOUT: i16 = 4;
pub(crate) const POLLERR: i16 = 8;
pub(crate) const POLLHUP: i16 = 16;

pub(crate) const F_SETFD: c_int = 2;
pub(crate) const F_SETFL: c_int = 4;
pub(crate) const F_DUPFD_CLOEXEC: c_int = 1030;
pub(crate) const LOCK_EX: c_int = 2;
pub(crate) const LOCK_NB: c_int = 4;
pub(crate) const CLOCK_REALTIME: c_int = 0;
pub(crate) const CLOCK_MONOTONIC: c_int = 1;
pub(crate) const WNOHANG: c_int = 1;
pub(crate) const WALL: c_int = 0x4000_0000;

pub(crate) const TIOCSCTTY: u64 = 0x540e;
pub(crate) const TIOCSWINSZ: u64 = 0x5414;
pub(crate) const TIOCGPTPEER: u64 = 0x5441;
pub(crate) const TIOCSPTLCK: u64 = 0x4004_5431;
pub(crate) const SIOCGIFADDR: u64 = 0x8915;
pub(crate) const SIOCGIFFLAGS: u64 = 0x8913;
pub(crate) const SIOCSIFFLAGS: u64 = 0x8914;
pub(crate) const IFF_UP: u16 = 1;
/// `_IOWR(0xff, 11, struct pidfd_info)` for the 64-byte first version of the structure.
pub(crate) const PIDFD_GET_INFO: u64 = 0xc040_ff0b;
pub(crate) const PIDFD_INFO_EXIT: u64 = 8;
pub(crate) const RLIMIT_NOFILE: u32 = 7;

/// Arguments of `clone3`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}

/// Arguments of `openat2`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct OpenHow {
    pub(crate) flags: u64,
    pub(crate) mode: u64,
    pub(crate) resolve: u64,
}

/// Arguments of `mount_setattr`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct MountAttr {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) userns_fd: u64,
}

/// The first version of what `PIDFD_GET_INFO` fills in.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct PidfdInfo {
    pub(crate) mask: u64,
    pub(crate) cgroupid: u64,
    pub(crate) pid: u32,
    pub(crate) tgid: u32,
    pub(crate) ppid: u32,
    pub(crate) ids: [u32; 8],
    pub(crate) exit_code: i32,
}

/// One descriptor to wait for.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct PollFd {
    pub(crate) fd: c_int,
    pub(crate) events: i16,
    pub(crate) revents: i16,
}

/// Seconds and nanoseconds.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timespec {
    pub(crate) sec: i64,
    pub(crate) nsec: i64,
}

/// A soft and a hard limit.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rlimit64 {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Header of `capset`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct CapHeader {
    pub(crate) version: u32,
    pub(crate) pid: c_int,
}

/// One half (32 capabilities) of the three sets of `capset`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct CapData {
    pub(crate) effective: u32,
    pub(crate) permitted: u32,
    pub(crate) inheritable: u32,
}

/// A seccomp program.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct SockFprog {
    pub(crate) len: u16,
    pub(crate) filter: *const u8,
}

/// A piece of memory to send or receive.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct IoVec {
    pub(crate) base: *mut u8,
    pub(crate) len: usize,
}

/// Header of `sendmsg` and `recvmsg`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct MsgHdr {
    pub(crate) name: *mut u8,
    pub(crate) name_len: u32,
    pub(crate) iov: *mut IoVec,
    pub(crate) iov_len: usize,
    pub(crate) control: *mut u8,
    pub(crate) control_len: usize,
    pub(crate) flags: c_int,
}

/// A signal's disposition as the kernel takes it.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct KernelSigaction {
    pub(crate) handler: usize,
    pub(crate) flags: u64,
    pub(crate) restorer: usize,
    pub(crate) mask: u64,
}

/// Lines and characters of a terminal.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Winsize {
    pub(crate) rows: u16,
    pub(crate) cols: u16,
    pub(crate) x: u16,
    pub(crate) y: u16,
}

/// The part of `statfs` that is read.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Statfs {
    pub(crate) kind: i64,
    pub(crate) rest: [u64; 15],
}

/// A time of `statx`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StatxTime {
    pub(crate) sec: i64,
    pub(crate) nsec: u32,
    pub(crate) spare: i32,
}

/// What `statx` fills in.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Statx {
    pub(crate) mask: u32,
    pub(crate) blksize: u32,
    pub(crate) attributes: u64,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u16,
    pub(crate) spare0: u16,
    pub(crate) ino: u64,
    pub(crate) size: u64,
    pub(crate) blocks: u64,
    pub(crate) attributes_mask: u64,
    pub(crate) times: [StatxTime; 4],
    pub(crate) rdev_major: u32,
    pub(crate) rdev_minor: u32,
    pub(crate) dev_major: u32,
    pub(crate) dev_minor: u32,
    pub(crate) mnt_id: u64,
    pub(crate) spare2: [u64; 13],
}

impl Statx {
    /// Whether both are on one file system.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        (self.dev_major, self.dev_minor) == (other.dev_major, other.dev_minor)
    }

    /// Whether both are of the same file.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.is_beside(other) && self.ino == other.ino
    }
}
