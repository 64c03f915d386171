//! The registry protocol: pull by tag or digest, push, credentials.
//!
//! Nothing a registry says is believed: content is what its digest says, documents are what
//! their own shape says, and a credential goes only to the registry it belongs to.

mod auth;
mod client;
mod credentials;
mod helper;
mod origin;
mod pull;
mod push;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use unmoor_core::image::{Digest, ImageRef, Platform};

pub use self::credentials::{CredentialFiles, Credentials, Secret};
pub use self::pull::pull;
pub use self::push::push;

/// Why a registry could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No answer, or a broken one.
    #[error("cannot reach registry {registry} to {action}")]
    Unreachable {
        /// Which registry.
        registry: String,
        /// What was tried.
        action: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no such image, or it is hidden from us.
    #[error("{} is not in its registry, or not for these credentials to see", .0.familiar())]
    NotFound(ImageRef),
    /// The registry wants credentials it did not get, or refuses those it got.
    #[error("registry {registry} does not accept {} for {repository}; log in to it first",
        if *.with_credentials { "the credentials" } else { "anonymous access" })]
    Unauthenticated {
        /// Which registry.
        registry: String,
        /// Which repository.
        repository: String,
        /// Whether there were credentials to send.
        with_credentials: bool,
    },
    /// The registry knows us and says no.
    #[error("registry {registry} forbids to {action}")]
    Forbidden {
        /// Which registry.
        registry: String,
        /// What was tried.
        action: String,
    },
    /// Too many requests, and waiting did not help.
    #[error("registry {registry} answers no more requests for now; try again later")]
    Throttled {
        /// Which registry.
        registry: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// An answer that has no place here.
    #[error("registry {registry} answered {status} to the request to {action}")]
    Status {
        /// Which registry.
        registry: String,
        /// What was tried.
        action: String,
        /// The status code.
        status: u16,
    },
    /// Something that would endanger credentials or this machine.
    #[error("registry {registry} is not trusted: {problem}")]
    Untrusted {
        /// Which registry.
        registry: String,
        /// What it tried.
        problem: String,
    },
    /// A file or program with credentials cannot be used.
    #[error("cannot read registry credentials from {place}: {problem}")]
    Credentials {
        /// The file or program.
        place: String,
        /// What is wrong with it; never a secret.
        problem: String,
    },
}

/// How to pull.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PullOptions {
    /// Which image of an index to take.
    pub platform: Platform,
    /// Whether layers are unpacked as they arrive.
    pub unpack: Unpack,
    /// How many layers travel at once.
    pub parallel: usize,
    /// How to reach the registry.
    pub access: Access,
}

/// Whether layers are unpacked as they arrive, or by a later [`crate::Store::unpack`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpack {
    /// As they arrive.
    Now,
    /// Not by the pull.
    Later,
}

/// How to reach registries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Access {
    /// Who we are.
    pub credentials: Credentials,
    /// Registries (`host` or `host:port`) to speak plain HTTP with. Those on this machine's
    /// loopback addresses are always spoken to that way.
    pub insecure: Vec<String>,
    /// Files with further certificates to trust, in PEM format.
    pub certificates: Vec<PathBuf>,
    /// How long to wait for a connection or for the next byte.
    pub patience: Duration,
    /// How often a failed request is tried again.
    pub retries: u32,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            credentials: Credentials::default(),
            insecure: Vec::new(),
            certificates: Vec::new(),
            patience: Duration::from_secs(30),
            retries: 4,
        }
    }
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            platform: Platform::linux_here(),
            unpack: Unpack::Now,
            parallel: 4,
            access: Access::default(),
        }
    }
}

/// What happens during a pull or a push.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The name leads to this manifest.
    Resolved {
        /// Digest of the manifest.
        manifest: Digest,
        /// Number of layers.
        layers: usize,
        /// Bytes of all layers together.
        bytes: u64,
    },
    /// A layer is there already.
    Present {
        /// Digest of the layer.
        layer: Digest,
    },
    /// A layer travels.
    Transferring {
        /// Digest of the layer.
        layer: Digest,
        /// Bytes so far.
        done: u64,
        /// Bytes in the end.
        size: u64,
    },
    /// A layer has arrived and is what it should be.
    Transferred {
        /// Digest of the layer.
        layer: Digest,
    },
    /// A layer is unpacked.
    Unpacked {
        /// Digest of the layer.
        layer: Digest,
    },
}

/// Whoever wants to know what happens.
pub(crate) type Observer<'a> = &'a (dyn Fn(Progress) + Send + Sync);

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolved {
                manifest,
                layers,
                bytes,
            } => {
                write!(f, "{}: {layers} layers, {bytes} bytes", manifest.short())
            }
            Self::Present { layer } => write!(f, "{}: present", layer.short()),
            Self::Transferring { layer, done, size } => {
                write!(f, "{}: {done} of {size} bytes", layer.short())
            }
            Self::Transferred { layer } => write!(f, "{}: transferred", layer.short()),
            Self::Unpacked { layer } => write!(f, "{}: unpacked", layer.short()),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;
#[cfg(test)]
mod wire;
