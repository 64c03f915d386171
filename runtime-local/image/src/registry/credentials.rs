//! Credentials for registries: where they are kept, and which one belongs to which registry.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use unmoor_core::image::ImageRef;

use super::RegistryError;
use super::helper;

const MOST_FILE: u64 = 1 << 20;
/// The key under which every tool keeps the credentials of Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Who we are to a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// This user, for whatever registry is asked.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// Whoever these files say for the registry in question.
    Files(CredentialFiles),
}

/// Files that hold credentials, in the order in which they are searched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    /// The files; absent ones are passed over.
    pub paths: Vec<PathBuf>,
    /// Where helper programs are looked for, instead of in `PATH`.
    pub helpers: Option<OsString>,
}

impl CredentialFiles {
    /// The files that docker, podman and others use, by this look-up of environment variables.
    ///
    /// `REGISTRY_AUTH_FILE` stands alone if it is set.
    pub fn usual(environment: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        if let Some(file) = set("REGISTRY_AUTH_FILE") {
            return Self {
                paths: vec![file.into()],
                helpers: None,
            };
        }
        let home = set("HOME").map(PathBuf::from);
        let under_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let runtime = set("XDG_RUNTIME_DIR").map(PathBuf::from);
        let config = set("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or(under_home(".config"));
        let docker = set("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or(under_home(".docker"));
        let paths = [
            runtime.map(|dir| dir.join("containers/auth.json")),
            config.map(|dir| dir.join("containers/auth.json")),
            docker.map(|dir| dir.join("config.json")),
            under_home(".dockercfg"),
        ];
        Self {
            paths: paths.into_iter().flatten().collect(),
            helpers: None,
        }
    }
}

/// What is sent when a registry asks who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    Password {
        user: String,
        password: Secret,
    },
    /// A token that is exchanged for others.
    Identity(Secret),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default, alias = "identitytoken")]
    identity_token: Option<String>,
}

impl Credentials {
    /// What to say to the registry of this image.
    pub(super) async fn login(&self, image: &ImageRef) -> Result<Option<Login>, RegistryError> {
        match self {
            Self::Anonymous => Ok(None),
            Self::Password { user, password } => Ok(Some(Login::Password {
                user: user.clone(),
                password: password.clone(),
            })),
            Self::Files(files) => {
                for path in &files.paths {
                    if let Some(login) = from_file(path, image, files.helpers.as_deref()).await? {
                        return Ok(Some(login));
                    }
                }
                Ok(None)
            }
        }
    }
}

async fn from_file(
    path: &Path,
    image: &ImageRef,
    search: Option<&OsStr>,
) -> Result<Option<Login>, RegistryError> {
    let failed = |problem: &str| RegistryError::Credentials {
        place: path.display().to_string(),
        problem: problem.to_owned(),
    };
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_bounded(&owned)).await;
    let content = match read.map_err(|_| failed("reading it was cancelled"))? {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error.to_string())),
    };
    // The parser's own message could quote a secret.
    let invalid = || failed("it is not the JSON such a file has");
    let config = match path.file_name().is_some_and(|name| name == ".dockercfg") {
        true => ConfigFile {
            auths: serde_json::from_slice(&content).map_err(|_| invalid())?,
            ..ConfigFile::default()
        },
        false => serde_json::from_slice(&content).map_err(|_| invalid())?,
    };
    let keys = keys(image);
    let helper = keys.iter().find_map(|key| config.cred_helpers.get(key));
    if let Some(helper) = helper.or(config.creds_store.as_ref()) {
        let server = if image.registry() == "docker.io" {
            HUB_KEY
        } else {
            image.registry()
        };
        if let Some(login) = helper::ask(helper, server, search, helper::PATIENCE).await? {
            return Ok(Some(login));
        }
    }
    let entry = keys.iter().find_map(|key| {
        let same = |known: &&String| normal(known) == *key;
        config
            .auths
            .keys()
            .find(same)
            .and_then(|known| config.auths.get(known))
    });
    match entry {
        Some(entry) => login(entry).map_err(failed),
        None => Ok(None),
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    file.take(MOST_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST_FILE {
        return Err(io::Error::other("it is too large"));
    }
    Ok(content)
}

/// What the credentials of an image may be filed under, most particular first.
fn keys(image: &ImageRef) -> Vec<String> {
    let mut keys = Vec::new();
    let mut name = image.name();
    loop {
        keys.push(name.clone());
        match name.rfind('/') {
            Some(slash) => name.truncate(slash),
            None => break,
        }
    }
    if image.registry() == "docker.io" {
        keys.extend(["index.docker.io", "registry-1.docker.io"].map(str::to_owned));
    }
    keys
}

/// A key without the scheme and version that some tools write.
fn normal(key: &str) -> String {
    let key = key
        .strip_prefix("https://")
        .or(key.strip_prefix("http://"))
        .unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key
        .strip_suffix("/v1")
        .or(key.strip_suffix("/v2"))
        .unwrap_or(key);
    key.to_owned()
}

fn login(entry: &Entry) -> Result<Option<Login>, &'static str> {
    if let Some(token) = entry
        .identity_token
        .as_ref()
        .filter(|token| !token.is_empty())
    {
        return Ok(Some(Login::Identity(Secret::new(token))));
    }
    if let Some(auth) = entry.auth.as_ref().filter(|auth| !auth.is_empty()) {
        let decoded = unbase64(auth).ok_or("an entry is not base64")?;
        let pair = String::from_utf8(decoded).map_err(|_| "an entry is not text")?;
        let (user, password) = pair.split_once(':').ok_or("an entry has no password")?;
        // Some tools pad with NUL bytes.
        let password = Secret::new(password.trim_end_matches('\0'));
        return Ok(Some(Login::Password {
            user: user.to_owned(),
            password,
        }));
    }
    match (&entry.username, &entry.password) {
        (Some(user), Some(password)) => Ok(Some(Login::Password {
            user: user.clone(),
            password: Secret::new(password),
        })),
        _ => Ok(None),
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn base64(text: &str) -> String {
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            if position <= three.len() {
                let index = (bits >> (18 - 6 * position)) & 63;
                out.push(char::from(LETTERS[index as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.trim().trim_end_matches('=').bytes() {
        let value = LETTERS.iter().position(|letter| *letter == byte)?;
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
        bits &= (1 << held) - 1;
    }
    Some(out)
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
