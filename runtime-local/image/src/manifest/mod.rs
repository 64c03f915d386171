//! Indexes and manifests: OCI and Docker's second schema, read strictly.
//!
//! A document's own shape decides what it is. A document that could be two things, or that
//! claims to be something else than its shape says, is refused.

pub(crate) mod change;
pub mod config;
pub(crate) mod json;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use unmoor_core::image::{Digest, Platform};

use crate::error::{ImageError, shown};
use crate::limits::Limits;

/// Media types this crate writes and reads.
pub(crate) mod media {
    pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub(crate) const OCI_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
    pub(crate) const OCI_TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub(crate) const OCI_TAR_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    pub(crate) const DOCKER_LIST: &str =
        "application/vnd.docker.distribution.manifest.list.v2+json";
    pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub(crate) const DOCKER_LAYERS: [&str; 3] = [
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    ];
}

/// A pointer to content: its kind, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What kind of content it is.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The number of bytes.
    pub size: u64,
    /// Other places to get it from; never used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// What the content was built for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformFields>,
}

/// A platform as an index writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformFields {
    /// The operating system.
    pub os: String,
    /// The architecture.
    pub architecture: String,
    /// A variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl PlatformFields {
    /// The same as a checked value; `unknown/unknown` marks attestations, not images.
    pub fn platform(&self) -> Option<Platform> {
        if self.os == "unknown" || self.architecture == "unknown" {
            return None;
        }
        let variant = self.variant.as_deref().filter(|text| !text.is_empty());
        Platform::new(&self.os, &self.architecture, variant).ok()
    }
}

impl Descriptor {
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: None,
            annotations: None,
            platform: None,
        }
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// The manifest of one image: its configuration and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Where the image configuration is.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// A list of manifests, one for each platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// What it lists.
    pub manifests: Vec<Descriptor>,
}

/// Either of the two, told apart by its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A choice of images.
    Index(Index),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestFields {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexFields {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    manifests: Vec<Descriptor>,
}

const KNOWN: [&str; 8] = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "fsLayers",
    "artifactType",
    "subject",
];
const DESCRIPTOR_KNOWN: [&str; 5] = ["mediaType", "digest", "size", "urls", "platform"];

impl Document {
    /// Reads a manifest or an index. `claimed` is what the sender called it, if anything.
    pub fn parse(
        bytes: &[u8],
        what: &str,
        claimed: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, ImageError> {
        let map = json::object(bytes, what, limits.document_bytes)?;
        json::check_case(&map, &KNOWN, what)?;
        let is_index = shape(&map, what)?;
        check_claim(&map, is_index, claimed, what)?;
        for list in ["layers", "manifests"] {
            for item in map
                .get(list)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                check_descriptor(item, what)?;
            }
        }
        map.get("config")
            .map(|config| check_descriptor(config, what))
            .transpose()?;
        let document = if is_index {
            let fields: IndexFields = json::typed(map, what)?;
            check_version(fields.schema_version, what)?;
            Self::Index(Index {
                manifests: fields.manifests,
            })
        } else {
            let fields: ManifestFields = json::typed(map, what)?;
            check_version(fields.schema_version, what)?;
            Self::Manifest(Manifest {
                config: fields.config,
                layers: fields.layers,
            })
        };
        document.check(what, limits)?;
        Ok(document)
    }

    fn check(&self, what: &str, limits: &Limits) -> Result<(), ImageError> {
        let refuse = |problem: String| Err(ImageError::document(what, problem));
        match self {
            Self::Index(index) if index.manifests.len() > limits.index_entries => refuse(format!(
                "it lists more than {} manifests",
                limits.index_entries
            )),
            Self::Index(index) => index
                .manifests
                .iter()
                .try_for_each(|d| check_size(d, limits.document_bytes, what)),
            Self::Manifest(manifest) if manifest.layers.len() > limits.layers => {
                refuse(format!("it has more than {} layers", limits.layers))
            }
            Self::Manifest(manifest) => {
                check_size(&manifest.config, limits.document_bytes, what)?;
                if !matches!(
                    manifest.config.media_type.as_str(),
                    media::OCI_CONFIG | media::DOCKER_CONFIG
                ) {
                    let kind = shown(manifest.config.media_type.as_bytes());
                    return refuse(format!("it describes \"{kind}\", not a container image"));
                }
                manifest
                    .layers
                    .iter()
                    .try_for_each(|layer| check_layer(layer, what, limits))
            }
        }
    }
}

/// Whether it is an index; refuses what is neither, both, or of the first schema.
fn shape(map: &Map<String, Value>, what: &str) -> Result<bool, ImageError> {
    let has = |key: &str| map.contains_key(key);
    let refuse = |problem: &str| Err(ImageError::document(what, problem));
    match (has("manifests"), has("layers") || has("config")) {
        _ if has("fsLayers") => {
            refuse("it is of Docker's first schema; push the image again with a current tool")
        }
        (true, true) => refuse("it has both manifests and layers, so it could mean two images"),
        (false, false) => refuse("it has neither manifests nor layers"),
        (is_index, _) => Ok(is_index),
    }
}

