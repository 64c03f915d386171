//! The status record on disk, and who the processes in it are.

use std::os::fd::{AsFd, OwnedFd};

use super::shim::{Fresh, gone};
use crate::fault::{Outcome, Step};
use crate::sys::fs::{self, At};
use crate::sys::process::Ended;
use crate::sys::{Errno, abi, poll, process};
use crate::wire::status::{ProcessId, SIZE, Status};

/// The record's name in the run directory.
pub(super) const NAME: &str = "status";

/// The status and its file.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) status: Status,
    file: OwnedFd,
}

impl Record {
    /// Opens the file, or makes it for a fresh replica; a record already there is taken over.
    pub(super) fn open(run: &OwnedFd, fresh: Fresh) -> Outcome<Self> {
        let step = "open status";
        let file = match fs::open(At::from(run), NAME, fresh.flags(), 0o600) {
            Err(Errno::NOENT) if fresh == Fresh::No => return Err(gone(step)),
            other => other.step(step, NAME)?,
        };
        let mut bytes = [0; SIZE];
        let len = fs::pread(file.as_fd(), &mut bytes, 0).step("read status", NAME)?;
        let status = Status::decode(&bytes[..len]).unwrap_or_default();
        Ok(Self { status, file })
    }

    /// Writes the status. A full disk cannot be told to anybody; the next write may succeed.
    pub(super) fn publish(&mut self) {
        self.status.sequence += 1;
        let _ = fs::pwrite(self.file.as_fd(), &self.status.encode(), 0);
    }

    /// Writes the status so that it outlives a loss of power.
    pub(super) fn publish_durably(&mut self) {
        self.publish();
        let _ = fs::fdatasync(self.file.as_fd());
    }
}

/// This process.
pub(super) fn own_id() -> ProcessId {
    let pid = process::own_pid();
    ProcessId {
        pid,
        start_time: start_time(pid).unwrap_or(0),
    }
}

/// A process by its number; none when it is not there.
pub(super) fn id_of(pid: i32) -> ProcessId {
    let pid = u32::try_from(pid).unwrap_or(0);
    match start_time(pid) {
        Some(start_time) => ProcessId { pid, start_time },
        None => ProcessId::default(),
    }
}

/// When a process began, in the kernel's ticks since boot.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    Stat::read(pid).map(|stat| stat.start_time)
}

/// How a process ended whose parent has not collected it yet.
pub(super) fn zombie_end(id: ProcessId) -> Option<Ended> {
    let stat = Stat::read(id.pid)?;
    let is_it = stat.start_time == id.start_time && stat.is_zombie;
    is_it.then(|| Ended::from_status(stat.exit_status))
}

/// What is read of `/proc/<pid>/stat`.
struct Stat {
    is_zombie: bool,
    start_time: u64,
    exit_status: i32,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_text(At::Cwd, &format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may hold anything, also parentheses and spaces.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        Some(Self {
            is_zombie: fields.first() == Some(&"Z"),
            start_time: fields.get(19)?.parse().ok()?,
            exit_status: fields.get(49)?.parse().ok()?,
        })
    }
}

/// A descriptor of a process, if it is still the one meant.
pub(super) fn open_process(id: ProcessId) -> Option<OwnedFd> {
    if id.pid == 0 {
        return None;
    }
    let pidfd = process::pidfd(id.pid).ok()?;
    // Looked at after the descriptor is held: the number cannot change hands any more.
    (start_time(id.pid) == Some(id.start_time)).then_some(pidfd)
}

/// Whether a process has ended or does so in this time.
pub(super) fn ends_within(pidfd: &OwnedFd, patience_ms: u64) -> bool {
    let mut fds = [poll::watch(pidfd, abi::POLLIN)];
    poll::poll(&mut fds, Some(patience_ms)).is_ok_and(|ready| ready > 0)
}

/// The identity of this boot.
pub(super) fn boot_id() -> [u8; 16] {
    let text = fs::read_text(At::Cwd, "/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_again_and_another_one_is_not_taken_for_it() {
        let id = own_id();
        assert!(id.start_time > 0);
        assert!(open_process(id).is_some());
        assert!(
            open_process(ProcessId {
                start_time: id.start_time + 1,
                ..id
            })
            .is_none()
        );
        assert_ne!(boot_id(), [0; 16]);
    }
}
