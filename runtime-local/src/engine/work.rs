//! One command at work on one thing: its lock, its thread, and what is left if its caller gives up.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use unmoor_core::name::{ReplicaId, StackName};

use super::Runtime;
use crate::error::LocalError;
use crate::state::Lock;

/// Longest wait for another command that works on the same thing.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a command works on. Whoever works on one takes no second one, so that nobody waits in a
/// circle.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    path: PathBuf,
    words: String,
}

/// How far a command came without waiting.
enum Begun<W, T> {
    Done(T),
    /// Another command has the lock.
    Waits(W),
    /// The caller gave up before anything had begun.
    Unwanted,
}

/// Whether there is a caller still; held while a command begins.
#[derive(Clone)]
struct Caller(Arc<Mutex<bool>>);

/// Says that the caller has gone, when it is dropped.
struct Presence(Caller);

impl Caller {
    fn here() -> (Self, Presence) {
        let caller = Self(Arc::new(Mutex::new(true)));
        (caller.clone(), Presence(caller))
    }

    fn is_here(&self) -> MutexGuard<'_, bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        *self.0.is_here() = false;
    }
}

impl Runtime {
    /// A thing of a stack, as `service`, and its name.
    pub(crate) fn subject(&self, kind: &str, stack: &StackName, name: &str) -> Subject {
        Subject {
            path: self.layout().lock(&format!("{kind}.{stack}.{name}")),
            words: format!("{kind} `{name}` of stack `{stack}`"),
        }
    }

    /// A replica.
    pub(crate) fn subject_of(&self, id: &ReplicaId) -> Subject {
        let name = format!("{}.{}", id.service, id.slot);
        self.subject("replica", &id.stack, &name)
    }

    /// Puts right what dead commands have left, then does blocking work that nobody else may do on
    /// the same thing, in this process or another; goes on although the caller gives up.
    ///
    /// All of it is one hand-over to a thread, unless another command is at work there.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        subject: Subject,
        what: &'static str,
        work: impl FnOnce(&Self) -> Result<T, LocalError> + Send + 'static,
    ) -> Result<T, LocalError> {
        let (caller, _presence) = Caller::here();
        let path = subject.path.clone();
        let begin = move |runtime: &Self| {
            runtime.finish_orphans()?;
            // Whoever comes after a caller that has given up waits for the locks that it finds, and
            // counts on nobody to begin later: nobody gives up in these few lines.
            let here = caller.is_here();
            if !*here {
                return Ok(Begun::Unwanted);
            }
            let Some(lock) = Lock::attempt(&path)? else {
                return Ok(Begun::Waits(work));
            };
            drop(here);
            let result = work(runtime);
            drop(lock);
            result.map(Begun::Done)
        };
        match self.block(what, begin).await? {
            Begun::Done(value) => Ok(value),
            Begun::Unwanted => Err(LocalError::Lost(what)),
            Begun::Waits(work) => {
                let lock = Lock::take(subject.path, &subject.words, PATIENCE).await?;
                let locked = move |runtime: &Self| {
                    let result = work(runtime);
                    drop(lock);
                    result
                };
                self.block(what, locked).await
            }
        }
    }
}
