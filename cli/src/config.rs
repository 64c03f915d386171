//! The user's configuration file: contexts, which are names for backends.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use unmoor::{Error, ErrorKind, Uri};

use crate::exit::Failure;

/// The context that is always there.
pub(crate) const DEFAULT: &str = "default";
/// Where that leads.
pub(crate) const DEFAULT_BACKEND: &str = "local:";

/// A name for a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Its URI.
    pub(crate) backend: String,
    /// What it is, in the user's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
}

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The context in use; none is the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// `$UNMOOR_CONFIG`, or `unmoor/config.json` where this user's configuration is.
fn path() -> Option<PathBuf> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = variable("UNMOOR_CONFIG") {
        return Some(PathBuf::from(path));
    }
    let folder = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let folder = folder.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")))?;
    Some(folder.join("unmoor").join("config.json"))
}

impl Config {
    /// Reads the file; one that is not there is empty.
    pub(crate) fn load() -> Result<Self, Failure> {
        let Some(path) = path() else {
            return Ok(Self::default());
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(wrong(&path, error)),
        };
        serde_json::from_str(&text).map_err(|error| wrong(&path, error))
    }

    /// Writes the file, whole or not at all.
    pub(crate) fn store(&self) -> Result<(), Failure> {
        let Some(path) = path() else {
            let text = "there is no place for a configuration file: set UNMOOR_CONFIG or HOME";
            return Err(Failure::Usage(text.to_owned()));
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| wrong(&path, error))?;
        let text = serde_json::to_string_pretty(self).map_err(|error| wrong(&path, error))?;
        let fresh = folder.join(format!(".config.json.{}", std::process::id()));
        let write = || {
            // URIs may hold credentials.
            let mut options = fs::File::options();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&fresh);
            wrong(&path, error)
        })
    }

    /// The backend that a context leads to.
    pub(crate) fn backend(&self, name: &str) -> Result<String, Failure> {
        match self.contexts.get(name) {
            Some(context) => Ok(context.backend.clone()),
            None if name == DEFAULT => Ok(DEFAULT_BACKEND.to_owned()),
            None => Err(absent(name)),
        }
    }

    /// The name of the context in use.
    pub(crate) fn current(&self) -> String {
        let variable = env::var("UNMOOR_CONTEXT")
            .ok()
            .filter(|name| !name.is_empty());
        let chosen = variable.or_else(|| self.context.clone());
        chosen.unwrap_or_else(|| DEFAULT.to_owned())
    }
}

/// There is no such context.
pub(crate) fn absent(name: &str) -> Failure {
    let error = Error::new(ErrorKind::NotFound, format!("there is no context `{name}`"));
    error.hint("`unmoor context ls` lists them").into()
}

fn wrong(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> Failure {
    let text = format!("configuration file {}", path.display());
    Error::new(ErrorKind::InvalidSpec, text)
        .because(source)
        .into()
}

/// A name that can stand on a command line and in a file.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let begins = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    match begins && text.bytes().all(good) && text.len() <= 64 {
        true => Ok(text.to_owned()),
        false => Err("use letters, digits, `-`, `_` and `.`, a letter or digit first".to_owned()),
    }
}

/// A URI that names a backend.
pub(crate) fn uri(text: &str) -> Result<String, String> {
    Uri::parse(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}
