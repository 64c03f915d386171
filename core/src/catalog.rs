//! Which schemes lead to which backends. Filled by the caller; there are no globals.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::uri::Uri;

/// Opens connections for one scheme.
#[async_trait]
pub trait Connect: Send + Sync + fmt::Debug {
    /// The scheme, as `local`.
    fn scheme(&self) -> &'static str;

    /// One line on what the backend is.
    fn summary(&self) -> &'static str;

    /// Connects.
    ///
    /// # Errors
    /// `InvalidSpec` for a malformed URI, `Unavailable`, `Forbidden`, `Unauthenticated`.
    async fn connect(&self, uri: &Uri) -> Result<Arc<dyn Backend>>;
}

/// Backends by scheme.
#[derive(Debug, Default)]
pub struct Catalog {
    entries: BTreeMap<&'static str, Box<dyn Connect>>,
}

impl Catalog {
    /// A catalog without backends.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a backend; a second one of the same scheme replaces the first.
    #[must_use]
    pub fn with(mut self, connect: impl Connect + 'static) -> Self {
        self.entries.insert(connect.scheme(), Box::new(connect));
        self
    }

    /// Scheme and summary of every backend.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.entries
            .values()
            .map(|entry| (entry.scheme(), entry.summary()))
    }

    /// Connects to what the URI names.
    ///
    /// # Errors
    /// `Unsupported` for a scheme that is not in the catalog, else what the backend answers.
    pub async fn connect(&self, uri: &Uri) -> Result<Arc<dyn Backend>> {
        let Some(entry) = self.entries.get(uri.scheme.as_str()) else {
            let known: Vec<_> = self.entries.keys().copied().collect();
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("there is no backend for `{}:`", uri.scheme),
            )
            .hint(format!("this build has: {}", known.join(", "))));
        };
        entry.connect(uri).await
    }
}
