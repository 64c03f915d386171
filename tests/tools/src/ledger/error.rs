//! What can go wrong while reading or storing a ledger.

use std::io;
use std::path::{Path, PathBuf};

/// A ledger could not be read, stored or understood.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file or directory of the host could not be read or written.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's own answer.
        source: io::Error,
    },
    /// A tool that is installed did not give an answer that can be read.
    #[error("{tool}: {detail}")]
    Tool {
        /// The tool's name.
        tool: &'static str,
        /// What it said.
        detail: String,
    },
    /// A stored ledger has a line that is not one.
    #[error("{}:{line}: not a ledger line", path.display())]
    Format {
        /// The stored ledger.
        path: PathBuf,
        /// The line's number, from one.
        line: usize,
    },
}

impl LedgerError {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Io {
            what: "read",
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Io {
            what: "write",
            path: path.to_owned(),
            source,
        }
    }
}
