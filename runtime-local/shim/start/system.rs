//! What every replica finds inside: `/proc`, `/sys`, `/dev` and their guarded parts.

use std::os::fd::{AsFd, OwnedFd};

use super::cgroup::Cgroups;
use super::inside::{Inside, Kind};
use crate::fault::{Outcome, Step};
use crate::sys::abi;
use crate::sys::fs::{self, At};
use crate::sys::mount::{self, Depth};
use crate::sys::tty::{self, Pty};
use crate::wire::plan::Plan;

const GUARDED: u64 = abi::MS_NOSUID | abi::MS_NODEV | abi::MS_NOEXEC;
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const SMALL: [(&str, &str); 3] = [("source", "tmpfs"), ("mode", "755"), ("size", "64k")];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Mounts the kernel's file systems and the devices; returns the program's terminal if it gets
/// one. `/sys` is a new one unless it is given.
pub(crate) fn mount_all(
    plan: &Plan,
    cgroups: &Cgroups,
    inside: &Inside,
    given: Option<&OwnedFd>,
) -> Outcome<Option<Pty>> {
    let proc = inside.own_directory("proc")?;
    mount::mount_at(proc.as_fd(), "proc", GUARDED, "").step("mount proc", "/proc")?;
    let sys = inside.own_directory("sys")?;
    match given {
        Some(given) => mount::attach(given.as_fd(), sys.as_fd()),
        None => mount::mount_at(sys.as_fd(), "sysfs", GUARDED | abi::MS_RDONLY, ""),
    }
    .step("mount sysfs", "/sys")?;
    mount_cgroups(cgroups, inside)?;
    mount_devices(plan, inside)
}

/// The replica's own cgroups, read-only, as its cgroup namespace shows them.
fn mount_cgroups(cgroups: &Cgroups, inside: &Inside) -> Outcome<()> {
    let flags = GUARDED | abi::MS_RDONLY;
    let step = "mount cgroup";
    let at = "/sys/fs/cgroup";
    let Some(target) = inside.find(at)? else {
        return Ok(());
    };
    let v1: Vec<String> = cgroups.v1_controllers().collect();
    if v1.is_empty() {
        if cgroups.has_v2() {
            mount::mount_at(target.as_fd(), "cgroup2", flags, "").step(step, at)?;
        }
        return Ok(());
    }
    let dir = mount::new_fs("tmpfs", &SMALL, 0).step(step, at)?;
    mount::attach(dir.as_fd(), target.as_fd()).step(step, at)?;
    for controllers in &v1 {
        let target = subdirectory(&dir, controllers)?;
        mount::mount_at(target.as_fd(), "cgroup", flags, controllers)
            .step(step, format_args!("{at}/{controllers}"))?;
    }
    if cgroups.has_v2() {
        let target = subdirectory(&dir, "unified")?;
        mount::mount_at(target.as_fd(), "cgroup2", flags, "").step(step, at)?;
    }
    let guarded = abi::MOUNT_ATTR_RDONLY
        | abi::MOUNT_ATTR_NOSUID
        | abi::MOUNT_ATTR_NODEV
        | abi::MOUNT_ATTR_NOEXEC;
    mount::set_attributes(dir.as_fd(), guarded, Depth::One).step(step, at)
}

