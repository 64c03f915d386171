//! What a replica's cgroups, network and processes say about its use of the host.
//!
//! Each number is looked for where this host counts it; one that it does not count is left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use unmoor_core::backend::{ProcessEntry, Transfer, Usage};

/// The kernel's ticks a second, as `/proc` counts them; fixed on the platforms we know.
const TICKS: u64 = 100;
/// Version 1 writes "no limit" as the largest multiple of a page.
const NO_LIMIT: u64 = 1 << 62;
/// What a host id that is not the replica's is called inside.
const NOBODY: u32 = 65_534;

/// Where a replica is counted.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// The group of the unified hierarchy.
    pub(crate) unified: Option<PathBuf>,
    /// Version 1 groups by controller.
    pub(crate) v1: BTreeMap<&'static str, PathBuf>,
}

impl Accounts {
    /// A file of a controller: its version 1 name in that hierarchy, else its version 2 name.
    fn read(&self, controller: &str, v1: &str, v2: &str) -> Option<String> {
        let old = self.v1.get(controller).map(|group| group.join(v1));
        let new = || self.unified.as_ref().map(|group| group.join(v2));
        std::fs::read_to_string(old.or_else(new)?).ok()
    }

    fn number(&self, controller: &str, v1: &str, v2: &str) -> Option<u64> {
        self.read(controller, v1, v2)?.trim().parse().ok()
    }

    /// The replica's processes in the numbers of this process's pid namespace.
    fn pids(&self) -> Vec<u32> {
        let group = self.unified.as_ref().or_else(|| self.v1.values().next());
        let list = group.map(|group| std::fs::read_to_string(group.join("cgroup.procs")));
        let list = list.and_then(Result::ok).unwrap_or_default();
        list.lines().filter_map(|line| line.parse().ok()).collect()
    }

    fn cpu(&self) -> Option<Duration> {
        // Version 2 counts time in every group, whoever has the controller.
        if let Some(group) = &self.unified {
            let text = std::fs::read_to_string(group.join("cpu.stat")).ok()?;
            return field(&text, "usage_usec").map(Duration::from_micros);
        }
        let path = self.v1.get("cpu")?.join("cpuacct.usage");
        let nanos = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
        Some(Duration::from_nanos(nanos))
    }

    fn memory(&self) -> Option<u64> {
        let used = self.number("memory", "memory.usage_in_bytes", "memory.current")?;
        let stat = self.read("memory", "memory.stat", "memory.stat")?;
        let is_old = self.v1.contains_key("memory");
        let name = if is_old {
            "total_inactive_file"
        } else {
            "inactive_file"
        };
        Some(used.saturating_sub(field(&stat, name).unwrap_or(0)))
    }
}

/// Fills in what is counted.
///
/// `init` is the first process of a replica whose network is its own.
pub(crate) fn of(accounts: &Accounts, init: Option<u32>, mut usage: Usage) -> Usage {
    let limit = |number: Option<u64>| number.filter(|limit| *limit < NO_LIMIT);
    usage.cpu = accounts.cpu();
    usage.memory = accounts.memory();
    usage.memory_limit = limit(accounts.number("memory", "memory.limit_in_bytes", "memory.max"));
    usage.pids = accounts
        .number("pids", "pids.current", "pids.current")
        .or_else(|| {
            let path = accounts.unified.as_ref()?.join("cgroup.threads");
            let threads = std::fs::read_to_string(path).ok()?;
            u64::try_from(threads.lines().count()).ok()
        });
    usage.pids_limit = accounts.number("pids", "pids.max", "pids.max");
    usage.network = init.and_then(network);
    usage.block = block(accounts);
    usage
}

/// A value of a file with a name and a number a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

/// Bytes through the interfaces of a replica's own network, the loopback left out.
fn network(init: u32) -> Option<Transfer> {
    let text = std::fs::read_to_string(format!("/proc/{init}/net/dev")).ok()?;
    let mut total = Transfer::default();
    for line in text.lines() {
        let Some((name, numbers)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let numbers: Vec<u64> = numbers
            .split_ascii_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        total.received += numbers.first().copied().unwrap_or(0);
        total.sent += numbers.get(8).copied().unwrap_or(0);
    }
    Some(total)
}

/// Bytes to and from disks: the group's count, or what its living processes have done.
fn block(accounts: &Accounts) -> Option<Transfer> {
    let counted = accounts.unified.as_ref().map(|group| group.join("io.stat"));
    if let Some(text) = counted.and_then(|path| std::fs::read_to_string(path).ok()) {
        let sum = |key: &str| {
            let words = text.split_ascii_whitespace();
            let values = words.filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok());
            values.sum()
        };
        return Some(Transfer {
            received: sum("rbytes="),
            sent: sum("wbytes="),
        });
    }
    let mut total = Transfer::default();
    for pid in accounts.pids() {
        let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let get = |name: &str| field(&text, name).unwrap_or(0);
        total.received += get("read_bytes:");
        total.sent += get("write_bytes:");
    }
    Some(total)
}

