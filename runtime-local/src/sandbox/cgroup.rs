//! Where limits go on this host, found controller by controller, and the groups a replica joins.
//!
//! A host may have every controller in the unified hierarchy, every one in a hierarchy of its
//! own, or some of each; asking "version 1 or 2?" once would be wrong on the last kind.

use std::collections::BTreeMap;
use std::path::Path;

use unmoor_core::spec::Resources;
use unmoor_core::units::MilliCpu;

use super::usage::Accounts;
use crate::error::LocalError;
use crate::wire::plan::{Cgroup, CgroupVersion, shim_group};

/// Version 1 hierarchies a replica joins even without a limit: otherwise what it uses would count
/// against, and be killed with, whoever started it.
const ALWAYS: [&str; 3] = ["memory", "cpu", "pids"];
/// Version 1's way to freeze processes, joined where there is no unified hierarchy to do it.
const FREEZER: &str = "freezer";
/// Length of the window in which processor time is counted.
const PERIOD_US: u64 = 100_000;
/// The longest window, for shares whose part of the usual one is below the kernel's smallest.
const PERIOD_MAX_US: u64 = 1_000_000;
/// The kernel's smallest quota.
const QUOTA_MIN_US: u64 = 1_000;

/// The cgroup hierarchies of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// Mount point by version 1 controller.
    v1: BTreeMap<String, String>,
    /// The unified hierarchy, with the controllers it can hand down.
    v2: Option<(String, Vec<String>)>,
}

impl Hierarchies {
    /// Looks at the mounts of this process.
    pub(crate) fn detect() -> Result<Self, LocalError> {
        let path = Path::new("/proc/self/mountinfo");
        let text =
            std::fs::read_to_string(path).map_err(|source| LocalError::io("read", path, source))?;
        Ok(Self::parse(&text, |mount| handed_down(Path::new(mount))))
    }

