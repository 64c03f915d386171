//! Replicas of which somebody has removed a part under them: the run directory, whose shim hears
//! nobody any more, or an interface.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Runtime;
use crate::error::LocalError;
use crate::net;
use crate::shim::{self, Seen};
use crate::state::{Intent, ReplicaRecord};
use crate::wire::status::{Phase, Status};

/// How long a killed process may take to be gone.
const LEAVE: Duration = Duration::from_secs(5);

/// What is gone of a replica that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// Its run directory, and with it whoever could be asked.
    RunDirectory,
    /// An interface: nobody reaches it.
    Interface,
}

impl Runtime {
    /// What somebody has removed under a replica.
    pub(super) fn lost(
        &self,
        record: &ReplicaRecord,
        seen: &Seen,
    ) -> Result<Option<Lost>, LocalError> {
        if let Seen::Alive(status) = seen {
            let lost = self.lacks_interface(record, status)?;
            return Ok(lost.then_some(Lost::Interface));
        }
        if !matches!(seen, Seen::Nothing) || self.layout().run(&record.key).exists() {
            return Ok(None);
        }
        // No command is about it, and one that makes a replica makes its directory before it lets go.
        let about = |c: &_| Intent::is_about(c, &record.key);
        let begun = self.db().read("read intents", about)?;
        Ok((!begun).then_some(Lost::RunDirectory))
    }

    /// True for a replica that runs and of whose interfaces one is gone. It cannot be given back:
    /// its other end went along.
    pub(super) fn lacks_interface(
        &self,
        record: &ReplicaRecord,
        status: &Status,
    ) -> Result<bool, LocalError> {
        // While it starts or ends there may be none.
        if !matches!(status.phase, Phase::Running | Phase::Paused) {
            return Ok(false);
        }
        for address in record.addresses.values() {
            if !net::has_interface(&net::veth_name(*address))? {
                let now = shim::see(&self.layout().run(&record.key))?;
                let same = now.status().is_some_and(|now| {
                    now.generation == status.generation && now.phase == status.phase
                });
                return Ok(same);
            }
        }
        Ok(false)
    }

    /// Ends the shim of a lost replica and what it runs; what they leave is to be cleared.
    pub(super) fn end_strays(&self, record: &ReplicaRecord) {
        let gone = format!("/run/{} (deleted)", record.key);
        let title = format!("unmoor-shim {}", record.id);
        for pid in numbers("/proc") {
            let Some(shim) = open_if(pid, || is_stray(pid, &title, &gone)) else {
                continue;
            };
            tracing::warn!(replica = %record.id, "end its shim {pid}, whose run directory is gone");
            let list = format!("/proc/{pid}/task/{pid}/children");
            let children = std::fs::read_to_string(list).unwrap_or_default();
            let children: Vec<OwnedFd> = children
                .split_whitespace()
                .filter_map(|child| child.parse().ok())
                .filter_map(|child| open_if(child, || true))
                .collect();
            // The shim first: it would start the program again.
            for process in std::iter::once(&shim).chain(&children) {
                let _ = pidfd_send_signal(process, Signal::KILL);
                let limit = Timespec::try_from(LEAVE).ok();
                let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], limit.as_ref());
            }
        }
    }
}

/// The entries of a directory that are numbers.
fn numbers(directory: &str) -> Vec<i32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// A descriptor of a process that is what it should be, looked at with the descriptor held.
fn open_if(pid: i32, check: impl Fn() -> bool) -> Option<OwnedFd> {
    if !check() {
        return None;
    }
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    check().then_some(process)
}

/// True for a shim of this title that holds the directory that is gone.
fn is_stray(pid: i32, title: &str, gone: &str) -> bool {
    let Ok(command) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    if command.split(|byte| *byte == 0).next() != Some(title.as_bytes()) {
        return false;
    }
    let folder = format!("/proc/{pid}/fd");
    let open = |number: i32| std::fs::read_link(Path::new(&folder).join(number.to_string()));
    let mut held = numbers(&folder)
        .into_iter()
        .filter_map(|number| open(number).ok());
    held.any(|target| target.to_str().is_some_and(|target| target.ends_with(gone)))
}
