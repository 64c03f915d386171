//! What a load may know of the world outside: variables, the home directory, and other files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Place;

/// Reads the further files that a Compose file names: `env_file`, `extends`, `include`.
pub trait Files: fmt::Debug + Send + Sync {
    /// The text of the file, or `None` if there is none at this absolute path.
    ///
    /// # Errors
    /// `InvalidSpec` for what is not a readable text file of sensible size.
    fn read(&self, path: &Path) -> crate::Result<Option<String>>;

    /// True if everyone on the machine may read the file.
    fn is_open_to_all(&self, path: &Path) -> bool {
        let _ = path;
        false
    }
}

/// No files at all: what is named does not exist.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> crate::Result<Option<String>> {
        Ok(None)
    }
}

impl Files for BTreeMap<PathBuf, String> {
    fn read(&self, path: &Path) -> crate::Result<Option<String>> {
        Ok(self.get(path).cloned())
    }
}

/// Variables, home directory and files, as values.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Variables for interpolation and for services that take them over.
    pub variables: BTreeMap<String, String>,
    /// What `~` stands for; `None` makes it an error.
    pub home: Option<PathBuf>,
    /// Where further files come from.
    pub files: Arc<dyn Files>,
    /// Where variables were said that a file says, not the process's environment.
    pub origins: BTreeMap<String, Place>,
    /// Variables that values of these files name and that are not set, with where they are named.
    pub unset: Vec<(String, Place)>,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            variables: BTreeMap::new(),
            home: None,
            files: Arc::new(NoFiles),
            origins: BTreeMap::new(),
            unset: Vec::new(),
        }
    }
}

impl Environment {
    /// No variables, no home, no files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Sets what `~` stands for.
    #[must_use]
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// Sets where further files come from.
    #[must_use]
    pub fn files(mut self, files: impl Files + 'static) -> Self {
        self.files = Arc::new(files);
        self
    }
}
