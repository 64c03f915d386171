//! OCI layouts and docker archives, as a file or a folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use unmoor_core::image::{Digest, ImageRef};
use unmoor_core::{Error, ErrorKind, Result};

use super::{Image, config, digest_of, layer, wrong};
use crate::model::{Tree, normal};

/// More than this is not taken into memory.
const LARGEST: u64 = 1 << 30;

type Found = Vec<(Option<ImageRef>, Arc<Image>)>;

/// The files of an archive.
enum Files {
    Folder(PathBuf),
    Memory(BTreeMap<String, Vec<u8>>),
}

impl Files {
    fn open(path: &Path) -> Result<Self> {
        let fail = |error| {
            let text = format!("load image: read {}", path.display());
            Error::new(ErrorKind::InvalidSpec, text).because(error)
        };
        if fs::metadata(path).map_err(fail)?.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let file = fs::File::open(path).map_err(fail)?;
        let bytes = layer::plain(file).map_err(fail)?;
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(bytes.as_slice());
        for entry in archive.entries().map_err(fail)? {
            let mut entry = entry.map_err(fail)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(fail)?;
            files.insert(normal("/", &name), content);
        }
        Ok(Self::Memory(files))
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let inside = normal("/", name);
        match self {
            Self::Memory(files) => files.get(&inside).cloned(),
            Self::Folder(folder) => {
                let path = folder.join(inside.trim_start_matches('/'));
                let size = fs::metadata(&path).ok()?.len();
                (size <= LARGEST).then(|| fs::read(path).ok()).flatten()
            }
        }
    }

    fn need(&self, name: &str) -> Result<Vec<u8>> {
        let missing = || wrong(format!("load image: the archive has no `{name}`"));
        self.read(name).ok_or_else(missing)
    }

    fn blob(&self, descriptor: &Value) -> Result<(Digest, Vec<u8>)> {
        let text = descriptor["digest"].as_str().unwrap_or_default();
        let digest = Digest::parse(text)?;
        let hex = text.split_once(':').map_or("", |(_, hex)| hex);
        let bytes = self.need(&format!("blobs/{}/{hex}", digest_word(text)))?;
        if digest_word(text) == "sha256" && digest_of(&bytes) != digest {
            let text = format!("load image: content of {digest} does not match its digest");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok((digest, bytes))
    }
}

fn digest_word(text: &str) -> &str {
    text.split_once(':').map_or("", |(algorithm, _)| algorithm)
}

pub(super) fn read(path: &Path) -> Result<Found> {
    let files = Files::open(path)?;
    if let Some(index) = files.read("index.json") {
        return layout(&files, &index);
    }
    if let Some(list) = files.read("manifest.json") {
        return docker(&files, &list);
    }
    Err(wrong(format!(
        "load image: {} is neither an OCI layout nor what `docker save` writes",
        path.display()
    )))
}

fn json(what: &str, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes)
        .map_err(|error| wrong(format!("load image: {what} is not JSON")).because(error))
}

fn layout(files: &Files, index: &[u8]) -> Result<Found> {
    let index = json("index.json", index)?;
    let mut found = Vec::new();
    for descriptor in index["manifests"].as_array().into_iter().flatten() {
        let notes = &descriptor["annotations"];
        let name = [
            "io.containerd.image.name",
            "org.opencontainers.image.ref.name",
        ]
        .iter()
        .find_map(|key| notes[*key].as_str())
        .and_then(|text| ImageRef::parse(text).ok());
        let (digest, manifest) = manifest(files, descriptor, 0)?;
        found.push((name, Arc::new(image(files, digest, &manifest)?)));
    }
    if found.is_empty() {
        return Err(wrong("load image: index.json lists no manifest"));
    }
    Ok(found)
}

/// The manifest of a descriptor; of an index, the one for this machine.
fn manifest(files: &Files, descriptor: &Value, depth: u32) -> Result<(Digest, Value)> {
    let (digest, bytes) = files.blob(descriptor)?;
    let value = json("a manifest", &bytes)?;
    let Some(list) = value["manifests"].as_array() else {
        return Ok((digest, value));
    };
    if depth > 3 {
        return Err(wrong("load image: indexes are nested too deeply"));
    }
    let here = unmoor_core::image::Platform::linux_here();
    let fits = |entry: &&Value| {
        let platform = &entry["platform"];
        platform.is_null() || platform["architecture"].as_str() == Some(here.arch())
    };
    let Some(entry) = list.iter().find(fits) else {
        let text = format!("load image: {digest} has nothing for {here}");
        return Err(Error::new(ErrorKind::Unsupported, text));
    };
    manifest(files, entry, depth + 1)
}

fn image(files: &Files, digest: Digest, manifest: &Value) -> Result<Image> {
    let (_, bytes) = files.blob(&manifest["config"])?;
    let config = json("the configuration", &bytes)?;
    let mut tree = Tree::new();
    let mut size = 0;
    for descriptor in manifest["layers"].as_array().into_iter().flatten() {
        let (_, bytes) = files.blob(descriptor)?;
        size += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        layer::apply(&mut tree, &bytes)?;
    }
    Ok(Image {
        digest,
        size,
        created: None,
        defaults: config::defaults(&config)?,
        files: tree,
    })
}

fn docker(files: &Files, list: &[u8]) -> Result<Found> {
    let list = json("manifest.json", list)?;
    let mut found = Vec::new();
    for item in list.as_array().into_iter().flatten() {
        let name = item["Config"].as_str().unwrap_or_default();
        let bytes = files.need(name)?;
        let config = json("the configuration", &bytes)?;
        let mut tree = Tree::new();
        let mut size = 0;
        for layer in item["Layers"].as_array().into_iter().flatten() {
            let bytes = files.need(layer.as_str().unwrap_or_default())?;
            size += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            layer::apply(&mut tree, &bytes)?;
        }
        let image = Arc::new(Image {
            digest: digest_of(&bytes),
            size,
            created: None,
            defaults: config::defaults(&config)?,
            files: tree,
        });
        let tags: Vec<ImageRef> = item["RepoTags"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tag| ImageRef::parse(tag.as_str()?).ok())
            .collect();
        if tags.is_empty() {
            found.push((None, Arc::clone(&image)));
        }
        found.extend(tags.into_iter().map(|tag| (Some(tag), Arc::clone(&image))));
    }
    if found.is_empty() {
        return Err(wrong("load image: manifest.json lists no image"));
    }
    Ok(found)
}
