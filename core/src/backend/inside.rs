//! Facets about what goes on inside a replica: signals, use, processes, files, its own streams.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::backend::{ExecSession, Stream};
use crate::error::Result;
use crate::label::Selector;
use crate::name::ReplicaId;
use crate::signal::Signal;

/// Signals to the programs of replicas.
#[async_trait]
pub trait Signals: Send + Sync + Debug {
    /// Sends a signal to a replica's program. Not idempotent: sent twice, it arrives twice.
    ///
    /// [`Signal::KILL`] ends the replica, and no restart policy starts it again. After any other
    /// signal everything goes on as if the program had done by itself what it then does. A paused
    /// replica is resumed, as docker does it. *Cancelled*: it may have arrived.
    ///
    /// # Errors
    /// `NotFound` without such a replica, `WrongPhase` if it does not run.
    async fn signal(&self, replica: &ReplicaId, signal: Signal) -> Result<()>;
}

/// What a replica has used up to a moment. What is not counted on a platform is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Which.
    pub replica: ReplicaId,
    /// When it was looked at.
    pub time: SystemTime,
    /// Processor time since it started, of all its processes.
    pub cpu: Option<Duration>,
    /// Memory in bytes, without the page cache that can be given up at once.
    pub memory: Option<u64>,
    /// The most memory it may use; `None` is no limit.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The most processes and threads it may have; `None` is no limit.
    pub pids_limit: Option<u64>,
    /// Bytes received from and sent to its networks.
    pub network: Option<Transfer>,
    /// Bytes read from and written to disks.
    pub block: Option<Transfer>,
}

/// Bytes that came in and went out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Received, or read.
    pub received: u64,
    /// Sent, or written.
    pub sent: u64,
}

impl Usage {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new(replica: ReplicaId, time: SystemTime) -> Self {
        Self {
            replica,
            time,
            cpu: None,
            memory: None,
            memory_limit: None,
            pids: None,
            pids_limit: None,
            network: None,
            block: None,
        }
    }

    /// Share of one processor since an earlier look, in hundredths of a percent; 20000 is two whole
    /// processors.
    #[must_use]
    pub fn cpu_since(&self, earlier: &Self) -> Option<u64> {
        let used = self.cpu?.checked_sub(earlier.cpu?)?;
        let passed = self.time.duration_since(earlier.time).ok()?;
        let share = used.as_nanos() * 10_000 / passed.as_nanos().max(1);
        u64::try_from(share).ok()
    }
}

/// What replicas use.
#[async_trait]
pub trait Stats: Send + Sync + Debug {
    /// What each selected replica that runs has used, in the order of their names.
    ///
    /// A read. Replicas that do not run are left out; nothing selected is an empty list.
    ///
    /// # Errors
    /// `Unavailable`, `Timeout`, `Forbidden` from the platform.
    async fn usage(&self, selector: &Selector) -> Result<Vec<Usage>>;
}

/// One process inside a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessEntry {
    /// Its number inside.
    pub pid: u32,
    /// Its number on the node, where that can be known.
    pub node_pid: Option<u32>,
    /// Its parent's number inside; 0 for one whose parent is outside.
    pub parent: u32,
    /// Its user inside.
    pub user: u32,
    /// Processor time used.
    pub cpu: Duration,
    /// When it began.
    pub started: Option<SystemTime>,
    /// Program and arguments; the name in brackets if they cannot be read.
    pub command: Vec<String>,
}

/// Processes inside replicas.
#[async_trait]
pub trait Processes: Send + Sync + Debug {
    /// Lists the processes of a replica, by number. A read.
    ///
    /// # Errors
    /// `NotFound` without such a replica, `WrongPhase` if it does not run.
    async fn processes(&self, replica: &ReplicaId) -> Result<Vec<ProcessEntry>>;
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, pipe or socket.
    Other,
}

/// A file inside a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// What it is.
    pub kind: FileKind,
    /// Its bytes.
    pub size: u64,
    /// Its mode, without the kind.
    pub mode: u32,
    /// Where a symbolic link leads.
    pub target: Option<String>,
}

/// Whose the files are that are copied in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ownership {
    /// The root's inside.
    #[default]
    Root,
    /// The user's and group's that the archive says.
    Archive,
}

/// Files inside replicas, through their mounts. Paths are absolute; nothing outside of a replica is
/// ever reached, whatever its symbolic links say and whatever it does meanwhile.
#[async_trait]
pub trait Files: Send + Sync + Debug {
    /// What a path leads to; a symbolic link at its end is not followed. A read.
    ///
    /// # Errors
    /// `NotFound` without such a replica or file, `WrongPhase` if the replica does not run.
    async fn stat(&self, replica: &ReplicaId, path: &str) -> Result<FileStat>;

    /// A tar archive of a file or directory; its entries begin with the path's last name. A
    /// symbolic link at the path's end is archived as such. A read; dropping the stream ends it.
    ///
    /// Devices, pipes and sockets are left out. A file that changes meanwhile is cut or padded.
    ///
    /// # Errors
    /// As [`stat`](Self::stat); a file that cannot be read is an error item, after which the
    /// stream ends.
    async fn read(&self, replica: &ReplicaId, path: &str) -> Result<Stream<Vec<u8>>>;

    /// Unpacks a tar archive into a directory that is there. Idempotent: files are replaced,
    /// directories joined. *Cancelled*: a part of it is there.
    ///
    /// Entries may be files, directories, symbolic links and hard links to entries; names that lead
    /// out of the directory are refused.
    ///
    /// # Errors
    /// As [`stat`](Self::stat); `InvalidSpec` for what is no archive, and for a directory where a
    /// file is or the other way round.
    async fn write(
        &self,
        replica: &ReplicaId,
        directory: &str,
        archive: Stream<Vec<u8>>,
        owner: Ownership,
    ) -> Result<()>;
}

/// The streams of the replicas' own programs.
#[async_trait]
pub trait Attach: Send + Sync + Debug {
    /// Joins the streams of a replica's program: its output from now on, and its input if it has
    /// one. Ends with the program's exit code. Who joins a terminal first may also get what it has
    /// said before, such as a prompt.
    ///
    /// Unlike with [`Exec`](crate::backend::Exec), dropping the session leaves the program alone.
    ///
    /// # Errors
    /// `NotFound` without such a replica, `WrongPhase` if it does not run.
    async fn attach(&self, replica: &ReplicaId) -> Result<Box<dyn ExecSession>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{ServiceName, StackName};

    #[test]
    fn shares_are_of_one_processor() {
        let stack = StackName::parse("s").expect("a name");
        let id = ReplicaId::new(stack, ServiceName::parse("a").expect("a name"), 1);
        let mut first = Usage::new(id.clone(), SystemTime::UNIX_EPOCH);
        let mut second = Usage::new(id, SystemTime::UNIX_EPOCH + Duration::from_secs(2));
        assert_eq!(second.cpu_since(&first), None, "nothing is counted");
        first.cpu = Some(Duration::from_secs(1));
        second.cpu = Some(Duration::from_secs(4));
        assert_eq!(second.cpu_since(&first), Some(15_000));
        assert_eq!(first.cpu_since(&second), None, "time went back");
    }
}
