//! Linux capabilities by name, docker's default set, and what a service adds or drops.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::spec::Security;

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
pub struct LinuxCap(u8);

impl LinuxCap {
    /// Reads `NET_ADMIN`, `net_admin` or `CAP_NET_ADMIN`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
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

/// A set of Linux capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinuxCaps(u64);

impl LinuxCaps {
    /// Every capability that has a name.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The set of this bit mask, as the kernel writes it.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as the kernel's bit mask.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// What docker gives every container.
    #[must_use]
    pub fn docker_default() -> Self {
        let mut set = Self::default();
        for cap in DEFAULT.iter().filter_map(|name| LinuxCap::parse(name)) {
            set.insert(cap);
        }
        set
    }

    /// What a service has that is not privileged, by what it adds and drops: `ALL` first, then the
    /// others, and what is in both lists is had.
    ///
    /// # Errors
    /// `InvalidSpec` for what is not a capability.
    pub fn of(security: &Security) -> Result<Self> {
        let is_all = |name: &String| is_all(name);
        let (add, drop) = (&security.cap_add, &security.cap_drop);
        let mut set = match (add.iter().any(is_all), drop.iter().any(is_all)) {
            (_, true) => Self::default(),
            (true, false) => Self::ALL,
            (false, false) => Self::docker_default(),
        };
        for cap in named(drop, "cap_drop")? {
            set.remove(cap);
        }
        for cap in named(add, "cap_add")? {
            set.insert(cap);
        }
        Ok(set)
    }

    /// Adds a capability.
    pub fn insert(&mut self, cap: LinuxCap) {
        self.0 |= 1 << cap.0;
    }

    fn remove(&mut self, cap: LinuxCap) {
        self.0 &= !(1 << cap.0);
    }

    /// True if it has the capability.
    #[must_use]
    pub fn has(self, cap: LinuxCap) -> bool {
        self.0 & (1 << cap.0) != 0
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

fn is_all(name: &str) -> bool {
    let plain = name
        .get(..4)
        .filter(|head| head.eq_ignore_ascii_case("CAP_"));
    let plain = plain.map_or(name, |_| &name[4..]);
    plain.eq_ignore_ascii_case("ALL")
}

fn named(list: &[String], what: &str) -> Result<Vec<LinuxCap>> {
    let others = list.iter().filter(|name| !is_all(name));
    let parse = |name: &String| LinuxCap::parse(name).ok_or_else(|| unknown(what, name));
    others.map(parse).collect()
}

fn unknown(what: &str, name: &str) -> Error {
    let name: String = name
        .chars()
        .take(40)
        .flat_map(char::escape_default)
        .collect();
    let text = format!("{what}: `{name}` is not a Linux capability");
    Error::new(ErrorKind::InvalidSpec, text)
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
        assert_eq!(LinuxCaps::docker_default().bits(), 0xa804_25fb);
    }

    #[test]
    fn adding_and_dropping() {
        let set = |add: &[&str], drop: &[&str]| {
            let security = Security {
                cap_add: strings(add),
                cap_drop: strings(drop),
                ..Security::default()
            };
            LinuxCaps::of(&security).map(LinuxCaps::bits)
        };
        assert_eq!(set(&[], &["ALL"]).ok(), Some(0));
        assert_eq!(set(&["ALL"], &[]).ok(), Some(0x1ff_ffff_ffff));
        assert_eq!(set(&["NET_BIND_SERVICE"], &["ALL"]).ok(), Some(1 << 10));
        assert_eq!(set(&["cap_sys_admin"], &["all"]).ok(), Some(1 << 21));
        assert_eq!(set(&["NET_ADMIN"], &["cap_all"]).ok(), Some(1 << 12));
        assert_eq!(
            set(&["ALL"], &["SYS_ADMIN"]).ok(),
            Some(0x1ff_ffff_ffff & !(1 << 21))
        );
        assert!(set(&["NET_ADMINS"], &[]).is_err());
    }
}
