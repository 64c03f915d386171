//! Whose process is whose, from `/proc`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Deepest that a replica's program is below its shim.
const DEPTH: usize = 8;

fn all() -> impl Iterator<Item = u32> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn exe(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok().filter(|pid| *pid > 1)
}

/// Processes whose program lies below this directory: the shims that were installed there.
pub(crate) fn running_from(directory: &Path) -> Vec<u32> {
    all()
        .filter(|pid| exe(*pid).is_some_and(|exe| exe.starts_with(directory)))
        .collect()
}

/// The first process of this name below one whose program lies below this directory.
pub(crate) fn first(name: &str, directory: &Path) -> Option<u32> {
    let is_named = |pid: u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let is_below = |pid: u32| {
        let mut line = std::iter::successors(Some(pid), |pid| parent(*pid)).take(DEPTH);
        line.any(|pid| exe(pid).is_some_and(|exe| exe.starts_with(directory)))
    };
    all().filter(|pid| is_named(*pid) && is_below(*pid)).min()
}

/// The first process of the process namespace that this one is in: with it, all others end.
pub(crate) fn first_of_its_space(pid: u32) -> Option<u32> {
    let is_first = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        numbers.is_some_and(|line| line.split_whitespace().last() == Some("1"))
    };
    std::iter::successors(Some(pid), |pid| parent(*pid))
        .take(DEPTH)
        .find(is_first)
}

/// Processes in the network or mount namespace of this one, itself left out.
pub(crate) fn beside(holder: u32) -> Vec<u32> {
    let inode = |pid: u32, kind: &str| {
        fs::metadata(format!("/proc/{pid}/ns/{kind}"))
            .map(|meta| meta.ino())
            .ok()
    };
    let spaces = |pid: u32| ["net", "mnt"].map(|kind| inode(pid, kind));
    let ours = spaces(holder);
    let shares = |pid: u32| {
        let theirs = spaces(pid);
        ours.iter()
            .zip(&theirs)
            .any(|(our, their)| our.is_some() && our == their)
    };
    all().filter(|pid| *pid != holder && shares(*pid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_found_by_its_program_and_its_namespaces() {
        let me = std::process::id();
        let here = exe(me).expect("a program");
        let directory = here.parent().expect("a directory");
        assert!(running_from(directory).contains(&me));
        let comm = fs::read_to_string("/proc/self/comm").expect("a name");
        assert!(first(comm.trim(), directory).is_some());
        assert_eq!(first(comm.trim(), Path::new("/nowhere")), None);
        assert!(!beside(me).contains(&me));
    }
}
