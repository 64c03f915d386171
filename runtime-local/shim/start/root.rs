//! The replica's root: layers, upper directory and stage brought into its own mount namespace.
//!
//! The shim makes detached copies of the layer store and of the replica's directory with owners
//! shifted by the replica's user namespace; the child attaches them on a stage of its own and
//! mounts the overlay itself: an idmapped upper directory is writable only for a mounter whose
//! own ids are in the map.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::inside::Inside;
use crate::fault::{Outcome, Step, refuse};
use crate::sys::fs::{self, At};
use crate::sys::mount::{self, Depth};
use crate::sys::{Errno, abi};
use crate::wire::plan::{MountKind, Plan, Root};

/// `mount(2)` takes its options in one page.
const OPTIONS_MAX: usize = 4095;
/// What the stage takes beyond the plan's files: its directories, and edits of `/etc/hosts`.
const STAGE_ROOM: usize = 1 << 20;
/// Memory is given in pieces of this size.
const STAGE_PAGE: usize = 4096;

/// Makes the detached mounts that the root is built from; runs in the shim.
pub(crate) fn prepare(
    plan: &Plan,
    user_namespace: Option<BorrowedFd<'_>>,
) -> Outcome<Vec<OwnedFd>> {
    let clone = |path: &str, attributes: u64| {
        let mount = mount::clone_tree(At::Cwd, path, Depth::One).step("open root", path)?;
        if let Some(namespace) = user_namespace {
            mount::set_id_map(mount.as_fd(), namespace).step("shift owners of root", path)?;
        }
        mount::set_attributes(mount.as_fd(), attributes, Depth::One).step("guard root", path)?;
        mount::set_private(mount.as_fd(), Depth::One).step("guard root", path)?;
        Ok(mount)
    };
    let mut mounts = match &plan.root {
        Root::Layers { store, .. } => vec![
            clone(store, abi::MOUNT_ATTR_RDONLY | abi::MOUNT_ATTR_NODEV)?,
            clone(&plan.replica_dir, abi::MOUNT_ATTR_NODEV)?,
        ],
        Root::Directory { path } => vec![clone(path, abi::MOUNT_ATTR_NODEV)?],
    };
    if plan.host_network {
        mounts.push(prepare_sys()?);
    }
    Ok(mounts)
}

/// The host's own `/sys`, for a replica in the host's network: a new one shows that to nobody but
/// the host's root.
fn prepare_sys() -> Outcome<OwnedFd> {
    let step = "show /sys of the host";
    let sys = mount::clone_tree(At::Cwd, "/sys", Depth::One).step(step, "")?;
    let guarded = abi::MOUNT_ATTR_RDONLY
        | abi::MOUNT_ATTR_NOSUID
        | abi::MOUNT_ATTR_NODEV
        | abi::MOUNT_ATTR_NOEXEC;
    mount::set_attributes(sys.as_fd(), guarded, Depth::One).step(step, "guard")?;
    mount::set_private(sys.as_fd(), Depth::One).step(step, "guard")?;
    Ok(sys)
}

/// How many mounts [`prepare`] makes for the root itself; one of `/sys` may follow.
pub(crate) fn prepared_count(plan: &Plan) -> usize {
    match plan.root {
        Root::Layers { .. } => 2,
        Root::Directory { .. } => 1,
    }
}

/// A directory in memory, hidden from the program, on which the root is put together.
///
/// `at` is a directory of the child's own mount namespace.
///
/// It takes the plan's files and little more, because the program may write to some of them.
pub(crate) fn make_stage(plan: &Plan, at: BorrowedFd<'_>) -> Outcome<OwnedFd> {
    let guarded = abi::MOUNT_ATTR_NOSUID | abi::MOUNT_ATTR_NODEV;
    let size = format!("{}k", stage_size(plan).div_ceil(1024));
    let options = [
        ("source", "tmpfs"),
        ("mode", "700"),
        ("size", size.as_str()),
    ];
    let stage = mount::new_fs("tmpfs", &options, guarded).step("make stage", "")?;
    mount::attach(stage.as_fd(), at).step("make stage", "attach")?;
    Ok(stage)
}

