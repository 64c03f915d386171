//! Processes that are ours, their descriptors, and the namespaces that anyone is in.

use std::fs;
use std::path::Path;

use super::snapshot::read_if_there;
use super::{Ledger, LedgerError, Section};

/// The kernel keeps this much of a process's name, and one byte for the end.
const COMM_LEN: usize = 15;

/// A process that a leak would leave running.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) pid: u32,
    name: String,
    started: String,
    cgroup: Option<String>,
}

/// Finds the processes called by one of the names or living in a cgroup of that name.
///
/// The caller itself and its ancestors are left out: a test is not its own leak.
pub(super) fn find(names: &[String]) -> Result<Vec<Ours>, LedgerError> {
    let ancestors = ancestors(std::process::id());
    let mut found = Vec::new();
    for pid in pids()? {
        if !ancestors.contains(&pid) {
            found.extend(look(pid, names));
        }
    }
    Ok(found)
}

pub(super) fn record(ledger: &mut Ledger, ours: &[Ours]) {
    for process in ours {
        let Ours {
            pid,
            name,
            started,
            cgroup,
        } = process;
        let place = cgroup
            .as_deref()
            .map(|path| format!(" in cgroup {path}"))
            .unwrap_or_default();
        ledger.add(
            Section::Process,
            format!("{name} pid {pid} started at tick {started}{place}"),
        );
        if let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) {
            let count = entries.count();
            ledger.add(
                Section::Descriptors,
                format!("{name} pid {pid}: {count} open"),
            );
        }
    }
}

/// Lists each namespace that some process is in, once.
pub(super) fn namespaces(ledger: &mut Ledger) -> Result<(), LedgerError> {
    for pid in pids()? {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/ns")) else {
            continue;
        };
        for link in entries
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
        {
            ledger.add_once(Section::Namespace, link.display().to_string());
        }
    }
    Ok(())
}

fn pids() -> Result<Vec<u32>, LedgerError> {
    let proc = Path::new("/proc");
    let entries = fs::read_dir(proc).map_err(|source| LedgerError::read(proc, source))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

fn ancestors(mut pid: u32) -> Vec<u32> {
    let mut line = Vec::new();
    while pid > 0 && !line.contains(&pid) {
        line.push(pid);
        pid = stat(pid).map_or(0, |stat| stat.parent);
    }
    line
}

fn look(pid: u32, names: &[String]) -> Option<Ours> {
    let stat = stat(pid)?;
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let exe_name = exe.as_deref().and_then(exe_name);
    let cgroup =
        read_if_there(format!("/proc/{pid}/cgroup")).and_then(|text| cgroup_of(&text, names));
    let by_name =
        exe_name.as_deref().is_some_and(|name| is_ours(name, names)) || is_ours(&stat.comm, names);
    (by_name || cgroup.is_some()).then(|| Ours {
        pid,
        name: exe_name.unwrap_or(stat.comm),
        started: stat.started,
        cgroup,
    })
}

/// A program in memory reads `/memfd:name (deleted)`; a replaced one ends the same way.
fn exe_name(exe: &Path) -> Option<String> {
    let name = exe.file_name()?.to_str()?;
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    Some(name.strip_prefix("memfd:").unwrap_or(name).to_owned())
}

fn is_ours(name: &str, names: &[String]) -> bool {
    names.iter().any(|ours| {
        let short = &ours[..ours.floor_char_boundary(COMM_LEN)];
        name == ours
            || name == short
            || name
                .strip_prefix(ours.as_str())
                .is_some_and(|rest| rest.starts_with(['-', ':']))
    })
}

/// The first path of `/proc/PID/cgroup` with a component of ours.
fn cgroup_of(text: &str, names: &[String]) -> Option<String> {
    let path_of = |line: &str| line.splitn(3, ':').nth(2).map(ToOwned::to_owned);
    text.lines()
        .filter_map(path_of)
        .find(|path| path.split('/').any(|part| is_ours(part, names)))
}

struct Stat {
    comm: String,
    parent: u32,
    started: String,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&read_if_there(format!("/proc/{pid}/stat"))?)
}

/// The name may hold spaces and parentheses, so the fields after it are counted from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (head, tail) = text.rsplit_once(") ")?;
    let comm = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split(' ');
    // A zombie holds nothing but its number; whoever waits for it is still at work.
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.to_owned();
    (state != "Z").then_some(Stat {
        comm,
        parent,
        started,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["unmoor".to_owned()]
    }

    #[test]
    fn only_whole_names_are_ours() {
        for ours in ["unmoor", "unmoor-shim", "unmoor-relay", "unmoor:web"] {
            assert!(is_ours(ours, &names()), "{ours}");
        }
        for other in ["unmoored", "unmoor_e2e", "bash", "my-unmoor"] {
            assert!(!is_ours(other, &names()), "{other}");
        }
    }

    #[test]
    fn a_program_in_memory_is_known_by_its_name() {
        let name = exe_name(Path::new("/memfd:unmoor-shim (deleted)"));
        assert_eq!(name.as_deref(), Some("unmoor-shim"));
    }

    #[test]
    fn a_cgroup_of_ours_is_found_in_any_hierarchy() {
        let text = "4:pids:/user\n3:memory:/unmoor/shop/web-1\n0::/\n";
        assert_eq!(
            cgroup_of(text, &names()).as_deref(),
            Some("/unmoor/shop/web-1")
        );
        assert_eq!(cgroup_of("0::/system.slice\n", &names()), None);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0\n";
        let stat = parse_stat(text).expect("a stat line");
        assert_eq!(
            (stat.comm.as_str(), stat.parent, stat.started.as_str()),
            ("a) b (c", 1, "4242")
        );
    }
}
