//! What can go wrong in the local runtime, and what it means to a caller.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use unmoor_core::{Error, ErrorKind};
use unmoor_image::ImageError;

use crate::net::NetError;

/// A failed operation of the local runtime.
#[derive(Debug, Error)]
pub(crate) enum LocalError {
    /// Something asked for makes no sense.
    #[error("{0}")]
    Spec(String),
    /// What was named is not there.
    #[error("{0} does not exist")]
    NotFound(String),
    /// Something must happen first.
    #[error("{0}")]
    WrongPhase(String),
    /// Somebody else made or changed it.
    #[error("{0}")]
    Conflict(String),
    /// The name is taken.
    #[error("{0}")]
    Taken(String),
    /// Something that is not on record has the place.
    #[error("{0}")]
    Foreign(String),
    /// The host cannot do this.
    #[error("{what}")]
    Unsupported {
        /// What was wanted.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// The caller may not do this.
    #[error("{what}")]
    Forbidden {
        /// What was wanted.
        what: String,
        /// What is missing.
        hint: String,
    },
    /// A hard limit above what this process may give.
    #[error(
        "ulimits.{name}: this process may give at most {most}, {wanted} is wanted, and it has not \
         CAP_SYS_RESOURCE to raise it"
    )]
    Rlimit {
        /// Which limit.
        name: String,
        /// The wanted hard limit.
        wanted: u64,
        /// The largest possible one.
        most: u64,
    },
    /// No cgroup controller for a limit.
    #[error("the {0} limit cannot be applied: this host has no {0} cgroup controller mounted")]
    NoController(&'static str),
    /// Every range of ids is in use.
    #[error("no range of 65536 unused user ids is left on this host")]
    IdsExhausted,
    /// The system refused something.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The record of what there is cannot be used.
    #[error("{action} in {}", path.display())]
    Store {
        /// What was tried.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// The database's answer.
        source: rusqlite::Error,
    },
    /// The record was written by a later version.
    #[error(
        "{} was written by a later version of unmoor (schema {found}, this one knows {known}); \
         nothing was changed",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A shim that would misunderstand this version.
    #[error(
        "the shim of {replica} was started by a later version of unmoor and obeys none that speaks \
         less than version {obeys}; this one speaks {known}"
    )]
    Later {
        /// The replica.
        replica: String,
        /// What it asks for.
        obeys: u32,
        /// What this library speaks.
        known: u32,
    },
    /// Stored data that this version cannot read.
    #[error("{what} is damaged: {problem}")]
    Corrupt {
        /// Which data.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A lock is held for too long.
    #[error("{what} is locked by {holder} for longer than {waited} s")]
    Busy {
        /// What is locked.
        what: String,
        /// Process and command of the holder.
        holder: String,
        /// How long was waited.
        waited: u64,
    },
    /// The shim said why it could not.
    #[error("{replica}: {failure}")]
    Shim {
        /// Which replica.
        replica: String,
        /// The shim's words.
        failure: crate::wire::report::Failure,
    },
    /// The shim did not answer as agreed.
    #[error("{replica}: the shim {problem}")]
    Protocol {
        /// Which replica.
        replica: String,
        /// What it did instead.
        problem: String,
    },
    /// The connection to the shim broke, or none was to be had: it is dead or dying.
    #[error("{replica}: the shim {problem}")]
    Gone {
        /// Which replica.
        replica: String,
        /// How that was noticed.
        problem: String,
    },
    /// The image store's answer.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The networks' answer.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Work handed to a thread never came back.
    #[error("the task that {0} ended without an answer")]
    Lost(&'static str),
    /// Short work would have to wait, and is done again by somebody who may; no caller sees this.
    #[error("something is in the way")]
    InTheWay,
}

impl LocalError {
    /// A refusal of the system.
    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Spec(_) => ErrorKind::InvalidSpec,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::WrongPhase(_) => ErrorKind::WrongPhase,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Taken(_) | Self::Foreign(_) => ErrorKind::AlreadyExists,
            Self::Unsupported { .. }
            | Self::NoController(_)
            | Self::Newer { .. }
            | Self::Later { .. } => ErrorKind::Unsupported,
            Self::Forbidden { .. } | Self::Rlimit { .. } => ErrorKind::Forbidden,
            Self::IdsExhausted => ErrorKind::Quota,
            Self::Io { source, .. } => io_kind(source),
            Self::Store { source, .. } => store_kind(source),
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Busy { .. } => ErrorKind::Timeout,
            Self::Shim { failure, .. } => shim_kind(failure),
            Self::Protocol { .. } | Self::Gone { .. } => ErrorKind::Unavailable,
            Self::Image(error) => image_kind(error),
            Self::Net(error) => net_kind(error),
            Self::Lost(_) | Self::InTheWay => ErrorKind::Internal,
        }
    }

    /// True if a shim died while it was asked; its successor may be asked again.
    pub(crate) fn is_of_the_dead(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { hint, .. } | Self::Forbidden { hint, .. } => Some(hint.clone()),
            Self::Foreign(_) => Some("`unmoor adopt` takes it over as it is".to_owned()),
            Self::NoController(_) => Some("remove the limit, or mount the controller".to_owned()),
            Self::Newer { .. } => Some("use the newer unmoor for this directory".to_owned()),
            Self::Later { .. } => Some(
                "use the unmoor that started it; what only looks works with this one".to_owned(),
            ),
            Self::Rlimit { .. } => Some("lower the limit, or raise the caller's".to_owned()),
            Self::Store { source, .. } if store_kind(source) == ErrorKind::Corrupt => Some(
                "move the database away: the next command makes it again from what is there"
                    .to_owned(),
            ),
            Self::Shim { failure, .. } if is_hidden_parameter(failure) => Some(
                "leave it out, or update the kernel: this one does not have it, or not for replicas"
                    .to_owned(),
            ),
            Self::Busy { .. } => Some("wait for it to end, or end it".to_owned()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Some(WRITABLE.to_owned())
            }
            Self::Store { source, .. } if store_kind(source) == ErrorKind::Forbidden => {
                Some(WRITABLE.to_owned())
            }
            _ => None,
        }
    }
}

