//! Linux capabilities by name.

use unmoor_core::spec::Security;
use unmoor_core::{Error, ErrorKind, Result};

/// Names in the order of their numbers, from 0.
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

/// Docker's default set.
const DEFAULT: u64 = 0xa804_25fb;
const ALL: u64 = (1 << NAMES.len()) - 1;

/// Reading and writing whatever the permission bits say.
pub(crate) const DAC_OVERRIDE: u64 = 1 << 1;

fn bits(name: &str) -> Result<u64> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if plain == "ALL" {
        return Ok(ALL);
    }
    match NAMES.iter().position(|known| *known == plain) {
        Some(number) => Ok(1 << number),
        None => {
            let text = format!("`{}` is no Linux capability", name.escape_default());
            Err(Error::new(ErrorKind::InvalidSpec, text))
        }
    }
}

/// The capabilities of root inside.
pub(crate) fn set(security: &Security) -> Result<u64> {
    let mut set = DEFAULT;
    // `cap_drop: ALL` with `cap_add: X` leaves X, so dropping comes first.
    for name in &security.cap_drop {
        set &= !bits(name)?;
    }
    for name in &security.cap_add {
        set |= bits(name)?;
    }
    Ok(set)
}

/// Every capability there is.
pub(crate) fn all() -> u64 {
    ALL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_all_leaves_what_is_added() {
        let security = Security {
            cap_add: vec!["CAP_NET_ADMIN".to_owned()],
            cap_drop: vec!["all".to_owned()],
            ..Security::default()
        };
        assert_eq!(set(&security).ok(), Some(1 << 12));
        let wrong = Security {
            cap_add: vec!["X".to_owned()],
            ..Security::default()
        };
        assert!(set(&wrong).is_err());
    }
}
