//! What some platforms offer beyond the required core.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::image::{Digest, ImageRef, Platform};
use crate::label::Selector;
use crate::name::{ReplicaId, StackName};
use crate::spec::{Exposed, Health, PullPolicy};

/// A stream that ends when it is dropped.
pub type Stream<T> = BoxStream<'static, Result<T>>;

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line that a replica wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Who wrote it.
    pub replica: ReplicaId,
    /// When.
    pub time: SystemTime,
    /// Where.
    pub channel: Channel,
    /// The line without its end; invalid UTF-8 is replaced.
    pub text: String,
    /// What was written, with the end of the line if it has one, where that is not `text` and a
    /// newline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<Vec<u8>>,
}

/// Which log lines are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogOptions {
    /// Go on with what is written from now on, also by replicas that come later.
    pub follow: bool,
    /// Only the last so many lines of each replica.
    pub tail: Option<usize>,
    /// Only lines written at or after this time.
    pub since: Option<SystemTime>,
}

impl LogOptions {
    /// Everything that is there, then the end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with what is written from now on.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Only the last `lines` of each replica.
    #[must_use]
    pub fn tail(mut self, lines: Option<usize>) -> Self {
        self.tail = lines;
        self
    }

    /// Only lines from `time` on.
    #[must_use]
    pub fn since(mut self, time: Option<SystemTime>) -> Self {
        self.since = time;
        self
    }
}

/// What replicas wrote.
#[async_trait]
pub trait Logs: Send + Sync + Debug {
    /// Streams the lines of all selected replicas, each replica's in order.
    ///
    /// A read. Without `follow` the stream ends after what is there; with it, when it is dropped or
    /// no selected replica is left. *Cancelled*: nothing.
    ///
    /// # Errors
    /// `NotFound` if nothing is selected; an item that cannot be read is an error item.
    async fn logs(&self, selector: &Selector, options: &LogOptions) -> Result<Stream<LogLine>>;
}

/// A command to run inside a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecOptions {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables over the replica's own.
    pub env: BTreeMap<String, String>,
    /// Working directory; default: the replica's.
    pub working_dir: Option<String>,
    /// User; default: the replica's.
    pub user: Option<String>,
    /// Give it a terminal of this size (columns, rows).
    pub tty: Option<(u16, u16)>,
    /// Keep its standard input open.
    pub stdin: bool,
}

impl ExecOptions {
    /// A command with the replica's user, directory and variables.
    #[must_use]
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            working_dir: None,
            user: None,
            tty: None,
            stdin: false,
        }
    }

    /// Keeps its standard input open.
    #[must_use]
    pub fn stdin(mut self, open: bool) -> Self {
        self.stdin = open;
        self
    }

    /// Gives it a terminal.
    #[must_use]
    pub fn tty(mut self, size: Option<(u16, u16)>) -> Self {
        self.tty = size;
        self
    }

    /// Runs it as another user.
    #[must_use]
    pub fn user(mut self, user: Option<String>) -> Self {
        self.user = user;
        self
    }

    /// Runs it in another directory.
    #[must_use]
    pub fn working_dir(mut self, path: Option<String>) -> Self {
        self.working_dir = path;
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(key.into(), value.into());
        self
    }
}

/// What a running command wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutput {
    /// Bytes of standard output (or of the terminal).
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// The end: exit code, 128 + signal if a signal ended it. Always the last item.
    Exited(i32),
}

/// A running command. Dropping it kills the command.
///
/// Every method is cancel-safe: it may stand in a `select!` and be called again after another
/// branch was taken, without losing or repeating a byte. [`write_all`](Self::write_all) alone may
/// have written a part.
#[async_trait]
pub trait ExecSession: Send + Debug {
    /// The next output, or `None` after `Exited`.
    ///
    /// *Cancelled*: nothing was taken; the next call gives what this one would have given.
    ///
    /// # Errors
    /// `Unavailable` if the connection to the replica is lost.
    async fn next(&mut self) -> Result<Option<ExecOutput>>;

    /// Writes as much to its standard input as there is room for, and says how much: at least one
    /// byte unless `bytes` is empty. Waits for room if there is none.
    ///
    /// *Cancelled*: nothing was written.
    ///
    /// # Errors
    /// `WrongPhase` if its standard input is closed.
    async fn write(&mut self, bytes: &[u8]) -> Result<usize>;

