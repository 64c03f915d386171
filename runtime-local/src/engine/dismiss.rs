//! Ending a replica's shim, or what a dead one has left.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Runtime;
use crate::error::LocalError;
use crate::net::{self, NetError};
use crate::sandbox::vacate;
use crate::shim::{self, Control, Seen};
use crate::state::{NetworkRecord, ReplicaRecord, remove_if_empty, services, start_time};
use crate::wire::control::Request;
use crate::wire::status::{Phase, ProcessId, Status};

/// How long a shim that was told to quit, or was killed, may take to be gone.
pub(super) const LEAVE: Duration = Duration::from_secs(5);
/// Pause between two looks at what tells nobody when it changes.
const PAUSE: Duration = Duration::from_millis(5);
/// Looks at a shim that has its lock and no status yet.
const LOOKS: u32 = 2_000;

/// How a shim has gone.
#[derive(Debug)]
pub(super) enum Left {
    /// By itself, with everything that it had made.
    Clean,
    /// It is dead, or never was; what it had made may be there. The lock keeps one that is late
    /// from coming up while its directories are removed; there is none without a directory.
    Unclean {
        /// Held until the directory is gone.
        _lock: Option<File>,
    },
}

impl Left {
    /// True if nothing is left to clear.
    pub(super) fn is_clean(&self) -> bool {
        matches!(self, Self::Clean)
    }
}

impl Runtime {
    /// Stops a replica and lets its shim go.
    pub(super) fn dismiss(&self, record: &ReplicaRecord) -> Result<Left, LocalError> {
        let run = self.layout().run(&record.key);
        for _ in 0..LOOKS {
            let seen = match self.see_alive(record) {
                Ok(seen) => seen,
                // Nobody can be asked any more: end its processes ourselves.
                Err(error) => {
                    tracing::warn!(replica = %record.id, "its shim cannot be replaced: {error}");
                    shim::see(&run)?
                }
            };
            if let Seen::Alive(status) = &seen {
                match self.send_away(record, status)? {
                    Some(left) => return Ok(left),
                    None => continue,
                }
            }
            let lock = match seize(&run)? {
                Seized::Yes(lock) => Some(lock),
                Seized::NoDirectory => {
                    self.end_strays(record);
                    None
                }
                // A shim that has only just begun; its status follows at once.
                Seized::Taken => {
                    std::thread::park_timeout(PAUSE);
                    continue;
                }
            };
            if let Seen::Orphan(status) = &seen
                && let Some(init) = open_process(status.init)
            {
                let _ = pidfd_send_signal(&init, Signal::KILL);
                wait_for_end(&init, LEAVE);
            }
            return Ok(Left::Unclean { _lock: lock });
        }
        let problem = "has held its lock for too long without a word".to_owned();
        Err(LocalError::Protocol {
            replica: record.id.to_string(),
            problem,
        })
    }

    /// Stops the replica of a shim that lives, and the shim; `None` if it has died meanwhile, and
    /// what it supervised may still run.
    pub(super) fn send_away(
        &self,
        record: &ReplicaRecord,
        status: &Status,
    ) -> Result<Option<Left>, LocalError> {
        let run = self.layout().run(&record.key);
        let shim = open_process(status.shim);
        if !matches!(status.phase, Phase::Exited | Phase::Failed) {
            // A shim in the middle of its first start ends when it is told to stop.
            if let Err(error) = self.ask_to_stop(record, None) {
                return died(shim.as_ref(), &run, error);
            }
        }
        let quit = Control::connect(&run, &record.id.to_string())
            .and_then(|mut control| control.ask(&Request::Quit));
        match quit {
            Ok(_) => {
                if let Some(shim) = shim {
                    wait_for_end(&shim, LEAVE);
                }
                Ok(Some(Left::Clean))
            }
            Err(error) => {
                tracing::debug!(replica = %record.id, "its shim does not quit: {error}");
                died(shim.as_ref(), &run, error)
            }
        }
    }

