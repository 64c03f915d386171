//! What the processes beside idle replicas take.

use std::collections::BTreeSet;
use std::fs;

/// The processes of this name that there are now and whose command line has this in it.
pub(crate) fn processes(name: &str, about: &str) -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| comm(*pid).as_deref() == Some(name) && command(*pid).contains(about))
        .collect()
}

fn command(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn comm(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(text.trim_end().to_owned())
}

/// Sums of `smaps_rollup` over processes, in KB.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Memory {
    count: u64,
    private: u64,
    proportional: u64,
    resident: u64,
}

impl Memory {
    pub(crate) fn of(pids: &BTreeSet<u32>) -> Self {
        let mut sum = Self::default();
        for pid in pids {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let field = |key: &str| -> u64 {
                let line = text.lines().find(|line| line.starts_with(key));
                line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
                    .unwrap_or(0)
            };
            sum.count += 1;
            sum.private += field("Private_Clean:") + field("Private_Dirty:");
            sum.proportional += field("Pss:");
            sum.resident += field("Rss:");
        }
        sum
    }

    /// A line of a table, for so many replicas.
    pub(crate) fn line(&self, name: &str, replicas: u32) -> String {
        let each = |total: u64| total / u64::from(replicas.max(1));
        format!(
            "{name:40} {:3} processes; each replica: private {} KB, proportional {} KB, resident {} KB",
            self.count,
            each(self.private),
            each(self.proportional),
            each(self.resident)
        )
    }
}
