//! How long calls may take, so that a platform that hangs never hangs its caller.

use std::time::Duration;

use super::Operation;

/// Longest times of calls. What is over its time is given up and answered with
/// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), which names what was waited for.
///
/// To that of an action comes what the service's programs may take to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// A look; the beginning of a stream or a session; each piece of what is read to its end.
    pub read: Duration,
    /// One action of a plan, unless [`RunOptions`](crate::apply::RunOptions) say otherwise.
    pub action: Duration,
    /// A change that is no action of a plan: a signal, a record, the removal of an image.
    pub write: Duration,
    /// The lock of a stack, which another caller may hold.
    pub lock: Duration,
    /// What moves much: images, and files written into replicas.
    pub transfer: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            read: Duration::from_mins(1),
            action: Duration::from_mins(2),
            write: Duration::from_mins(2),
            lock: Duration::from_mins(5),
            transfer: Duration::from_hours(2),
        }
    }
}

impl Deadlines {
    /// The same time for every call.
    #[must_use]
    pub fn all(time: Duration) -> Self {
        Self {
            read: time,
            action: time,
            write: time,
            lock: time,
            transfer: time,
        }
    }

    /// The longest time of a call.
    #[must_use]
    pub fn of(&self, operation: &Operation<'_>) -> Duration {
        match operation {
            Operation::Apply(_, step) => step.deadline,
            Operation::Lock(_) => self.lock,
            Operation::ResolveImage(_)
            | Operation::LoadImage
            | Operation::PushImage(_)
            | Operation::WriteFiles(_) => self.transfer,
            Operation::Signal(_) | Operation::RemoveImage(_) | Operation::WriteRecord(_) => {
                self.write
            }
            Operation::Observe
            | Operation::Endpoints
            | Operation::Probe
            | Operation::Watch
            | Operation::Logs
            | Operation::Exec(_)
            | Operation::Usage
            | Operation::Processes(_)
            | Operation::ReadFiles(_)
            | Operation::Attach(_)
            | Operation::FindImage(_)
            | Operation::ListImages
            | Operation::LoadRecord(_) => self.read,
        }
    }
}