fn mount_devices(plan: &Plan, inside: &Inside) -> Outcome<Option<Pty>> {
    let step = "mount devices";
    let target = inside.own_directory("dev")?;
    // Held from before it is attached: whatever the image has at /dev, this is the new one.
    let dev = mount::new_fs("tmpfs", &SMALL, abi::MOUNT_ATTR_NOSUID).step(step, "/dev")?;
    mount::attach(dev.as_fd(), target.as_fd()).step(step, "/dev")?;
    for name in DEVICES {
        let node = file_in(&dev, name)?;
        mount::bind(&format!("/dev/{name}"), node.as_fd(), 0)
            .step(step, format_args!("/dev/{name}"))?;
    }
    for (target, name) in LINKS {
        fs::symlink(target, At::from(&dev), name).step(step, format_args!("/dev/{name}"))?;
    }
    let pts = subdirectory(&dev, "pts")?;
    let options = if plan.id_map.is_some_and(|map| map.size <= 5) {
        "newinstance,ptmxmode=0666,mode=0620"
    } else {
        "newinstance,ptmxmode=0666,mode=0620,gid=5"
    };
    mount::mount_at(
        pts.as_fd(),
        "devpts",
        abi::MS_NOSUID | abi::MS_NOEXEC,
        options,
    )
    .step(step, "/dev/pts")?;
    let shm = subdirectory(&dev, "shm")?;
    mount::mount_at(
        shm.as_fd(),
        "tmpfs",
        GUARDED,
        &format!("mode=1777,size={}", plan.shm_size),
    )
    .step(step, "/dev/shm")?;
    let mqueue = subdirectory(&dev, "mqueue")?;
    mount::mount_at(mqueue.as_fd(), "mqueue", GUARDED, "").step(step, "/dev/mqueue")?;
    if plan.process.tty {
        open_console(plan, &dev).map(Some)
    } else {
        Ok(None)
    }
}

/// The program's terminal, also shown as `/dev/console`.
fn open_console(plan: &Plan, dev: &OwnedFd) -> Outcome<Pty> {
    let step = "open terminal";
    let pty = tty::open(At::from(dev), "pts/ptmx").step(step, "/dev/pts/ptmx")?;
    let slave = pty.slave.as_fd();
    fs::chown(slave, plan.process.uid, plan.process.gid).step(step, "owner")?;
    let console = file_in(dev, "console")?;
    // By descriptor: the terminal that was allocated, not what a path would name.
    mount::bind(&mount::fd_path(slave), console.as_fd(), 0).step(step, "/dev/console")?;
    Ok(pty)
}

fn subdirectory(dir: &OwnedFd, name: &str) -> Outcome<OwnedFd> {
    fs::mkdir(At::from(dir), name, 0o755).step("create directory inside", name)?;
    let flags = abi::O_PATH | abi::O_DIRECTORY | abi::O_NOFOLLOW;
    fs::open(At::from(dir), name, flags, 0).step("open directory inside", name)
}

fn file_in(dir: &OwnedFd, name: &str) -> Outcome<OwnedFd> {
    fs::mknod(At::from(dir), name, abi::S_IFREG | 0o666).step("create device inside", name)?;
    let flags = abi::O_PATH | abi::O_NOFOLLOW;
    fs::open(At::from(dir), name, flags, 0).step("open device inside", name)
}

/// Hides the masked paths: files behind the host's null device, directories behind an empty one.
pub(crate) fn mask(plan: &Plan, inside: &Inside) -> Outcome<()> {
    for path in &plan.masked_paths {
        let Some(target) = inside.find(path)? else {
            continue;
        };
        let found = fs::stat(target.as_fd()).step("mask path", path)?;
        let masked = if u32::from(found.mode) & abi::S_IFMT == abi::S_IFDIR {
            let flags = GUARDED | abi::MS_RDONLY;
            mount::mount_at(
                target.as_fd(),
                "tmpfs",
                flags,
                "size=0k,nr_inodes=2,mode=755",
            )
        } else {
            mount::bind("/dev/null", target.as_fd(), 0)
        };
        masked.step("mask path", path)?;
    }
    Ok(())
}

/// Makes the read-only paths read-only.
pub(crate) fn protect(plan: &Plan, inside: &Inside) -> Outcome<()> {
    for path in &plan.read_only_paths {
        let Some(target) = inside.find(path)? else {
            continue;
        };
        let step = "make path read-only";
        let copy = mount::clone_tree(At::from(&target), "", Depth::All).step(step, path)?;
        mount::set_attributes(copy.as_fd(), abi::MOUNT_ATTR_RDONLY, Depth::All).step(step, path)?;
        mount::attach(copy.as_fd(), target.as_fd()).step(step, path)?;
    }
    Ok(())
}

/// Opens the working directory, made if missing.
pub(crate) fn working_directory(inside: &Inside, path: &str) -> Outcome<OwnedFd> {
    let path = if path.is_empty() { "/" } else { path };
    let target = inside.ensure(path, Kind::Directory)?;
    drop(target);
    inside
        .open(path, abi::O_PATH | abi::O_DIRECTORY)
        .step("open working directory", path)
}