fn check_version(version: u32, what: &str) -> Result<(), ImageError> {
    if version == 2 {
        return Ok(());
    }
    Err(ImageError::document(
        what,
        format!("its schema version is {version}, not 2"),
    ))
}

/// The media type inside, and what the sender said outside, must agree with the shape.
fn check_claim(
    map: &Map<String, Value>,
    is_index: bool,
    claimed: Option<&str>,
    what: &str,
) -> Result<(), ImageError> {
    let inner = match map.get("mediaType") {
        None => None,
        Some(Value::String(text)) => Some(text.as_str()),
        Some(_) => return Err(ImageError::document(what, "its mediaType is not a text")),
    };
    let fits = |kind: &str| match kind {
        media::OCI_INDEX | media::DOCKER_LIST => is_index,
        media::OCI_MANIFEST | media::DOCKER_MANIFEST => !is_index,
        _ => false,
    };
    for kind in [inner, claimed].into_iter().flatten() {
        if !fits(kind) {
            let kind = shown(kind.as_bytes());
            let is = if is_index { "an index" } else { "a manifest" };
            let problem = format!("it has the shape of {is} but is called \"{kind}\"");
            return Err(ImageError::document(what, problem));
        }
    }
    match (inner, claimed) {
        (Some(inner), Some(claimed)) if inner != claimed => {
            let problem = format!("it calls itself \"{inner}\" but was sent as \"{claimed}\"");
            Err(ImageError::document(what, problem))
        }
        _ => Ok(()),
    }
}

fn check_descriptor(value: &Value, what: &str) -> Result<(), ImageError> {
    let Value::Object(map) = value else {
        return Err(ImageError::document(what, "a descriptor is not an object"));
    };
    json::check_case(map, &DESCRIPTOR_KNOWN, what)
}

fn check_size(descriptor: &Descriptor, most: u64, what: &str) -> Result<(), ImageError> {
    let (digest, size) = (&descriptor.digest, descriptor.size);
    if size == 0 || size > most {
        let problem = format!("its descriptor of {digest} has the impossible size {size}");
        return Err(ImageError::document(what, problem));
    }
    Ok(())
}

fn check_layer(layer: &Descriptor, what: &str, limits: &Limits) -> Result<(), ImageError> {
    check_size(layer, limits.blob_bytes, what)?;
    let kind = layer.media_type.as_str();
    let known = matches!(
        kind,
        media::OCI_TAR | media::OCI_TAR_GZIP | media::OCI_TAR_ZSTD
    ) || media::DOCKER_LAYERS.contains(&kind);
    if known {
        return Ok(());
    }
    let problem = if kind.contains("nondistributable") || kind.contains("foreign") {
        "is not distributable, and fetching it from elsewhere is not supported".to_owned()
    } else {
        format!("is of the unknown kind \"{}\"", shown(kind.as_bytes()))
    };
    Err(ImageError::document(
        what,
        format!("its layer {} {problem}", layer.digest),
    ))
}

/// An OCI manifest as bytes; equal input gives equal bytes.
pub(crate) fn write_manifest(config: Descriptor, layers: Vec<Descriptor>) -> Vec<u8> {
    let fields = ManifestFields {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        config,
        layers,
    };
    serde_json::to_vec(&fields).expect("a manifest has only text keys")
}

/// An OCI index as bytes.
pub(crate) fn write_index(manifests: Vec<Descriptor>) -> Vec<u8> {
    let fields = IndexFields {
        schema_version: 2,
        media_type: Some(media::OCI_INDEX.to_owned()),
        manifests,
    };
    serde_json::to_vec(&fields).expect("an index has only text keys")
}

/// The entry of an index for this platform, or a refusal that lists what there is.
pub(crate) fn select<'a>(
    index: &'a Index,
    wanted: &Platform,
    what: &str,
) -> Result<&'a Descriptor, ImageError> {
    let offered: Vec<(Platform, &Descriptor)> = index
        .manifests
        .iter()
        .filter_map(|d| Some((d.platform.as_ref()?.platform()?, d)))
        .collect();
    if let Some((_, exact)) = offered.iter().find(|(platform, _)| platform == wanted) {
        return Ok(exact);
    }
    // A processor also runs what was built for an older variant of it, newest first.
    let mut older: Vec<_> = offered
        .iter()
        .filter(|(p, _)| p.os() == wanted.os() && p.arch() == wanted.arch())
        .filter(|(p, _)| p.variant() <= wanted.variant())
        .collect();
    older.sort_by(|a, b| b.0.variant().cmp(&a.0.variant()));
    if let Some((_, descriptor)) = older.first() {
        return Ok(descriptor);
    }
    if let [only] = index.manifests.as_slice()
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let mut offered: Vec<Platform> = offered.into_iter().map(|(platform, _)| platform).collect();
    offered.sort();
    offered.dedup();
    Err(ImageError::NoPlatform {
        what: what.to_owned(),
        wanted: Box::new(wanted.clone()),
        offered,
    })
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
