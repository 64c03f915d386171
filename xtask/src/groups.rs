//! Cgroups of a task's own: what another program does in this machine's groups meanwhile is
//! neither seen from inside nor counted as a leak.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::{Failure, Outcome};

/// A group in each hierarchy, seen in the place of the hierarchy's root.
#[derive(Debug)]
pub(crate) struct OwnGroups(Vec<Group>);

#[derive(Debug)]
struct Group {
    mount: PathBuf,
    directory: PathBuf,
}

impl OwnGroups {
    /// Makes the groups and covers the hierarchies with them, in this mount namespace alone.
    pub(crate) fn enter() -> Result<Self, Failure> {
        // Two tasks at once have two process namespaces, and so two names.
        let own = fs::metadata("/proc/self/ns/pid").map_err(|e| failed("look at", "/proc", &e))?;
        let name = format!("unmoor-test-{}", std::os::unix::fs::MetadataExt::ino(&own));
        let table = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|e| failed("read", "/proc/self/mountinfo", &e))?;
        let mut groups = Self(Vec::new());
        for (mount, unified) in hierarchies(&table) {
            if unified {
                pass_on_controllers(&mount);
            }
            let directory = mount.join(&name);
            match fs::create_dir(&directory) {
                Ok(()) => {}
                // Two controllers of one hierarchy may be mounted in two places.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(failed("make", directory.display(), &error)),
            }
            mount_bind(&directory, &mount)
                .map_err(|e| failed("bind to", mount.display(), &e.into()))?;
            groups.0.push(Group { mount, directory });
        }
        Ok(groups)
    }

    /// Uncovers the hierarchies and removes the groups with what is in them.
    pub(crate) fn leave(self) -> Outcome {
        for Group { mount, directory } in self.0 {
            unmount(&mount, UnmountFlags::DETACH)
                .map_err(|e| failed("uncover", mount.display(), &e.into()))?;
            remove(&directory).map_err(|e| failed("remove", directory.display(), &e))?;
        }
        Ok(())
    }
}

/// Removes a group with its groups; the files in it are the kernel's.
fn remove(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// Lets the groups beneath the root have what the root has; not every controller can be passed on.
fn pass_on_controllers(root: &Path) {
    let known = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    for controller in known.split_ascii_whitespace() {
        let line = format!("+{controller}");
        if let Err(error) = fs::write(root.join("cgroup.subtree_control"), line) {
            eprintln!("namespaces: {controller} stays with the root group: {error}");
        }
    }
}

/// The mount points of cgroup hierarchies, and whether each is the unified one.
fn hierarchies(mountinfo: &str) -> Vec<(PathBuf, bool)> {
    let of_line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let unified = match right.split(' ').next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        Some((PathBuf::from(left.split(' ').nth(4)?), unified))
    };
    mountinfo.lines().filter_map(of_line).collect()
}

fn failed(doing: &str, what: impl std::fmt::Display, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot {doing} {what}: {error}"))
}