    /// Writes all of it to its standard input.
    ///
    /// *Cancelled*: a part was written, and how much is not known.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    async fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = self.write(rest).await?;
            rest = &rest[count.min(rest.len())..];
        }
        Ok(())
    }

    /// Closes its standard input; closed already is success. *Cancelled*: it is closed or not, and
    /// the next call closes it.
    ///
    /// # Errors
    /// `Unavailable` if the connection to the replica is lost.
    async fn close_stdin(&mut self) -> Result<()>;

    /// Tells its terminal's size in columns and rows. *Cancelled*: it is told or not.
    ///
    /// # Errors
    /// `WrongPhase` without a terminal.
    async fn resize(&mut self, columns: u16, rows: u16) -> Result<()>;
}

/// Commands inside replicas.
#[async_trait]
pub trait Exec: Send + Sync + Debug {
    /// Starts a command inside a replica. Each call starts another one. *Cancelled*: it was not
    /// started, or it is killed.
    ///
    /// # Errors
    /// `NotFound` without such a replica, `WrongPhase` if it does not run. A program that is not
    /// there or not executable is no error but exit code 127 or 126.
    async fn exec(
        &self,
        replica: &ReplicaId,
        options: &ExecOptions,
    ) -> Result<Box<dyn ExecSession>>;

    /// Starts a command inside a replica that nobody follows: it reads nothing, what it writes is
    /// dropped, and it goes on until it or its replica ends. Each call starts another one.
    /// *Cancelled*: it was started or not.
    ///
    /// # Errors
    /// As [`exec`](Self::exec), but a program that is not there or not executable is an error with
    /// that exit code; `Unsupported` where commands end with who started them.
    async fn exec_detached(&self, replica: &ReplicaId, options: &ExecOptions) -> Result<()> {
        let _ = options;
        let text = "here a command ends with the session that started it";
        Err(Error::new(ErrorKind::Unsupported, text).on(replica))
    }
}

/// What an image says about how to run it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDefaults {
    /// Entrypoint.
    pub entrypoint: Vec<String>,
    /// Command.
    pub command: Vec<String>,
    /// Variables, as `KEY=value`.
    pub env: Vec<String>,
    /// User.
    pub user: Option<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Ports it listens on.
    pub exposed: Vec<Exposed>,
    /// Paths that should be volumes.
    pub volumes: Vec<String>,
    /// Stop signal.
    pub stop_signal: Option<String>,
    /// Health check.
    pub health: Option<Health>,
}

/// An image found: its digest and its defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedImage {
    /// As the user wrote it.
    pub reference: ImageRef,
    /// The manifest's digest.
    pub digest: Digest,
    /// What it says about how to run it.
    pub defaults: ImageDefaults,
}

/// An image in a backend's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageEntry {
    /// Name; `None` if no name is left.
    pub reference: Option<ImageRef>,
    /// The manifest's digest.
    pub digest: Digest,
    /// Bytes of its compressed layers.
    pub size: u64,
    /// When its author made it.
    pub created: Option<SystemTime>,
}

/// Where images are loaded from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageInput {
    /// A file or directory: an OCI layout, or what `docker save` wrote.
    Archive(PathBuf),
    /// A root file system (tar file or directory) with changes to its configuration, as
    /// `docker import --change` takes them.
    Rootfs {
        /// File or directory.
        path: PathBuf,
        /// Name of the new image.
        reference: ImageRef,
        /// `ENTRYPOINT […]`, `CMD […]`, `ENV k=v`, `EXPOSE n`, `USER u`, `WORKDIR d`,
        /// `VOLUME d`, `STOPSIGNAL s`, `LABEL k=v`.
        changes: Vec<String>,
    },
}

/// How far a pull has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullProgress {
    /// Which image.
    pub reference: String,
    /// Bytes there so far.
    pub done: u64,
    /// Bytes in all, once known.
    pub total: Option<u64>,
}

/// Called with progress; must return at once.
pub type OnPull<'a> = &'a (dyn Fn(PullProgress) + Send + Sync);

/// Images of a backend.
#[async_trait]
pub trait Images: Send + Sync + Debug {
    /// Finds an image, fetching it as the policy says.
    ///
    /// Idempotent. Cancelled, it leaves only whole blobs behind.
    ///
    /// # Errors
    /// `NotFound`, `Unauthenticated`, `Unavailable`; `Corrupt` if content does not match its
    /// digest; `Unsupported` if the image has nothing for the platform.
    async fn resolve(
        &self,
        reference: &ImageRef,
        platform: Option<&Platform>,
        policy: PullPolicy,
        progress: OnPull<'_>,
    ) -> Result<ResolvedImage>;

