//! Who a process is, so that a later one with the same number is never mistaken for it.

use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::error::LocalError;
use crate::failpoint::pretended_boot;

/// The number of this boot, without dashes.
pub(crate) fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        if let Some(pretended) = pretended_boot() {
            return pretended;
        }
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.chars().filter(char::is_ascii_hexdigit).collect()
    })
}

/// A process that cannot be mistaken for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Number.
    pub(crate) pid: u32,
    /// Start time, field 22 of `/proc/<pid>/stat`.
    pub(crate) start_time: u64,
    /// The boot it belongs to.
    pub(crate) boot_id: String,
}

impl Identity {
    /// This process.
    pub(crate) fn own() -> Self {
        static START: OnceLock<u64> = OnceLock::new();
        let pid = std::process::id();
        let start_time = *START.get_or_init(|| start_time(pid).unwrap_or_default());
        Self {
            pid,
            start_time,
            boot_id: boot_id().to_owned(),
        }
    }

    /// True while exactly this process runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.boot_id == boot_id() && start_time(self.pid) == Some(self.start_time)
    }
}

/// When a process started; `None` if there is none or it has ended.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in the second field may hold anything, also spaces and brackets.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// A process as people know it: number and command line.
pub(crate) fn describe(pid: u32) -> String {
    let path = format!("/proc/{pid}/cmdline");
    let bytes = std::fs::read(Path::new(&path)).unwrap_or_default();
    let words: Vec<_> = bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).escape_debug().to_string())
        .collect();
    let command: String = words.join(" ").chars().take(80).collect();
    if command.is_empty() {
        format!("process {pid}")
    } else {
        format!("process {pid} ({command})")
    }
}

/// The time now as nanoseconds since 1970, as records keep it.
pub(crate) fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since
        .ok()
        .and_then(|d| u64::try_from(d.as_nanos()).ok())
        .unwrap_or_default()
}

/// Bytes from the kernel's generator as hex digits.
///
/// # Errors
/// None are known on a running system.
pub(crate) fn random_hex(bytes: usize) -> Result<String, LocalError> {
    let mut buffer = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut buffer[filled..], flags).map_err(|source| {
            LocalError::io("read random bytes from", Path::new("the kernel"), source)
        })?;
    }
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let own = Identity::own();
        assert!(own.is_alive());
        assert!(
            !Identity {
                start_time: own.start_time + 1,
                ..own.clone()
            }
            .is_alive()
        );
        assert!(
            !Identity {
                boot_id: "other".into(),
                ..own
            }
            .is_alive()
        );
        assert!(describe(std::process::id()).contains(&std::process::id().to_string()));
    }

    #[test]
    fn an_ended_child_is_not_alive() {
        let mut child = std::process::Command::new("/bin/true")
            .spawn()
            .expect("spawns");
        let pid = child.id();
        rustix::process::waitid(
            rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child)),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        )
        .expect("ends");
        assert_eq!(start_time(pid), None, "a zombie has ended");
        child.wait().expect("reaped");
    }
}
