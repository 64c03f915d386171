//! Images from OCI layouts: blobs checked against their digests, layers unpacked into a folder.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use unmoor::backend::{ImageDefaults, ImageEntry, ImageInput, Images, OnPull, ResolvedImage};
use unmoor::image::{Digest, ImageRef, Platform};
use unmoor::spec::PullPolicy;
use unmoor::{Error, ErrorKind, Result};

use crate::ProcBackend;

fn wrong(kind: ErrorKind, text: impl Into<String>) -> Error {
    Error::new(kind, format!("load image: {}", text.into()))
}

/// The files of a layout, by path.
struct Layout(BTreeMap<String, Vec<u8>>);

impl Layout {
    fn read(path: &Path) -> Result<Self> {
        let read = || -> std::io::Result<_> {
            let mut files = BTreeMap::new();
            for entry in tar::Archive::new(std::fs::File::open(path)?).entries()? {
                let (mut entry, mut bytes) = (entry?, Vec::new());
                entry.read_to_end(&mut bytes)?;
                files.insert(entry.path()?.display().to_string(), bytes);
            }
            Ok(files)
        };
        let failed =
            |error| wrong(ErrorKind::InvalidSpec, path.display().to_string()).because(error);
        read().map(Self).map_err(failed)
    }

    fn blob(&self, descriptor: &Value) -> Result<&[u8]> {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let missing = || {
            wrong(
                ErrorKind::InvalidSpec,
                format!("there is no blob {digest:?}"),
            )
        };
        let bytes = self
            .0
            .get(&format!("blobs/{}", digest.replace(':', "/")))
            .ok_or_else(missing)?;
        let hex: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if digest != format!("sha256:{hex}") {
            return Err(wrong(
                ErrorKind::Corrupt,
                format!("blob {digest} has other content"),
            ));
        }
        Ok(bytes)
    }

    fn json(bytes: Option<&[u8]>) -> Result<Value> {
        let bytes = bytes.ok_or_else(|| wrong(ErrorKind::InvalidSpec, "it is no OCI layout"))?;
        serde_json::from_slice(bytes)
            .map_err(|error| wrong(ErrorKind::InvalidSpec, "read JSON").because(error))
    }
}

fn words(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

impl ProcBackend {
    /// Unpacks one image, unless it is there.
    fn unpack(&self, layout: &Layout, descriptor: &Value) -> Result<(ResolvedImage, u64)> {
        let name = descriptor["annotations"]["org.opencontainers.image.ref.name"].as_str();
        let digest: Digest = descriptor["digest"].as_str().unwrap_or_default().parse()?;
        let manifest = Layout::json(Some(layout.blob(descriptor)?))?;
        let config = Layout::json(Some(layout.blob(&manifest["config"])?))?;
        let folder = self.image_folder(&digest);
        let mut size = 0;
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            let bytes = layout.blob(layer)?;
            size += bytes.len() as u64;
            if layer["mediaType"]
                .as_str()
                .is_none_or(|kind| !kind.ends_with(".tar"))
            {
                return Err(wrong(ErrorKind::Unsupported, "a layer is compressed"));
            }
            let failed = |error| wrong(ErrorKind::Internal, "unpack a layer").because(error);
            tar::Archive::new(bytes).unpack(&folder).map_err(failed)?;
        }
        let config = &config["config"];
        let defaults = ImageDefaults {
            entrypoint: words(&config["Entrypoint"]),
            command: words(&config["Cmd"]),
            env: words(&config["Env"]),
            ..ImageDefaults::default()
        };
        let unnamed = || wrong(ErrorKind::InvalidSpec, "an image has no name");
        let reference: ImageRef = name.ok_or_else(unnamed)?.parse()?;
        Ok((
            ResolvedImage {
                reference,
                digest,
                defaults,
            },
            size,
        ))
    }
}

fn entry(image: &ResolvedImage, size: u64) -> ImageEntry {
    ImageEntry {
        reference: Some(image.reference.clone()),
        digest: image.digest.clone(),
        size,
        created: None,
    }
}

#[async_trait]
impl Images for ProcBackend {
    async fn resolve(
        &self,
        reference: &ImageRef,
        _platform: Option<&Platform>,
        _policy: PullPolicy,
        _progress: OnPull<'_>,
    ) -> Result<ResolvedImage> {
        let world = self.world();
        // A plan that was kept names images by their digests.
        let found = match reference.digest() {
            Some(digest) => world.images.values().find(|image| image.digest == *digest),
            None => world.images.get(reference),
        };
        let found = found.cloned();
        drop(world);
        let missing = || {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no image `{reference}`"),
            )
        };
        found.ok_or_else(missing)
    }

    async fn load(&self, input: &ImageInput, replace: bool) -> Result<Vec<ImageEntry>> {
        let ImageInput::Archive(path) = input else {
            return Err(wrong(
                ErrorKind::Unsupported,
                "it is no OCI layout in a tar file",
            ));
        };
        let layout = Layout::read(path)?;
        let index = Layout::json(layout.0.get("index.json").map(Vec::as_slice))?;
        let mut entries = Vec::new();
        for descriptor in index["manifests"].as_array().into_iter().flatten() {
            let (image, size) = self.unpack(&layout, descriptor)?;
            let images = &mut self.world().images;
            let other = images
                .get(&image.reference)
                .is_some_and(|there| there.digest != image.digest);
            if other && !replace {
                let text = format!("the name `{}` has other content", image.reference);
                return Err(wrong(ErrorKind::AlreadyExists, text));
            }
            entries.push(entry(&image, size));
            images.insert(image.reference.clone(), image);
        }
        Ok(entries)
    }

    async fn list(&self) -> Result<Vec<ImageEntry>> {
        let world = self.world();
        Ok(world.images.values().map(|image| entry(image, 0)).collect())
    }

    async fn remove(&self, reference: &ImageRef) -> Result<()> {
        let world = &mut self.world();
        let Some(image) = world.images.get(reference) else {
            let text = format!("there is no image `{reference}`");
            return Err(Error::new(ErrorKind::NotFound, text));
        };
        if world
            .replicas
            .values()
            .any(|process| process.service.image.digest == image.digest)
        {
            let text = format!("remove image `{reference}`: a replica uses it");
            return Err(Error::new(ErrorKind::WrongPhase, text));
        }
        world.images.remove(reference);
        Ok(())
    }
}