    /// Removes what a shim removes when it goes, for one that could not.
    pub(super) fn clear_traces(
        &self,
        record: &ReplicaRecord,
        on: &[NetworkRecord],
    ) -> Result<(), LocalError> {
        for network in on {
            net::remove_endpoint(&self.zone(network)?, &record.key)?;
        }
        self.relead_across(record, on)?;
        match net::republish(&self.published_now(record, on)?) {
            // Whoever removed the rules has no use for the targets.
            Err(NetError::Kernel { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            other => other?,
        }
        for address in record.addresses.values() {
            net::remove_interface(&net::veth_name(*address))?;
        }
        for path in self
            .hierarchies()
            .directories(&self.cgroup_path(&record.key))
        {
            remove_group(&path)?;
        }
        Ok(())
    }
}

impl Runtime {
    /// The ports that the service of a replica has now, which may not be those it was started with.
    fn published_now(
        &self,
        record: &ReplicaRecord,
        on: &[NetworkRecord],
    ) -> Result<net::Publication, LocalError> {
        let id = &record.id;
        let load = |c: &_| services::load(c, &id.stack, &id.service);
        let service = self.db().read("read services", load)?;
        let Some(service) = service else {
            let ports = Self::fixed_ports(&record.desired.spec, on)?;
            return self.publication(&id.service, ports, on);
        };
        let spec = &service.desired.spec;
        let on = self.network_records(&id.stack, &id.service, spec)?;
        let ports = Self::fixed_ports(spec, &on)?;
        self.publication(&id.service, ports, &on)
    }

    /// Removes the group in which the shim of a replica lived, and those above if they are empty.
    ///
    /// A shim cannot do that itself: it is in there until its end.
    pub(super) fn remove_shim_group(&self, record: &ReplicaRecord) -> Result<(), LocalError> {
        let path = self.cgroup_path(&record.key);
        match self.hierarchies().shim_directory(&path) {
            Some(directory) => remove_group(&directory),
            None => Ok(()),
        }
    }
}

/// Removes a cgroup and those that we may have made above it; absent is fine.
fn remove_group(path: &Path) -> Result<(), LocalError> {
    vacate::remove(path)?;
    for parent in path.ancestors().skip(1).take(2) {
        remove_if_empty(parent);
    }
    Ok(())
}

enum Seized {
    Yes(File),
    Taken,
    NoDirectory,
}

/// Takes a shim's own lock in its place.
fn seize(run: &Path) -> Result<Seized, LocalError> {
    let path = run.join("lock");
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let opened = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Seized::NoDirectory);
        }
        Err(source) => return Err(LocalError::io("open lock", &path, source)),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Seized::Yes(file)),
        Err(Errno::WOULDBLOCK) => Ok(Seized::Taken),
        Err(source) => Err(LocalError::io("lock", &path, source)),
    }
}

/// A descriptor of a process, if it is still the one meant.
pub(super) fn open_process(id: ProcessId) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(id.pid).ok()?)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Looked at with the descriptor held: the number cannot change hands any more.
    (start_time(id.pid) == Some(id.start_time)).then_some(process)
}

/// True if it has ended.
pub(super) fn wait_for_end(process: &OwnedFd, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).ok();
    // A signal that interrupts the wait shortens it; whoever comes next finds what is left.
    let ended = poll(&mut [PollFd::new(process, PollFlags::IN)], limit.as_ref());
    ended.is_ok_and(|count| count > 0)
}

/// Sees to it that a shim which did not do as it was told has died; one that is dying loses its
/// socket before its lock. One that lives and does not answer is ended: its successor will.
fn died(shim: Option<&OwnedFd>, run: &Path, error: LocalError) -> Result<Option<Left>, LocalError> {
    let lost = matches!(error, LocalError::Protocol { .. }) || error.is_of_the_dead();
    let ended = match shim {
        Some(shim) if lost => wait_for_end(shim, LEAVE) || end(shim, &error),
        Some(shim) => wait_for_end(shim, Duration::ZERO),
        // It was gone before it was asked; whoever holds the lock now is its successor.
        None => lost || !shim::is_shim_alive(run),
    };
    if ended { Ok(None) } else { Err(error) }
}

fn end(shim: &OwnedFd, why: &LocalError) -> bool {
    tracing::warn!("a shim is replaced: {why}");
    pidfd_send_signal(shim, Signal::KILL).is_ok() && wait_for_end(shim, LEAVE)
}
