//! Names of images: references, digests and platforms, parsed once and valid afterwards.
//!
//! The grammar is that of the distribution specification; short names mean Docker Hub, as
//! everywhere. Nothing here touches a network or a disk.

mod platform;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use self::platform::{Platform, PlatformError};

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;
/// No valid reference is longer: name, tag, and the longest digest, with their separators.
const REFERENCE_MAX: usize = NAME_MAX + 1 + TAG_MAX + 1 + 7 + 128;

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DigestError {
    /// There is no `algorithm:` in front.
    #[error("digest \"{0}\" has no algorithm; write it as sha256:<64 hex digits>")]
    NoAlgorithm(String),
    /// The algorithm is not one that is safe to rely on.
    #[error("digest algorithm \"{0}\" is not supported; use sha256 or sha512")]
    Algorithm(String),
    /// The hexadecimal part has the wrong length or foreign characters.
    #[error("digest \"{text}\" is not {expected} lower-case hexadecimal digits after the colon")]
    Hex {
        /// What was given (shortened).
        text: String,
        /// How many digits this algorithm has.
        expected: usize,
    },
}

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ImageRefError {
    /// Nothing was given.
    #[error("image reference is empty; write it as name[:tag][@digest]")]
    Empty,
    /// More characters than any valid reference has.
    #[error("image reference \"{0}\" is too long")]
    TooLong(String),
    /// The repository part has capitals, which registries do not accept.
    #[error("image name \"{0}\" has capital letters; repository names are lower case")]
    UpperCase(String),
    /// The repository part does not follow the grammar.
    #[error(
        "image name \"{0}\" is not valid; use lower-case letters, digits and single . _ - between them, parts separated by /"
    )]
    Name(String),
    /// A name of 64 hexadecimal digits would be mistaken for an id.
    #[error("image name \"{0}\" is 64 hexadecimal digits, which cannot be told from an image id")]
    Identifier(String),
    /// The registry host or port does not follow the grammar.
    #[error("registry \"{0}\" is not a host name or address with an optional port")]
    Registry(String),
    /// The tag does not follow the grammar.
    #[error(
        "tag \"{0}\" is not valid; use at most 128 letters, digits, _ . and -, not starting with . or -"
    )]
    Tag(String),
    /// The part after `@` is not a digest.
    #[error("image reference \"{text}\" has an invalid digest")]
    Digest {
        /// The whole reference (shortened).
        text: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
}

/// The hash functions a digest may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DigestAlgorithm {
    /// SHA-256, what nearly every registry uses.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl DigestAlgorithm {
    /// The name as it stands in front of the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// The name of content by its hash: `sha256:<64 hex digits>`.
///
/// A value of this type is safe as a part of a path or an address: it holds an algorithm name,
/// one colon and lower-case hexadecimal digits of exactly the right number, nothing else.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: DigestAlgorithm,
    text: String,
}

impl Digest {
    /// Reads `algorithm:hex`.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let Some((algorithm, hex)) = text.split_once(':') else {
            return Err(DigestError::NoAlgorithm(shown(text)));
        };
        let algorithm = match algorithm {
            "sha256" => DigestAlgorithm::Sha256,
            "sha512" => DigestAlgorithm::Sha512,
            other => return Err(DigestError::Algorithm(shown(other))),
        };
        let expected = algorithm.hex_len();
        let is_lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() != expected || !hex.bytes().all(is_lower_hex) {
            return Err(DigestError::Hex {
                text: shown(text),
                expected,
            });
        }
        Ok(Self {
            algorithm,
            text: text.to_owned(),
        })
    }

    /// The SHA-256 digest of these bytes.
    pub fn sha256_of(content: &[u8]) -> Self {
        Self::from_sha256(Sha256::digest(content).into())
    }

    /// Wraps a SHA-256 value that was computed elsewhere.
    pub fn from_sha256(hash: [u8; 32]) -> Self {
        Self {
            algorithm: DigestAlgorithm::Sha256,
            text: with_hex("sha256:", &hash),
        }
    }

    /// Wraps a SHA-512 value that was computed elsewhere.
    pub fn from_sha512(hash: [u8; 64]) -> Self {
        Self {
            algorithm: DigestAlgorithm::Sha512,
            text: with_hex("sha512:", &hash),
        }
    }

    /// Which hash function made it.
    pub fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// The part after the colon.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.as_str().len() + 1..]
    }

    /// The first twelve digits, as people read them.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn with_hex(prefix: &str, bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(prefix.len() + bytes.len() * 2);
    text.push_str(prefix);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The name of an image: registry, repository, and a tag, a digest or both.
