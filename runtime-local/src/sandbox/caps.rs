//! Linux capabilities by name, docker's default set, and what a service adds or drops.

use std::fmt;

use crate::error::LocalError;

/// Names in the order of their numbers (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What docker gives every container.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// One Linux capability.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinuxCap(u8);

impl LinuxCap {
    /// Reads `NET_ADMIN`, `net_admin` or `CAP_NET_ADMIN`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let at = NAMES.iter().position(|known| *known == name)?;
        u8::try_from(at).ok().map(Self)
    }
}

impl fmt::Debug for LinuxCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES[usize::from(self.0)])
    }
}

/// A set of capabilities as the kernel's bit mask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CapSet(pub(crate) u64);

impl CapSet {
    /// Every capability that has a name.
    pub(crate) const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// Docker's default set.
    pub(crate) fn docker_default() -> Self {
        let mut set = Self::default();
        for cap in DEFAULT.iter().filter_map(|name| LinuxCap::parse(name)) {
            set.insert(cap);
        }
        set
    }

    pub(crate) fn insert(&mut self, cap: LinuxCap) {
        self.0 |= 1 << cap.0;
    }

    fn remove(&mut self, cap: LinuxCap) {
        self.0 &= !(1 << cap.0);
    }

    pub(crate) fn has(self, cap: LinuxCap) -> bool {
        self.0 & (1 << cap.0) != 0
    }

    /// The default set with `add` and `drop` applied as docker does: `ALL` first, then the others,
    /// and a capability in both lists is dropped only if it was not added by name.
    pub(crate) fn adjusted(add: &[String], drop: &[String]) -> Result<Self, LocalError> {
        let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
        let mut set = match (add.iter().any(is_all), drop.iter().any(is_all)) {
            (_, true) => Self::default(),
            (true, false) => Self::ALL,
            (false, false) => Self::docker_default(),
        };
        let named = |list: &[String], what: &'static str| {
            list.iter()
                .filter(|name| !is_all(name))
                .map(|name| LinuxCap::parse(name).ok_or_else(|| unknown(what, name)))
                .collect::<Result<Vec<_>, _>>()
        };
        for cap in named(drop, "cap_drop")? {
            set.remove(cap);
        }
        for cap in named(add, "cap_add")? {
            set.insert(cap);
        }
        Ok(set)
    }

    /// What is in both sets.
    pub(crate) fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

fn unknown(what: &'static str, name: &str) -> LocalError {
    let name: String = name
        .chars()
        .take(40)
        .flat_map(char::escape_default)
        .collect();
    LocalError::Spec(format!("{what}: `{name}` is not a Linux capability"))
}

/// A set from `/proc/self/status`, such as `CapBnd` or `CapEff`.
fn own(field: &str) -> Option<CapSet> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16)
        .ok()
        .map(CapSet)
}

/// The bounding set of this process: nothing it starts may ever have more.
pub(crate) fn bounding() -> CapSet {
    own("CapBnd").unwrap_or_default()
}

/// The capabilities this process has in force.
pub(crate) fn effective() -> CapSet {
    own("CapEff").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_default_set_is_dockers() {
        // docker run --rm busybox grep CapEff /proc/self/status
        assert_eq!(CapSet::docker_default().0, 0xa804_25fb);
    }

    #[test]
    fn adding_and_dropping() {
        let set = |add: &[&str], drop: &[&str]| {
            CapSet::adjusted(&strings(add), &strings(drop)).map(|set| set.0)
        };
        assert_eq!(set(&[], &["ALL"]).ok(), Some(0));
        assert_eq!(set(&["ALL"], &[]).ok(), Some(0x1ff_ffff_ffff));
        assert_eq!(set(&["NET_BIND_SERVICE"], &["ALL"]).ok(), Some(1 << 10));
        assert_eq!(set(&["cap_sys_admin"], &["all"]).ok(), Some(1 << 21));
        assert_eq!(
            set(&["ALL"], &["SYS_ADMIN"]).ok(),
            Some(0x1ff_ffff_ffff & !(1 << 21))
        );
        assert!(set(&["NET_ADMINS"], &[]).is_err());
    }
}