    fn parse(mountinfo: &str, controllers_of: impl Fn(&str) -> String) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let Some(mount) = left.split(' ').nth(4).map(unescape) else {
                continue;
            };
            let mut fields = right.split(' ');
            let (kind, _, options) = (fields.next(), fields.next(), fields.next());
            match kind {
                Some("cgroup2") if found.v2.is_none() => {
                    let controllers = controllers_of(&mount);
                    let list = controllers
                        .split_ascii_whitespace()
                        .map(str::to_owned)
                        .collect();
                    found.v2 = Some((mount, list));
                }
                Some("cgroup") => {
                    for controller in options.unwrap_or_default().split(',') {
                        found
                            .v1
                            .entry(controller.to_owned())
                            .or_insert_with(|| mount.clone());
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn has_v2(&self, controller: &str) -> bool {
        self.v2
            .as_ref()
            .is_some_and(|(_, list)| list.iter().any(|name| name == controller))
    }

    /// The groups that a replica joins at `path`, with what is written to limit it.
    ///
    /// # Errors
    /// A limit for which this host has no controller.
    pub(crate) fn plan(&self, path: &str, wanted: &Resources) -> Result<Vec<Cgroup>, LocalError> {
        let mut groups: Vec<Cgroup> = Vec::new();
        if let Some((mount, _)) = &self.v2 {
            groups.push(group(CgroupVersion::V2, mount, path));
        }
        for controller in ALWAYS {
            let limit = limited(controller, wanted);
            if let Some(mount) = self.v1.get(controller) {
                let writes = writes(controller, wanted, CgroupVersion::V1);
                let known = groups.iter().position(|group| group.base == *mount);
                let at = known.unwrap_or_else(|| {
                    groups.push(group(CgroupVersion::V1, mount, path));
                    groups.len() - 1
                });
                groups[at].controllers.push(controller.to_owned());
                groups[at].writes.extend(writes);
            } else if limit && self.has_v2(controller) {
                let writes = writes(controller, wanted, CgroupVersion::V2);
                groups[0].controllers.push(controller.to_owned());
                groups[0].writes.extend(writes);
            } else if limit {
                return Err(LocalError::NoController(controller));
            }
        }
        if self.v2.is_none()
            && let Some(mount) = self.v1.get(FREEZER)
        {
            let mut freezer = group(CgroupVersion::V1, mount, path);
            freezer.controllers.push(FREEZER.to_owned());
            groups.push(freezer);
        }
        Ok(groups)
    }

    /// True if a replica's processes can be frozen.
    pub(crate) fn can_freeze(&self) -> bool {
        self.v2.is_some() || self.v1.contains_key(FREEZER)
    }

    /// Where a replica whose groups are at `path` is counted.
    pub(crate) fn accounts(&self, path: &str) -> Accounts {
        let at = |mount: &str| Path::new(mount).join(path);
        let joined = ALWAYS
            .iter()
            .filter_map(|name| Some((*name, self.v1.get(*name)?)));
        Accounts {
            unified: self.v2.as_ref().map(|(mount, _)| at(mount)),
            v1: joined.map(|(name, mount)| (name, at(mount))).collect(),
        }
    }

    /// The controllers for which a limit can be set, of `memory`, `cpu` and `pids`.
    pub(crate) fn can_limit(&self, controller: &str) -> bool {
        self.v1.contains_key(controller) || self.has_v2(controller)
    }

    /// The directory of the group that the shim of the replica at `path` lives in, if there is one.
    pub(crate) fn shim_directory(&self, path: &str) -> Option<std::path::PathBuf> {
        let (mount, _) = self.v2.as_ref()?;
        Some(Path::new(mount).join(shim_group(path)))
    }

    /// The groups of shims beneath `path`, with the keys of their replicas.
    pub(crate) fn shim_groups(&self, path: &str) -> Vec<(String, std::path::PathBuf)> {
        let Some((mount, _)) = &self.v2 else {
            return Vec::new();
        };
        let entries = std::fs::read_dir(Path::new(mount).join(path));
        let entries = entries.into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let key = name.strip_suffix(&shim_group(""))?.to_owned();
                Some((key, entry.path()))
            })
            .collect()
    }

    /// The directories that belong to `path`, whatever their hierarchy.
    pub(crate) fn directories(&self, path: &str) -> Vec<std::path::PathBuf> {
        let v2 = self.v2.iter().map(|(mount, _)| mount.as_str());
        let freezer = self.v2.is_none().then_some(&FREEZER);
        let v1 = ALWAYS
            .iter()
            .chain(freezer)
            .filter_map(|name| self.v1.get(*name))
            .map(String::as_str);
        v2.chain(v1)
            .map(|base| Path::new(base).join(path))
            .collect()
    }
}

/// The controllers that the group at the top of a mount can give to groups below it.
///
/// Those it gives already are no question. Another can be added only while no process lives in the
/// group itself, unless it is the root of all groups; a container's is not.
fn handed_down(mount: &Path) -> String {
    let read = |file: &str| std::fs::read_to_string(mount.join(file)).unwrap_or_default();
    let is_root = !mount.join("cgroup.type").exists();
    if is_root || read("cgroup.procs").trim().is_empty() {
        read("cgroup.controllers")
    } else {
        read("cgroup.subtree_control")
    }
}

fn group(version: CgroupVersion, base: &str, path: &str) -> Cgroup {
    Cgroup {
        version,
        base: base.to_owned(),
        path: path.to_owned(),
        controllers: Vec::new(),
        writes: Vec::new(),
    }
}

fn limited(controller: &str, wanted: &Resources) -> bool {
    match controller {
        "memory" => wanted.memory.is_some() || wanted.memory_reservation.is_some(),
        "cpu" => wanted.cpu.is_some() || wanted.cpu_shares.is_some(),
        _ => wanted.pids.is_some(),
    }
}

fn writes(controller: &str, wanted: &Resources, version: CgroupVersion) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut write = |file: &str, value: String| files.push((file.to_owned(), value));
    let v1 = version == CgroupVersion::V1;
    match controller {
        "memory" => {
            if let Some(limit) = wanted.memory {
                let bytes = limit.0;
                write(
                    if v1 {
                        "memory.limit_in_bytes"
                    } else {
                        "memory.max"
                    },
                    bytes.to_string(),
                );
                // As docker: as much swap again as there is memory.
                if v1 {
                    let both = bytes.saturating_mul(2).to_string();
                    write("memory.memsw.limit_in_bytes", both);
                } else {
                    write("memory.swap.max", bytes.to_string());
                }
            }
            if let Some(reserved) = wanted.memory_reservation {
                let file = if v1 {
                    "memory.soft_limit_in_bytes"
                } else {
                    "memory.low"
                };
                write(file, reserved.0.to_string());
            }
        }
        "cpu" => {
            if let Some(share) = wanted.cpu {
                let (quota, period) = quota(share);
                if v1 {
                    write("cpu.cfs_period_us", period.to_string());
                    write("cpu.cfs_quota_us", quota.to_string());
                } else {
                    write("cpu.max", format!("{quota} {period}"));
                }
            }
            if let Some(shares) = wanted.cpu_shares {
                if v1 {
                    write("cpu.shares", shares.to_string());
                } else {
                    write("cpu.weight", weight(shares).to_string());
                }
            }
        }
        _ => {
            if let Some(most) = wanted.pids {
                write("pids.max", most.to_string());
            }
        }
    }
    files
}

