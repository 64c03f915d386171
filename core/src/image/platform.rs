//! What an image runs on: operating system, architecture, variant; one spelling for each.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::shown;

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("platform \"{0}\" is not valid; write it as os/arch[/variant], for example linux/arm64")]
pub struct PlatformError(String);

/// What an image was built for: operating system, architecture, and variant of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    os: String,
    arch: String,
    variant: Option<String>,
}

impl Platform {
    /// Reads `os/arch[/variant]`; `aarch64` and `x86_64` are read as `arm64` and `amd64`.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let mut parts = text.split('/');
        let (Some(os), Some(arch)) = (parts.next(), parts.next()) else {
            return Err(PlatformError(shown(text)));
        };
        let variant = parts.next();
        if parts.next().is_some() {
            return Err(PlatformError(shown(text)));
        }
        Self::new(os, arch, variant).map_err(|_| PlatformError(shown(text)))
    }

    /// Puts a platform together from its parts.
    pub fn new(os: &str, arch: &str, variant: Option<&str>) -> Result<Self, PlatformError> {
        let is_word = |text: &str| {
            text.len() <= 64
                && text
                    .bytes()
                    .next()
                    .is_some_and(|b| b.is_ascii_alphanumeric())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !is_word(os) || !is_word(arch) || !variant.is_none_or(is_word) {
            return Err(PlatformError(shown(&format!("{os}/{arch}"))));
        }
        let (arch, implied) = normal_arch(arch);
        let variant = match (arch.as_str(), variant.or(implied)) {
            // The one variant that every such machine is, so it is not worth naming.
            ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) | (_, None) => None,
            (_, Some(variant)) => Some(variant.to_owned()),
        };
        Ok(Self {
            os: os.to_ascii_lowercase(),
            arch,
            variant,
        })
    }

    /// Linux on the processor this program was built for.
    pub fn linux_here() -> Self {
        let (arch, variant) = normal_arch(std::env::consts::ARCH);
        Self {
            os: "linux".to_owned(),
            arch,
            variant: variant.map(str::to_owned),
        }
    }

    /// The operating system, for example `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture, for example `amd64`.
    pub fn arch(&self) -> &str {
        &self.arch
    }

    /// The variant, if it is not the one every such machine has.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }
}

fn normal_arch(arch: &str) -> (String, Option<&'static str>) {
    let lower = arch.to_ascii_lowercase();
    match lower.as_str() {
        "x86_64" | "x86-64" => ("amd64".to_owned(), None),
        "aarch64" => ("arm64".to_owned(), None),
        "armhf" => ("arm".to_owned(), Some("v7")),
        "armel" => ("arm".to_owned(), Some("v6")),
        "i386" | "i686" | "x86" => ("386".to_owned(), None),
        "powerpc64le" => ("ppc64le".to_owned(), None),
        _ => (lower, None),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}
