//! Devices of the host that the plan gives to the replica.
//!
//! Only the host's root may make device nodes, and only a file system of its own lets them be
//! opened. So the shim makes them in memory, and the child shows each at its place inside.

use std::os::fd::{AsFd, OwnedFd};

use super::inside::{Inside, Kind};
use crate::fault::{Outcome, Step};
use crate::sys::fs::{self, At};
use crate::sys::mount::{self, Depth};
use crate::sys::{abi, fs::Node};
use crate::wire::plan::{IdMap, MountKind, Plan};

const STEP: &str = "give device";
/// Its name on the stage.
const FOLDER: &str = "devices";

/// Makes a node for each device of the plan, named by its place in the list of mounts; runs in the
/// shim. None without devices.
pub(crate) fn prepare(plan: &Plan) -> Outcome<Option<OwnedFd>> {
    let mut folder = None;
    for (index, wanted) in plan.mounts.iter().enumerate() {
        let MountKind::Device {
            block,
            major,
            minor,
            mode,
            uid,
            gid,
        } = wanted.kind
        else {
            continue;
        };
        let folder = match &mut folder {
            Some(folder) => folder,
            none => none.insert(make_folder()?),
        };
        let kind = if block { abi::S_IFBLK } else { abi::S_IFCHR };
        let node = Node {
            mode: kind | mode,
            major,
            minor,
        };
        let name = index.to_string();
        let outside = |id: u32| plan.id_map.map_or(id, |IdMap { base, .. }| base + id);
        fs::make_node(At::from(&*folder), &name, node).step(STEP, &wanted.target)?;
        fs::chown_at(At::from(&*folder), name, outside(uid), outside(gid))
            .step(STEP, &wanted.target)?;
    }
    Ok(folder)
}

fn make_folder() -> Outcome<OwnedFd> {
    let options = [("source", "tmpfs"), ("mode", "755"), ("size", "64k")];
    let guarded = abi::MOUNT_ATTR_NOSUID | abi::MOUNT_ATTR_NOEXEC;
    mount::new_fs("tmpfs", &options, guarded).step(STEP, "make a folder in memory")
}

/// Puts the folder on the stage, from where single nodes can be shown; runs in the child.
pub(super) fn stage(stage: &OwnedFd, folder: &OwnedFd) -> Outcome<()> {
    fs::mkdir(At::from(stage), FOLDER, 0o700).step(STEP, "stage")?;
    let flags = abi::O_PATH | abi::O_DIRECTORY;
    let at = fs::open(At::from(stage), FOLDER, flags, 0).step(STEP, "stage")?;
    mount::attach(folder.as_fd(), at.as_fd()).step(STEP, "stage")
}

/// Shows the node of one device at its place.
pub(super) fn attach(inside: &Inside, target: &str, on: &OwnedFd, index: usize) -> Outcome<()> {
    let node = format!("{FOLDER}/{index}");
    let node = mount::clone_tree(At::from(on), &node, Depth::One).step(STEP, target)?;
    mount::set_private(node.as_fd(), Depth::One).step(STEP, target)?;
    let at = inside.mount_target(target, Kind::File)?;
    mount::attach(node.as_fd(), at.as_fd()).step(STEP, target)
}
