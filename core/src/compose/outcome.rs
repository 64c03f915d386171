//! What a load gives: a stack with warnings, or every error that was found.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Place};
use crate::plan::Scope;
use crate::spec::Stack;

/// How much a warning matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Has no effect, with docker compose neither.
    Note,
    /// Means something else than it may seem to.
    Trap,
    /// Is not honoured; the text says what differs.
    Ignored,
    /// Is left out although the service becomes something else: an error unless
    /// [`OnUnsupported::Warn`](super::OnUnsupported::Warn) was asked for.
    Gap,
}

/// Something to know about a valid file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Where it stands.
    pub place: Option<Place>,
    /// The field, as `services.web.logging`; may be empty.
    pub field: String,
    /// How much it matters.
    pub level: Level,
    /// What it means for the stack.
    pub text: String,
    /// What to write instead; may be empty.
    pub instead: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.text)
    }
}

/// A variable that the files use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Variable {
    /// It has a value.
    pub is_set: bool,
    /// The text that stands in if it has none.
    pub default: Option<String>,
    /// The file demands that it has a value.
    pub is_required: bool,
    /// Where it is used first.
    pub place: Place,
    pub(super) warned: bool,
}

/// A stack that was read from Compose files.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// The stack, checked as a whole.
    pub stack: Stack,
    /// What to know about the files.
    pub warnings: Vec<Warning>,
    /// The variables that the files use.
    pub variables: BTreeMap<String, Variable>,
    /// Services that are left out because none of their profiles is active, with these profiles.
    pub inactive: BTreeMap<String, Vec<String>>,
    /// What relative paths started from.
    pub directory: PathBuf,
    /// What of the stack was meant.
    pub about: Scope,
}

/// Everything that is wrong with the files; never empty.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoadErrors {
    /// The errors, in the order they were found.
    pub errors: Vec<Error>,
    /// What else to know about the files.
    pub warnings: Vec<Warning>,
    /// What could be read all the same, to be told of and not to be run: what is wrong is missing
    /// in it.
    pub partial: Option<Box<Loaded>>,
}

impl fmt::Display for LoadErrors {
    /// One line for each error, with its hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&error.chain())?;
            if let Some(hint) = error.hint_text() {
                write!(f, " ({hint})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for LoadErrors {}

impl From<LoadErrors> for Error {
    /// The only error itself, or one that lists all and carries their places.
    fn from(mut failed: LoadErrors) -> Self {
        if failed.errors.len() == 1
            && let Some(only) = failed.errors.pop()
        {
            return only;
        }
        let is_wrong = |error: &Error| error.kind() == ErrorKind::InvalidSpec;
        let kind = if failed.errors.iter().any(is_wrong) {
            ErrorKind::InvalidSpec
        } else {
            failed
                .errors
                .first()
                .map_or(ErrorKind::Internal, Error::kind)
        };
        // Its place stands in front of each line already.
        Error::new(kind, failed.to_string())
    }
}
