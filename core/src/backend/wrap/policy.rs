//! What a wrapper adds to every call.

use std::fmt;
use std::time::Duration;

use super::Deadlines;
use crate::backend::{Action, Capabilities, Feature, Step};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::image::ImageRef;
use crate::name::{ReplicaId, StackName};

/// A call on its way to a backend.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Operation<'a> {
    /// `observe`.
    Observe,
    /// `apply`.
    Apply(&'a Action, &'a Step),
    /// `endpoints`.
    Endpoints,
    /// `probe`.
    Probe,
    /// `watch`.
    Watch,
    /// `logs`.
    Logs,
    /// `exec`.
    Exec(&'a ReplicaId),
    /// `signals().signal`.
    Signal(&'a ReplicaId),
    /// `stats().usage`.
    Usage,
    /// `processes().processes`.
    Processes(&'a ReplicaId),
    /// `files().stat` and `files().read`.
    ReadFiles(&'a ReplicaId),
    /// `files().write`.
    WriteFiles(&'a ReplicaId),
    /// `attach().attach`.
    Attach(&'a ReplicaId),
    /// `images().resolve`, which may fetch it.
    ResolveImage(&'a ImageRef),
    /// `images().resolve` of what must be there already.
    FindImage(&'a ImageRef),
    /// `images().load`.
    LoadImage,
    /// `images().push`.
    PushImage(&'a ImageRef),
    /// `images().list`.
    ListImages,
    /// `images().remove`.
    RemoveImage(&'a ImageRef),
    /// `state().load`.
    LoadRecord(&'a StackName),
    /// `state().store`, `mark` and `remove`.
    WriteRecord(&'a StackName),
    /// Locking a stack.
    Lock(&'a StackName),
}

impl Operation<'_> {
    /// True if the call reads only, so that repeating it is always harmless.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(
            self,
            Self::Observe
                | Self::Endpoints
                | Self::Probe
                | Self::Watch
                | Self::Logs
                | Self::Usage
                | Self::Processes(_)
                | Self::ReadFiles(_)
                | Self::ListImages
                | Self::FindImage(_)
                | Self::LoadRecord(_)
        )
    }
}

impl fmt::Display for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Observe => f.write_str("observe"),
            Self::Apply(action, _) => write!(f, "{action}"),
            Self::Endpoints => f.write_str("list endpoints"),
            Self::Probe => f.write_str("probe"),
            Self::Watch => f.write_str("watch endpoints"),
            Self::Logs => f.write_str("read logs"),
            Self::Exec(replica) => write!(f, "exec in {replica}"),
            Self::Signal(replica) => write!(f, "signal {replica}"),
            Self::Usage => f.write_str("read statistics"),
            Self::Processes(replica) => write!(f, "list processes of {replica}"),
            Self::ReadFiles(replica) => write!(f, "read files of {replica}"),
            Self::WriteFiles(replica) => write!(f, "write files of {replica}"),
            Self::Attach(replica) => write!(f, "attach to {replica}"),
            Self::PushImage(image) => write!(f, "push image {image}"),
            Self::ResolveImage(image) => write!(f, "resolve image {image}"),
            Self::FindImage(image) => write!(f, "find image {image}"),
            Self::LoadImage => f.write_str("load image"),
            Self::ListImages => f.write_str("list images"),
            Self::RemoveImage(image) => write!(f, "remove image {image}"),
            Self::LoadRecord(stack) => write!(f, "read the record of stack {stack}"),
            Self::WriteRecord(stack) => write!(f, "write the record of stack {stack}"),
            Self::Lock(stack) => write!(f, "lock stack {stack}"),
        }
    }
}

/// What happens around a call.
pub trait Policy: Send + Sync + fmt::Debug + 'static {
    /// Refuses the call before it is made.
    ///
    /// # Errors
    /// The reason for the refusal, usually `Unsupported`.
    fn before(&self, operation: &Operation<'_>) -> Result<()> {
        let _ = operation;
        Ok(())
    }

    /// The longest time the call may take.
    fn deadline(&self, operation: &Operation<'_>) -> Option<Duration> {
        let _ = operation;
        None
    }

    /// The pause before the call is tried again after its `attempt`-th failure; `None` gives up.
    fn retry(&self, operation: &Operation<'_>, attempt: u32, error: &Error) -> Option<Duration> {
        let _ = (operation, attempt, error);
        None
    }
}

/// Refuses what the capabilities deny, limits time, repeats harmless calls after passing faults.
#[derive(Debug)]
pub struct Guard {
    capabilities: Capabilities,
    deadlines: Deadlines,
}

impl Guard {
    /// Most tries of one call.
    const TRIES: u32 = 4;

    /// Guards by these capabilities.
    #[must_use]
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            deadlines: Deadlines::default(),
        }
    }

    /// Limits the time of calls by these.
    #[must_use]
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    fn needs(action: &Action) -> &'static [Feature] {
        match action {
            Action::StartReplica { .. } | Action::RestartReplica { .. } => &[Feature::Spawn],
            Action::CreateReplica { .. } => &[Feature::Create],
            Action::PauseReplica { .. } | Action::ResumeReplica { .. } => &[Feature::Pause],
            Action::EnsureVolume { .. } => &[Feature::Volumes],
            Action::DrainReplica { .. } => &[Feature::Drain],
            Action::Adopt { .. } => &[Feature::Adopt],
            _ => &[],
        }
    }
}

impl Policy for Guard {
    fn before(&self, operation: &Operation<'_>) -> Result<()> {
        let Operation::Apply(action, step) = operation else {
            return Ok(());
        };
        let missing = Self::needs(action)
            .iter()
            .find(|feature| !self.capabilities.has(**feature));
        match missing {
            None => Ok(()),
            Some(feature) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{action} needs `{feature}`, which this backend does not have"),
            )
            .on(&step.stack)),
        }
    }

    fn deadline(&self, operation: &Operation<'_>) -> Option<Duration> {
        Some(self.deadlines.of(operation))
    }

    fn retry(&self, operation: &Operation<'_>, attempt: u32, error: &Error) -> Option<Duration> {
        if attempt >= Self::TRIES {
            return None;
        }
        match error.retry() {
            Retry::Now => Some(Duration::ZERO),
            Retry::After(pause) if operation.is_read() || error.kind() == ErrorKind::Throttled => {
                Some(pause * 2u32.pow(attempt - 1))
            }
            _ => None,
        }
    }
}