fn stage_size(plan: &Plan) -> usize {
    let whole_pages = |len: usize| len.div_ceil(STAGE_PAGE).saturating_mul(STAGE_PAGE);
    let files = plan.mounts.iter().map(|mount| match &mount.kind {
        MountKind::File { content, .. } => whole_pages(content.len()),
        _ => 0,
    });
    files.fold(STAGE_ROOM, usize::saturating_add)
}

/// Puts the root together on the stage; runs in the child, as the replica's root.
pub(crate) fn assemble(plan: &Plan, stage: &OwnedFd, mounts: &[OwnedFd]) -> Outcome<Inside> {
    let target = stage_directory(stage, "root")?;
    match (&plan.root, mounts) {
        (Root::Layers { layers, .. }, [store, replica]) => {
            attach_on_stage(stage, "store", store)?;
            attach_on_stage(stage, "replica", replica)?;
            mount_overlay(layers, stage, store, replica)?;
        }
        (Root::Directory { path }, [directory]) => {
            mount::attach(directory.as_fd(), target.as_fd()).step("attach root", path)?;
        }
        _ => {
            return Err(refuse(
                "attach root",
                "the prepared mounts do not fit the plan",
            ));
        }
    }
    let flags = abi::O_PATH | abi::O_DIRECTORY;
    fs::open(At::from(stage), "root", flags, 0)
        .step("open root", "")
        .map(Inside::new)
}

fn stage_directory(stage: &OwnedFd, name: &str) -> Outcome<OwnedFd> {
    fs::mkdir(At::from(stage), name, 0o755).step("make stage", name)?;
    let flags = abi::O_PATH | abi::O_DIRECTORY;
    fs::open(At::from(stage), name, flags, 0).step("make stage", name)
}

fn attach_on_stage(stage: &OwnedFd, name: &str, mount: &OwnedFd) -> Outcome<()> {
    let target = stage_directory(stage, name)?;
    mount::attach(mount.as_fd(), target.as_fd()).step("attach root", name)
}

fn mount_overlay(
    layers: &[String],
    stage: &OwnedFd,
    store: &OwnedFd,
    replica: &OwnedFd,
) -> Outcome<()> {
    let step = "mount overlay";
    for name in ["upper", "work"] {
        match fs::mkdir(At::from(replica), name, 0o755) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(crate::fault::failure(step, errno, name)),
        }
    }
    let odd = |layer: &&String| layer.is_empty() || layer.contains([',', ':', '\\', '\0']);
    if let Some(layer) = layers.iter().find(odd) {
        return Err(refuse(step, format_args!("bad layer name {layer:?}")));
    }
    let lower = if layers.is_empty() {
        stage_directory(stage, "empty")?;
        format!("{}/empty", mount::fd_path(stage.as_fd()))
    } else {
        layers.join(":")
    };
    let upper = mount::fd_path(replica.as_fd());
    // Without userxattr a directory that replaces one of a lower layer is EIO in a user namespace.
    let options = format!("lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work,userxattr");
    if options.len() > OPTIONS_MAX {
        let count = layers.len();
        return Err(refuse(
            step,
            format_args!("the names of {count} layers exceed one page"),
        ));
    }
    // Layers are named relative to the store, so that many fit into the page.
    fs::fchdir(store.as_fd()).step(step, "enter the layer store")?;
    let target = format!("/proc/self/fd/{}/root", stage.as_raw_fd());
    mount::mount("overlay", &target, "overlay", 0, &options)
        .step(step, format_args!("of {} layers", layers.len()))
}

/// Makes the root the root of this process; the old one is gone from its view afterwards.
pub(crate) fn enter(inside: &Inside) -> Outcome<()> {
    fs::fchdir(inside.root()).step("enter root", "")?;
    mount::pivot_here().step("enter root", "pivot")?;
    // The old root now lies on top of the new one, at the same place.
    mount::unmount(".").step("leave the old root", "")?;
    std::env::set_current_dir("/")
        .map_err(Errno::from)
        .step("enter root", "/")
}
