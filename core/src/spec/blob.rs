//! Secrets and configs: small files given to services.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::name::BlobName;

/// Bytes that no output of ours shows; serialised as their SHA-256 only.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Wraps the bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves, for the one place that hands them to a service.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 in lower-case hex: tells whether two are equal without showing them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        Sha256::digest(&self.0)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.fingerprint())
    }
}

/// Whether a blob is a secret or a config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// Shown nowhere; mounted under `/run/secrets` by default.
    Secret,
    /// Mounted at `/<name>` by default.
    Config,
}

impl BlobKind {
    /// The kind in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Config => "config",
        }
    }
}

/// A secret or config by kind and name; `secret:db-password` as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobId {
    /// Secret or config.
    pub kind: BlobKind,
    /// Which.
    pub name: BlobName,
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

impl From<BlobId> for String {
    fn from(id: BlobId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for BlobId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{}` is not secret:NAME or config:NAME",
                text.escape_default()
            )
        };
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        let kind = match kind {
            "secret" => BlobKind::Secret,
            "config" => BlobKind::Config,
            _ => return Err(wrong()),
        };
        let name = BlobName::parse(name).map_err(|error| error.to_string())?;
        Ok(Self { kind, name })
    }
}

/// Where the content of a secret or config comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BlobSource {
    /// A file of the machine that plans.
    File(PathBuf),
    /// A variable of the environment that plans.
    Environment(String),
    /// Given directly; only its fingerprint is ever stored with a stack.
    Inline(#[serde(serialize_with = "redact", deserialize_with = "unredact")] SecretBytes),
    /// Given directly before; the backend keeps it under this fingerprint.
    Stored(String),
    /// Exists on the platform already.
    External,
}

fn redact<S: Serializer>(bytes: &SecretBytes, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.serialize(serializer)
}

/// A content never comes back from what was serialised; records hold `Stored` instead.
fn unredact<'de, D: serde::Deserializer<'de>>(_: D) -> Result<SecretBytes, D::Error> {
    Err(serde::de::Error::custom(
        "the content of a secret or config is never stored with a stack",
    ))
}

/// A secret or config of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Where its content comes from.
    pub source: BlobSource,
}

/// A service's use of a secret or config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobGrant {
    /// Which secret or config of the stack.
    pub name: BlobName,
    /// Absolute path inside the service.
    pub target: String,
    /// Owner inside the service.
    pub uid: u32,
    /// Group inside the service.
    pub gid: u32,
    /// Permission bits; docker's default is 0444.
    pub mode: u32,
}

impl BlobGrant {
    /// Grants `name` at its kind's default path, readable by everyone inside.
    #[must_use]
    pub fn new(kind: BlobKind, name: BlobName) -> Self {
        let target = match kind {
            BlobKind::Secret => format!("/run/secrets/{name}"),
            BlobKind::Config => format!("/{name}"),
        };
        Self {
            name,
            target,
            uid: 0,
            gid: 0,
            mode: 0o444,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let secret = SecretBytes::new(*b"hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
        let json = serde_json::to_string(&BlobSource::Inline(secret)).expect("serialises");
        assert!(!json.contains("hunter2"), "{json}");
    }
}