///
/// `nginx`, `docker.io/nginx` and `docker.io/library/nginx:latest` are the same value.
/// [`fmt::Display`] prints the full name, [`ImageRef::familiar`] the short one; both parse back
/// to an equal value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageRef {
    /// Reads `[registry/]repository[:tag][@digest]`; without tag and digest the tag is `latest`.
    pub fn parse(text: &str) -> Result<Self, ImageRefError> {
        if text.is_empty() {
            return Err(ImageRefError::Empty);
        }
        if text.len() > REFERENCE_MAX {
            return Err(ImageRefError::TooLong(shown(text)));
        }
        let (rest, digest) = split_digest(text)?;
        let (name, tag) = split_tag(rest);
        let tag = tag.map(checked_tag).transpose()?;
        let (registry, repository) = split_registry(name);
        let registry = checked_registry(registry)?;
        let repository = checked_repository(registry, repository)?;
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag,
        };
        if registry.len() + 1 + repository.len() > NAME_MAX {
            return Err(ImageRefError::TooLong(shown(text)));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }

    /// The registry's host, with its port if one was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry, for example `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Registry and repository, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The tag; absent only if there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest this reference is pinned to.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Whether the reference names one content for ever.
    pub fn is_pinned(&self) -> bool {
        self.digest.is_some()
    }

    /// The same image, pinned to this digest.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The same repository under another tag, and not pinned.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ImageRefError> {
        let tag = Some(checked_tag(tag)?);
        Ok(Self {
            tag,
            digest: None,
            ..self.clone()
        })
    }

    /// The same image without its digest (`latest` if there is no tag either).
    #[must_use]
    pub fn without_digest(&self) -> Self {
        let tag = self.tag.clone().or_else(|| Some(DEFAULT_TAG.to_owned()));
        Self {
            tag,
            digest: None,
            ..self.clone()
        }
    }

    /// The short form that people write: no `docker.io/library/`, no `:latest`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        match (&self.tag, &self.digest) {
            (Some(tag), None) if tag == DEFAULT_TAG => {}
            (Some(tag), _) => text.extend([":", tag.as_str()]),
            (None, _) => {}
        }
        if let Some(digest) = &self.digest {
            text.extend(["@", digest.as_str()]);
        }
        text
    }

    fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.name();
        }
        match self.repository.strip_prefix("library/") {
            Some(short) if !short.contains('/') => short.to_owned(),
            // A first part that could be a host must keep the registry in front of it.
            _ if split_registry(&self.repository).0 != DEFAULT_REGISTRY => self.name(),
            _ => self.repository.clone(),
        }
    }
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>), ImageRefError> {
    let Some((rest, digest)) = text.split_once('@') else {
        return Ok((text, None));
    };
    let digest = Digest::parse(digest).map_err(|source| ImageRefError::Digest {
        text: shown(text),
        source,
    })?;
    Ok((rest, Some(digest)))
}

/// A colon after the last slash starts the tag; one before it belongs to a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let last_part = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[last_part..].find(':') {
        Some(colon) => {
            let (name, tag) = text.split_at(last_part + colon);
            (name, Some(&tag[1..]))
        }
        None => (text, None),
    }
}

/// The first part is a registry only if it cannot be a repository's first part.
fn split_registry(name: &str) -> (&str, &str) {
    let Some((first, rest)) = name.split_once('/') else {
        return (DEFAULT_REGISTRY, name);
    };
    let is_host = first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase());
    match (is_host, first) {
        (true, "index.docker.io" | "docker.io") => (DEFAULT_REGISTRY, rest),
        (true, _) => (first, rest),
        (false, _) => (DEFAULT_REGISTRY, name),
    }
}

fn checked_registry(text: &str) -> Result<&str, ImageRefError> {
    let refused = || ImageRefError::Registry(shown(text));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or_else(refused)?;
            address
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| refused())?;
            match after {
                "" => (None, None),
                _ => (None, Some(after.strip_prefix(':').ok_or_else(refused)?)),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if host.is_some_and(|host| !host.split('.').all(is_label)) {
        return Err(refused());
    }
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p != 0)
    };
    if port.is_some_and(|port| !is_port(port)) {
        return Err(refused());
    }
    Ok(text)
}

fn checked_repository(registry: &str, text: &str) -> Result<String, ImageRefError> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ImageRefError::UpperCase(shown(text)));
    }
    if !text.split('/').all(is_path_part) {
        return Err(ImageRefError::Name(shown(text)));
    }
    if registry != DEFAULT_REGISTRY || text.contains('/') {
        return Ok(text.to_owned());
    }
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ImageRefError::Identifier(shown(text)));
    }
    Ok(format!("library/{text}"))
}

/// Letters and digits, separated by `.`, `_`, `__` or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends_are_words =
        bytes.first().is_some_and(|b| is_word(*b)) && bytes.last().is_some_and(|b| is_word(*b));
    ends_are_words
        && part
            .split(|c: char| c.is_ascii() && is_word(c as u8))
            .all(|separator| {
                matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
            })
}

fn checked_tag(tag: &str) -> Result<String, ImageRefError> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let valid = tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-');
    if valid {
        Ok(tag.to_owned())
    } else {
        Err(ImageRefError::Tag(shown(tag)))
    }
}

/// Keeps foreign text in messages short and printable.
fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut short: String = text
        .chars()
        .take(MOST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

macro_rules! text_type {
    ($($name:ident, $error:ident;)*) => {$(
        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )*};
}

text_type! {
    Digest, DigestError;
    ImageRef, ImageRefError;
    Platform, PlatformError;
}

#[cfg(test)]
mod tests;
