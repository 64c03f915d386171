//! The one error type: what kind, on what, whether a retry helps, and why.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::Gap;

/// Result of every operation of unmoor.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in terms that a caller acts on differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The specification is wrong: the author must change it.
    InvalidSpec,
    /// The backend can never do this.
    Unsupported,
    /// What was named does not exist.
    NotFound,
    /// The name is taken by something else.
    AlreadyExists,
    /// Somebody else changed it meanwhile: plan again.
    Conflict,
    /// Possible, but not in the present state.
    WrongPhase,
    /// No valid credentials.
    Unauthenticated,
    /// The credentials do not allow it.
    Forbidden,
    /// The platform asked us to slow down.
    Throttled,
    /// A limit of the account or the machine is reached.
    Quota,
    /// The platform did not answer or is not ready.
    Unavailable,
    /// It took longer than the deadline.
    Timeout,
    /// The caller gave up.
    Cancelled,
    /// Stored or received data is damaged.
    Corrupt,
    /// A fault of ours or of the system beneath.
    Internal,
}

impl ErrorKind {
    /// The kind in words, as it stands before the message.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidSpec => "invalid",
            Self::Unsupported => "unsupported",
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Conflict => "conflict",
            Self::WrongPhase => "wrong phase",
            Self::Unauthenticated => "not logged in",
            Self::Forbidden => "forbidden",
            Self::Throttled => "throttled",
            Self::Quota => "limit reached",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timed out",
            Self::Cancelled => "cancelled",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal error",
        }
    }

    fn default_retry(self) -> Retry {
        match self {
            Self::Conflict => Retry::AfterObserve,
            Self::Throttled | Self::Unavailable => Retry::After(Duration::from_secs(1)),
            Self::Timeout => Retry::AfterObserve,
            _ => Retry::Never,
        }
    }
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// The same call fails again.
    Never,
    /// At once.
    Now,
    /// Not before this much time has passed.
    After(Duration),
    /// Only after looking at what the platform holds: the call may have had its effect.
    AfterObserve,
}

/// Where in a file the cause stands; line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file's name as the user gave it.
    pub file: String,
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// An error of any operation.
///
/// `Display` is one line without the cause; [`Error::chain`] adds the causes.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    subject: Option<String>,
    hint: Option<String>,
    places: Vec<Place>,
    retry: Option<Retry>,
    gaps: Vec<Gap>,
    cleanup: Vec<Error>,
    log: Vec<String>,
    exit_code: Option<i32>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` says what was tried and on what.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let inner = Inner {
            kind,
            message: message.into(),
            subject: None,
            hint: None,
            places: Vec::new(),
            retry: None,
            gaps: Vec::new(),
            cleanup: Vec::new(),
            log: Vec::new(),
            exit_code: None,
            source: None,
        };
        Self {
            inner: Box::new(inner),
        }
    }

    /// Names the stack, service or field path that the error is about.
    #[must_use]
    pub fn on(mut self, subject: impl fmt::Display) -> Self {
        self.inner.subject = Some(subject.to_string());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Says where in a file the cause stands.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.inner.places.push(place);
        self
    }

    /// Overrides whether a retry can help.
    #[must_use]
    pub fn retry_policy(mut self, retry: Retry) -> Self {
        self.inner.retry = Some(retry);
        self
    }

    /// Attaches what the backend cannot do.
    #[must_use]
    pub fn with_gaps(mut self, gaps: Vec<Gap>) -> Self {
        self.inner.gaps = gaps;
        self
    }

    /// Attaches what failed while cleaning up after this error.
    #[must_use]
    pub fn with_cleanup(mut self, failed: Vec<Error>) -> Self {
        self.inner.cleanup.extend(failed);
        self
    }

    /// Attaches what the replica that failed wrote last.
    #[must_use]
    pub fn with_log(mut self, lines: Vec<String>) -> Self {
        self.inner.log = lines;
        self
    }

    /// Says with which code a shell would end: 126 for a program that cannot be executed, 127 for
    /// one that is not there.
    #[must_use]
    pub fn with_exit_code(mut self, code: i32) -> Self {
        self.inner.exit_code = Some(code);
        self
    }

    /// Attaches the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// What went wrong, in terms to act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What was tried, without kind, place and cause.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The stack, service or field path it is about.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.inner.subject.as_deref()
    }

    /// What to do about it.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// Where in files the causes stand.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.inner.places
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.inner
            .retry
            .unwrap_or_else(|| self.inner.kind.default_retry())
    }

    /// What the backend cannot do, where that is the cause.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.inner.gaps
    }

    /// What failed while cleaning up.
    #[must_use]
    pub fn cleanup(&self) -> &[Error] {
        &self.inner.cleanup
    }

    /// What the replica that failed wrote last, cut to a few lines that steer no terminal.
    #[must_use]
    pub fn log(&self) -> &[String] {
        &self.inner.log
    }

    /// The code with which a shell would end, where the program could not be executed: 126 or 127.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        self.inner.exit_code
    }

    /// True if what was named does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// The error with all its causes on one line, as a program prints it.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.inner.places.first() {
            write!(f, "{place}: ")?;
        }
        if let Some(subject) = &self.inner.subject {
            write!(f, "{subject}: ")?;
        }
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.inner.kind.as_str(), self.chain())?;
        if let Some(hint) = &self.inner.hint {
            write!(f, " ({hint})")?;
        }
        for failed in &self.inner.cleanup {
            write!(f, "; while cleaning up: {failed:?}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

macro_rules! invalid_from {
    ($($type:ty),+ $(,)?) => {$(
        impl From<$type> for Error {
            fn from(error: $type) -> Self {
                Self::new(ErrorKind::InvalidSpec, error.to_string())
            }
        }
    )+};
}

invalid_from!(
    crate::name::NameError,
    crate::units::UnitError,
    crate::image::ImageRefError,
    crate::image::DigestError,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_has_no_cause_and_chain_has_all() {
        let cause = std::io::Error::other("disk on fire");
        let error = Error::new(ErrorKind::Internal, "open the store")
            .on("shop")
            .because(cause);
        assert_eq!(error.to_string(), "shop: open the store");
        assert_eq!(error.chain(), "shop: open the store: disk on fire");
    }

    #[test]
    fn only_passing_faults_invite_a_retry() {
        assert_eq!(
            Error::new(ErrorKind::InvalidSpec, "x").retry(),
            Retry::Never
        );
        assert_eq!(
            Error::new(ErrorKind::Timeout, "x").retry(),
            Retry::AfterObserve
        );
    }
}
