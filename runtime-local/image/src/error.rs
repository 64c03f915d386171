//! Everything that can go wrong with an image, one variant per thing a reader can tell apart.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use unmoor_core::image::{Digest, ImageRef, Platform};

/// A failed operation on images.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The operating system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory is not a store this version can use.
    #[error("{} is not a usable image store: {problem}", path.display())]
    Store {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing is stored under this name.
    #[error("image {} is not in the local store; pull, load or build it first", .0.familiar())]
    NotFound(ImageRef),
    /// A blob that a manifest names is absent.
    #[error("blob {digest} of {what} is not in the local store; pull or load the image again")]
    BlobMissing {
        /// The absent blob.
        digest: Digest,
        /// What needs it.
        what: String,
    },
    /// A manifest, index or configuration cannot be accepted.
    #[error("{what} is not valid: {problem}")]
    Document {
        /// Which document.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Content does not hash to the digest it was asked for by.
    #[error("{what} has digest {found}, but {wanted} was asked for; nothing was stored")]
    DigestMismatch {
        /// Which content.
        what: String,
        /// What it should have been.
        wanted: Digest,
        /// What it is.
        found: Digest,
    },
    /// Content is longer or shorter than its descriptor says.
    #[error("{what} has {found} bytes, but its descriptor says {wanted}; nothing was stored")]
    SizeMismatch {
        /// Which content.
        what: String,
        /// What the descriptor says.
        wanted: u64,
        /// How many came (reading stops at one too many).
        found: u64,
    },
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Layer(#[from] Box<LayerError>),
    /// The image exists, but not for the wanted platform.
    #[error("{what} has no image for {wanted}; it offers {}", listed(offered))]
    NoPlatform {
        /// Which index or image.
        what: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        offered: Vec<Platform>,
    },
    /// A loaded archive names a tag that already means something else.
    #[error(
        "{} already names {present}; loading {offered} under this name would replace it: allow the replacement or give another name", reference.familiar()
    )]
    TagTaken {
        /// The name in question.
        reference: Box<ImageRef>,
        /// What it names now.
        present: Digest,
        /// What the archive would make it name.
        offered: Digest,
    },
    /// An archive is not what it should be.
    #[error("cannot read {} as an image archive: {problem}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Something handed to the builder does not make an image.
    #[error("cannot build image: {0}")]
    Build(String),
    /// A user or group of an image cannot be determined.
    #[error(transparent)]
    User(#[from] crate::users::UserError),
    /// Others kept the store locked for too long.
    #[error("{what} is in use by another process; try again when it has finished")]
    Busy {
        /// What is locked.
        what: String,
    },
    /// A registry said no, or could not be reached, or cannot be trusted.
    #[cfg(feature = "registry")]
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// The task that worked on the image ended without an answer.
    #[error("work on {0} was cancelled")]
    Cancelled(String),
}

impl ImageError {
    pub(crate) fn document(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Document {
            what: what.into(),
            problem: problem.into(),
        }
    }
}

fn listed(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<_> = platforms.iter().take(12).map(ToString::to_string).collect();
    shown.join(", ")
}

/// A layer that was refused, with the entry that caused it.
#[derive(Debug, Error)]
#[error("cannot unpack layer {layer}{}", entry.as_deref().map(|e| format!(", entry {e}")).unwrap_or_default())]
pub struct LayerError {
    /// Digest of the layer as it was transferred.
    pub layer: Digest,
    /// The entry at fault, printable and shortened.
    pub entry: Option<String>,
    /// What is wrong.
    #[source]
    pub problem: LayerProblem,
}

/// What is wrong with a layer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LayerProblem {
    /// The compressed stream is broken or of an unknown kind.
    #[error("the compressed stream is damaged")]
    Stream(#[source] io::Error),
    /// The archive structure is broken or can be read in two ways.
    #[error("{0}")]
    Format(String),
    /// An entry reaches outside of the tree or forges what is not its own.
    #[error("{0}")]
    Refused(String),
    /// A bound of [`crate::Limits`] was reached.
    #[error("{0}")]
    Limit(String),
    /// The packed bytes are not those of the descriptor.
    #[error("its content has digest {found}")]
    Digest {
        /// What the bytes hash to.
        found: Digest,
    },
    /// The unpacked bytes are not those the image configuration promises.
    #[error("its unpacked content has digest {found}, but the image configuration says {wanted}")]
    DiffId {
        /// What the configuration says.
        wanted: Digest,
        /// What the bytes hash to.
        found: Digest,
    },
    /// The packed bytes are more or fewer than the descriptor says.
    #[error("it has {found} bytes, but its descriptor says {wanted}")]
    Size {
        /// What the descriptor says.
        wanted: u64,
        /// How many there are.
        found: u64,
    },
    /// The operating system refused something.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LayerProblem {
    pub(crate) fn format(text: impl Into<String>) -> Self {
        Self::Format(text.into())
    }

    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }

    pub(crate) fn limit(text: impl Into<String>) -> Self {
        Self::Limit(text.into())
    }
}

/// Adds what was tried, and on what, to an error of the operating system.
pub(crate) trait IoContext<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, ImageError>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, ImageError> {
        self.map_err(|source| ImageError::Io {
            action,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}

/// Adds what was tried to an error while unpacking.
pub(crate) trait LayerContext<T> {
    fn doing(self, action: &'static str) -> Result<T, LayerProblem>;
}

impl<T, E: Into<io::Error>> LayerContext<T> for Result<T, E> {
    fn doing(self, action: &'static str) -> Result<T, LayerProblem> {
        self.map_err(|source| LayerProblem::Io {
            action,
            source: source.into(),
        })
    }
}

/// Foreign bytes as short printable text.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 120;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST * 4)]);
    let mut short: String = text
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MOST).is_some() || bytes.len() > MOST * 4 {
        short.push('…');
    }
    short
}
