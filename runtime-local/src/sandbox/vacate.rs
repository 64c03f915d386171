//! Removing a cgroup that somebody may still be in: its processes are killed, its nested groups go too.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::LocalError;

/// How long the processes of a group may take to end once they are killed.
const LEAVE: Duration = Duration::from_secs(10);
/// Pause between two tries where the kernel tells nobody that a group is empty.
const PAUSE: Duration = Duration::from_millis(5);

/// Removes a cgroup with everything in it; absent is fine.
///
/// # Errors
/// One whose processes do not end, such as those that wait for a disk that has gone.
pub(crate) fn remove(path: &Path) -> Result<(), LocalError> {
    remove_until(path, Instant::now() + LEAVE)
}

fn remove_until(path: &Path, until: Instant) -> Result<(), LocalError> {
    loop {
        let error = match std::fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => error,
        };
        let busy = error.raw_os_error() == Some(Errno::BUSY.raw_os_error());
        if !busy || Instant::now() >= until {
            return Err(LocalError::io("remove cgroup", path, error));
        }
        let mut nested = false;
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                nested = true;
                remove_until(&entry.path(), until)?;
            }
        }
        if !nested {
            empty(path, until);
        }
    }
}

/// Kills what is in a group and waits until it has left, or a little.
fn empty(path: &Path, until: Instant) {
    let mut text = String::new();
    let events = File::open(path.join("cgroup.events"));
    let events = events.and_then(|mut file| file.read_to_string(&mut text).map(|_| file));
    match events {
        Ok(events) if text.lines().any(|line| line == "populated 1") => {
            let _ = std::fs::write(path.join("cgroup.kill"), "1");
            let rest = until.saturating_duration_since(Instant::now());
            let limit = Timespec::try_from(rest).ok();
            let mut fds = [PollFd::new(&events, PollFlags::PRI)];
            // Woken early it only looks again.
            let _ = poll(&mut fds, limit.as_ref());
        }
        Ok(_) => std::thread::park_timeout(PAUSE),
        Err(_) => {
            kill_each(path);
            // Version 1 tells nobody. Where there is a version 2 group, too, that one is emptied
            // first, and with it this one.
            std::thread::park_timeout(PAUSE);
        }
    }
}

/// Kills the processes of a version 1 group one by one.
fn kill_each(path: &Path) {
    let list = || std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for line in list().lines() {
        let pid = line.parse().ok().and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
            // Looked at with the descriptor held: the number cannot change hands any more.
            && list().lines().any(|other| other == line)
        {
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::sandbox::cgroup::Hierarchies;

    fn busy(groups: &[PathBuf]) -> Child {
        let child = Command::new("sleep")
            .arg("1000")
            .stdout(Stdio::null())
            .spawn()
            .expect("run");
        for group in groups {
            std::fs::write(group.join("cgroup.procs"), child.id().to_string()).expect("joined");
        }
        child
    }

    /// The groups of a replica that made groups of its own, with a process in the innermost.
    #[test]
    fn processes_and_nested_groups_go_with_their_group() {
        let name = format!("unmoor-test-{}", std::process::id());
        let hierarchies = Hierarchies::detect().expect("read");
        let groups = hierarchies.directories(&name);
        let inner: Vec<PathBuf> = groups.iter().map(|group| group.join("a/b")).collect();
        if groups.is_empty()
            || inner
                .iter()
                .any(|path| std::fs::create_dir_all(path).is_err())
        {
            unmoor_tools::skipped("cgroups cannot be made here");
            for group in &groups {
                let _ = remove(group);
            }
            return;
        }
        // Version 1 alone, then all of them at once as a replica is.
        let v1: Vec<PathBuf> = inner
            .iter()
            .filter(|path| !path.join("cgroup.events").exists())
            .cloned()
            .collect();
        for joined in [v1, inner.clone()]
            .into_iter()
            .filter(|joined| !joined.is_empty())
        {
            for path in &inner {
                std::fs::create_dir_all(path).expect("made");
            }
            let mut child = busy(&joined);
            let ended = std::thread::spawn(move || child.wait());
            for group in &groups {
                remove(group).expect("removed");
                assert!(!group.exists(), "{}", group.display());
            }
            assert!(!ended.join().expect("waited").expect("ended").success());
        }
        remove(&groups[0]).expect("absent is fine");
    }
}