/// The replica's processes, by their number inside.
pub(crate) fn processes(accounts: &Accounts, id_base: u32) -> Vec<ProcessEntry> {
    let boot = boot_time();
    let mut seen: Vec<Seen> = accounts
        .pids()
        .into_iter()
        // One that has ended meanwhile is no longer of interest.
        .filter_map(|pid| look(pid, id_base, boot))
        .collect();
    let inside: BTreeMap<u32, u32> = seen
        .iter()
        .filter_map(|seen| Some((seen.entry.node_pid?, seen.entry.pid)))
        .collect();
    for seen in &mut seen {
        seen.entry.parent = inside.get(&seen.parent).copied().unwrap_or(0);
    }
    let mut list: Vec<ProcessEntry> = seen.into_iter().map(|seen| seen.entry).collect();
    list.sort_by_key(|process| process.pid);
    list
}

struct Seen {
    entry: ProcessEntry,
    /// Its parent's number outside.
    parent: u32,
}

fn look(pid: u32, id_base: u32, boot: Option<SystemTime>) -> Option<Seen> {
    let read = |name: &str| std::fs::read(Path::new("/proc").join(pid.to_string()).join(name)).ok();
    let stat = String::from_utf8_lossy(&read("stat")?).into_owned();
    let (head, fields) = stat.rsplit_once(')')?;
    let name = head.split_once('(').map_or("", |(_, name)| name).to_owned();
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let status = String::from_utf8_lossy(&read("status")?).into_owned();
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
    let inside = line("NSpid:")?
        .split_ascii_whitespace()
        .last()?
        .parse()
        .ok()?;
    let uid: u32 = line("Uid:")?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()?;
    let words = read("cmdline").unwrap_or_default();
    let mut command: Vec<String> = words
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    // The last word ends with a zero as well.
    if command.last().is_some_and(String::is_empty) {
        command.pop();
    }
    if command.is_empty() {
        command.push(format!("[{name}]"));
    }
    let ticks = |count: u64| Duration::from_millis(count.saturating_mul(1000 / TICKS));
    Some(Seen {
        entry: ProcessEntry {
            pid: inside,
            node_pid: Some(pid),
            parent: 0,
            user: uid
                .checked_sub(id_base)
                .filter(|uid| *uid < 65_536)
                .unwrap_or(NOBODY),
            cpu: ticks(number(11)? + number(12)?),
            started: boot
                .zip(number(19))
                .map(|(boot, start)| boot + ticks(start)),
            command,
        },
        parent: u32::try_from(number(1)?).ok()?,
    })
}

fn boot_time() -> Option<SystemTime> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(field(&text, "btime")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_whole_names() {
        let text = "user_usec 7\nusage_usec 42\nusage_usec_more 1\n";
        assert_eq!(field(text, "usage_usec"), Some(42));
        assert_eq!(field(text, "usage"), None);
    }

    #[test]
    fn own_process_is_seen() {
        let own = look(std::process::id(), 0, boot_time()).expect("this process is there");
        assert_eq!(own.entry.node_pid, Some(std::process::id()));
        assert!(!own.entry.command.is_empty());
        assert!(
            own.entry
                .started
                .is_some_and(|start| start <= SystemTime::now())
        );
        assert_eq!(own.parent, std::os::unix::process::parent_id());
    }

    #[test]
    fn what_is_nowhere_counted_is_left_out() {
        let id = unmoor_core::name::ReplicaId::new(
            "s".parse().expect("a name"),
            "a".parse().expect("a name"),
            1,
        );
        let usage = of(
            &Accounts::default(),
            Some(std::process::id()),
            Usage::new(id, UNIX_EPOCH),
        );
        assert_eq!((usage.cpu, usage.memory, usage.pids), (None, None, None));
        assert!(usage.network.is_some());
    }
}