    /// Takes images from a file; returns what was taken.
    ///
    /// Idempotent: the same file again changes nothing. *Cancelled*: whole blobs may be left, and
    /// some of the names.
    ///
    /// # Errors
    /// `InvalidSpec` for what is no image, `Corrupt` for wrong digests, `AlreadyExists` if a name
    /// is taken by other content and `replace` is false.
    async fn load(&self, input: &ImageInput, replace: bool) -> Result<Vec<ImageEntry>>;

    /// Lists images. A read. *Cancelled*: nothing.
    ///
    /// # Errors
    /// `Corrupt` if the store cannot be read.
    async fn list(&self) -> Result<Vec<ImageEntry>>;

    /// Sends an image of the store to the registry that its name leads to; returns its digest
    /// there. Idempotent: what the registry has already is not sent again. The default sends
    /// nothing, for a backend that does not declare
    /// [`Feature::ImagePush`](super::Feature::ImagePush).
    ///
    /// # Errors
    /// `NotFound` without such an image; `Unauthenticated`, `Forbidden`, `Unavailable` from the
    /// registry; `Unsupported` where nothing can be sent.
    async fn push(&self, reference: &ImageRef, progress: OnPull<'_>) -> Result<Digest> {
        let _ = progress;
        let text = format!(
            "push image {}: this backend sends no images",
            reference.familiar()
        );
        Err(Error::new(ErrorKind::Unsupported, text).hint("push it from another backend"))
    }

    /// Removes a name, and the image if no name and no replica needs it; absent is `NotFound`.
    /// *Cancelled*: the name is gone or not; what nothing names is removed with the next.
    ///
    /// # Errors
    /// `WrongPhase` if a replica uses it.
    async fn remove(&self, reference: &ImageRef) -> Result<()>;
}

/// A version of a stored value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision(pub u64);

/// Held while a stack is changed; released when dropped, also by the holder's death.
pub trait StackLock: Send + Sync + Debug {}

/// What the platform remembers for us, so that any machine can go on.
#[async_trait]
pub trait State: Send + Sync + Debug {
    /// Reads the record of a stack, with its revision. A read. *Cancelled*: nothing.
    ///
    /// # Errors
    /// `Corrupt` if it cannot be read.
    async fn load(&self, stack: &StackName) -> Result<Option<(Vec<u8>, Revision)>>;

    /// Writes the record if its revision is still `expected` (`None`: if there is none).
    ///
    /// It survives a loss of power, and so does every step before that was to be committed
    /// [`WithRecord`](super::Commit::WithRecord); the same goes for [`remove`](Self::remove).
    /// Every write has a revision of its own, also one after a removal. *Cancelled*: it is written
    /// or not; the same call again tells by `Conflict`.
    ///
    /// # Errors
    /// `Conflict` if somebody else wrote meanwhile.
    async fn store(
        &self,
        stack: &StackName,
        record: &[u8],
        expected: Option<Revision>,
    ) -> Result<Revision>;

    /// Writes the record as [`store`](Self::store) does, but it need not survive a loss of power:
    /// a mark of what is under way, before anything is acknowledged. *Cancelled*: as `store`.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    async fn mark(
        &self,
        stack: &StackName,
        record: &[u8],
        expected: Option<Revision>,
    ) -> Result<Revision> {
        self.store(stack, record, expected).await
    }

    /// Removes the record; absent is success. *Cancelled*: it is there or not.
    ///
    /// # Errors
    /// `Unavailable` if the platform does not answer.
    async fn remove(&self, stack: &StackName) -> Result<()>;

    /// Stacks that have a record. A read. *Cancelled*: nothing.
    ///
    /// # Errors
    /// `Unavailable` if the platform does not answer.
    async fn stacks(&self) -> Result<Vec<StackName>>;

    /// Locks a stack for changes, waiting for another holder, also one in another process or on
    /// another machine. *Cancelled*: it is not held.
    ///
    /// # Errors
    /// `Timeout` naming the holder if it holds on for longer than the backend waits.
    async fn lock(&self, stack: &StackName) -> Result<Box<dyn StackLock>>;
}