/// Microseconds of processor time, and of the window in which they may be used.
fn quota(share: MilliCpu) -> (u64, u64) {
    let of = |period: u64| u64::from(share.0) * period / 1000;
    if of(PERIOD_US) >= QUOTA_MIN_US {
        (of(PERIOD_US), PERIOD_US)
    } else {
        (of(PERIOD_MAX_US).max(QUOTA_MIN_US), PERIOD_MAX_US)
    }
}

/// The weight in the unified hierarchy, 1 to 10,000, of shares from 2 to 262,144, as other runtimes
/// have it.
fn weight(shares: u32) -> u64 {
    1 + u64::from(shares.saturating_sub(2)) * 9_999 / 262_142
}

/// Space, tab, newline and backslash stand as octal in mountinfo.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use unmoor_core::units::Bytes;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

    fn limits() -> Resources {
        Resources {
            cpu: Some(MilliCpu(500)),
            memory: Some(Bytes(64 << 20)),
            memory_reservation: None,
            pids: Some(100),
            cpu_shares: Some(512),
        }
    }

    fn strings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(file, value)| ((*file).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn each_controller_is_found_where_it_is() {
        let host = Hierarchies::parse(HYBRID, |_| "pids hugetlb".to_owned());
        let groups = host
            .plan("unmoor/x", &limits())
            .expect("every limit has its controller");
        let view: Vec<_> = groups
            .iter()
            .map(|g| (g.version, g.base.as_str()))
            .collect();
        assert_eq!(
            view,
            [
                (CgroupVersion::V2, "/sys/fs/cgroup/unified"),
                (CgroupVersion::V1, "/sys/fs/cgroup/memory"),
                (CgroupVersion::V1, "/sys/fs/cgroup/cpu,cpuacct"),
            ]
        );
        assert_eq!(groups[0].writes, strings(&[("pids.max", "100")]));
        assert_eq!(groups[0].controllers, ["pids"]);
        assert_eq!(
            groups[1].writes,
            strings(&[
                ("memory.limit_in_bytes", "67108864"),
                ("memory.memsw.limit_in_bytes", "134217728"),
            ])
        );
        assert_eq!(
            groups[2].writes,
            strings(&[
                ("cpu.cfs_period_us", "100000"),
                ("cpu.cfs_quota_us", "50000"),
                ("cpu.shares", "512")
            ])
        );
    }

    #[test]
    fn a_unified_host_has_one_group() {
        let host = Hierarchies::parse(UNIFIED, |_| "cpuset cpu io memory pids".to_owned());
        let groups = host.plan("unmoor/x", &limits()).expect("all there");
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].controllers, ["memory", "cpu", "pids"]);
        assert_eq!(
            groups[0].writes,
            strings(&[
                ("memory.max", "67108864"),
                ("memory.swap.max", "67108864"),
                ("cpu.max", "50000 100000"),
                ("cpu.weight", "20"),
                ("pids.max", "100"),
            ])
        );
        let free = host
            .plan("unmoor/x", &Resources::default())
            .expect("nothing wanted");
        assert!(
            free[0].controllers.is_empty(),
            "nothing is enabled that nobody asked for"
        );
    }

    #[test]
    fn a_limit_without_a_controller_is_an_error() {
        let host = Hierarchies::parse(HYBRID, |_| String::new());
        let error = host
            .plan("unmoor/x", &limits())
            .expect_err("no pids anywhere");
        assert!(error.to_string().contains("pids"), "{error}");
        assert!(host.plan("unmoor/x", &Resources::default()).is_ok());
    }

    #[test]
    fn a_group_with_processes_hands_down_what_it_does_already() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |file: &str, text: &str| {
            std::fs::write(dir.path().join(file), text).expect("written");
        };
        write("cgroup.controllers", "cpu memory pids\n");
        write("cgroup.subtree_control", "pids\n");
        write("cgroup.procs", "1\n7\n");
        assert_eq!(handed_down(dir.path()), "cpu memory pids\n", "of the root");
        write("cgroup.type", "domain\n");
        assert_eq!(handed_down(dir.path()), "pids\n");
        write("cgroup.procs", "");
        assert_eq!(
            handed_down(dir.path()),
            "cpu memory pids\n",
            "of an empty one"
        );
    }

    #[test]
    fn tiny_shares_use_a_longer_window() {
        assert_eq!(quota(MilliCpu(1)), (1_000, 1_000_000));
        assert_eq!(quota(MilliCpu(9)), (9_000, 1_000_000));
        assert_eq!(quota(MilliCpu(10)), (1_000, 100_000));
        assert_eq!(quota(MilliCpu(2_500)), (250_000, 100_000));
        assert_eq!(unescape(r"/a\040b\134"), "/a b\\");
    }
}