/// What to do about a directory that takes no writes.
const WRITABLE: &str = "make the directory writable; what only reads works without";

fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Forbidden,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
        io::ErrorKind::OutOfMemory => ErrorKind::Quota,
        _ => ErrorKind::Internal,
    }
}

fn store_kind(error: &rusqlite::Error) -> ErrorKind {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Timeout,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        Some(ErrorCode::DiskFull) => ErrorKind::Quota,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => ErrorKind::Forbidden,
        _ => ErrorKind::Internal,
    }
}

/// A kernel parameter that the kernel does not show to a replica: `net.core.*` on older ones.
fn is_hidden_parameter(failure: &crate::wire::report::Failure) -> bool {
    failure.step == crate::wire::report::SET_PARAMETER
        && failure.errno == rustix::io::Errno::NOENT.raw_os_error()
}

/// A program that is not there or not executable is the specification's fault.
fn shim_kind(failure: &crate::wire::report::Failure) -> ErrorKind {
    match failure.exit_code {
        126 | 127 => ErrorKind::InvalidSpec,
        _ if is_hidden_parameter(failure) => ErrorKind::Unsupported,
        _ => match io::Error::from_raw_os_error(failure.errno).kind() {
            io::ErrorKind::AddrInUse => ErrorKind::AlreadyExists,
            io::ErrorKind::StorageFull | io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => {
                ErrorKind::Quota
            }
            _ => ErrorKind::Internal,
        },
    }
}

fn image_kind(error: &ImageError) -> ErrorKind {
    match error {
        ImageError::Io { source, .. } => match io_kind(source) {
            // What is not there is the file that was named, not the image.
            ErrorKind::NotFound => ErrorKind::InvalidSpec,
            other => other,
        },
        ImageError::NotFound(_) => ErrorKind::NotFound,
        ImageError::TagTaken { .. } => ErrorKind::AlreadyExists,
        ImageError::NoPlatform { .. } => ErrorKind::Unsupported,
        ImageError::Archive { .. } | ImageError::Build(_) | ImageError::User(_) => {
            ErrorKind::InvalidSpec
        }
        ImageError::Store { .. }
        | ImageError::BlobMissing { .. }
        | ImageError::Document { .. }
        | ImageError::DigestMismatch { .. }
        | ImageError::SizeMismatch { .. }
        | ImageError::Layer(_) => ErrorKind::Corrupt,
        ImageError::Busy { .. } => ErrorKind::Timeout,
        ImageError::Cancelled(_) => ErrorKind::Cancelled,
        #[cfg(feature = "pull")]
        ImageError::Registry(error) => registry_kind(error),
        _ => ErrorKind::Internal,
    }
}

#[cfg(feature = "pull")]
fn registry_kind(error: &unmoor_image::registry::RegistryError) -> ErrorKind {
    use unmoor_image::registry::RegistryError;
    match error {
        RegistryError::NotFound(_) => ErrorKind::NotFound,
        RegistryError::Unauthenticated { .. } | RegistryError::Credentials { .. } => {
            ErrorKind::Unauthenticated
        }
        RegistryError::Forbidden { .. } | RegistryError::Untrusted { .. } => ErrorKind::Forbidden,
        RegistryError::Throttled { .. } => ErrorKind::Throttled,
        _ => ErrorKind::Unavailable,
    }
}

fn net_kind(error: &NetError) -> ErrorKind {
    match error {
        NetError::Kernel { source, .. } | NetError::File { source, .. } => match io_kind(source) {
            ErrorKind::NotFound => ErrorKind::Internal,
            other => other,
        },
        NetError::PortInUse { .. } | NetError::PortPublished { .. } | NetError::NotABridge(_) => {
            ErrorKind::AlreadyExists
        }
        NetError::BadName(_) => ErrorKind::InvalidSpec,
        NetError::Busy(_) => ErrorKind::Unavailable,
    }
}

impl From<LocalError> for Error {
    fn from(error: LocalError) -> Self {
        let mut converted = Self::new(error.kind(), error.to_string());
        if let Some(hint) = error.hint() {
            converted = converted.hint(hint);
        }
        if let LocalError::Shim { failure, .. } = &error
            && let 126 | 127 = failure.exit_code
        {
            converted = converted.with_exit_code(failure.exit_code);
        }
        match std::error::Error::source(&error) {
            Some(cause) => converted.because(chain(cause)),
            None => converted,
        }
    }
}

/// A cause with its own causes on one line.
fn chain(cause: &dyn std::error::Error) -> String {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::report::{Failure, SET_PARAMETER};

    #[test]
    fn a_parameter_that_the_kernel_hides_is_unsupported() {
        let refused = |step: &str| {
            let failure = Failure {
                step: step.to_owned(),
                errno: rustix::io::Errno::NOENT.raw_os_error(),
                detail: "net.core.somaxconn".to_owned(),
                exit_code: 125,
            };
            let replica = "s-a-1".to_owned();
            Error::from(LocalError::Shim { replica, failure })
        };
        let hidden = refused(SET_PARAMETER);
        assert_eq!(hidden.kind(), ErrorKind::Unsupported);
        assert!(
            hidden.to_string().contains("net.core.somaxconn"),
            "{hidden}"
        );
        assert_eq!(refused("mount proc").kind(), ErrorKind::Internal);
    }
}
