//! Loads what `docker save` wrote before it wrote OCI layouts.

use std::io::{Cursor, Read};

use serde::Deserialize;
use unmoor_core::image::{Digest, ImageRef};

use super::reader::ArchiveReader;
use super::{LoadOptions, check_platform};
use crate::error::ImageError;
use crate::extract::decode::Compression;
use crate::manifest::config::ImageConfig;
use crate::manifest::{Descriptor, json, media, write_manifest};
use crate::store::{Store, StoredImage, store_record};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

pub(super) fn load(
    store: &Store,
    archive: &mut ArchiveReader,
    options: &LoadOptions,
) -> Result<Vec<StoredImage>, ImageError> {
    let what = format!("manifest.json of {}", archive.path().display());
    let mut saved = Vec::new();
    for object in archive.objects(b"manifest.json")? {
        json::check_case(&object, &["Config", "RepoTags", "Layers"], &what)?;
        saved.push(json::typed::<Saved>(object, &what)?);
    }
    let mut records = Vec::new();
    for (names, saved) in chosen(archive, &saved, options)? {
        let manifest = image(store, archive, saved, options)?;
        for name in names {
            let record = store_record(&name, manifest.clone(), None);
            let image = store.load_image(&record.reference, &record)?;
            records.push((record, image));
        }
    }
    let mut images = Vec::new();
    for (record, image) in records {
        store.set_ref(&record, options.replace)?;
        images.push(image);
    }
    Ok(images)
}

fn chosen<'a>(
    archive: &ArchiveReader,
    saved: &'a [Saved],
    options: &LoadOptions,
) -> Result<Vec<(Vec<ImageRef>, &'a Saved)>, ImageError> {
    let tags = |saved: &Saved| {
        let tags = saved
            .repo_tags
            .iter()
            .flatten()
            .map(|tag| ImageRef::parse(tag));
        tags.collect::<Result<Vec<_>, _>>()
            .map_err(|error| archive.bad(&error.to_string()))
    };
    if let Some(name) = &options.name {
        if let [only] = saved {
            return Ok(vec![(vec![name.clone()], only)]);
        }
        for saved in saved {
            if tags(saved)?.contains(name) {
                return Ok(vec![(vec![name.clone()], saved)]);
            }
        }
        let (count, name) = (saved.len(), name.familiar());
        return Err(archive.bad(&format!("it has {count} images and none is called {name}")));
    }
    let mut chosen = Vec::new();
    for saved in saved {
        let names = tags(saved)?;
        if !names.is_empty() {
            chosen.push((names, saved));
        }
    }
    if chosen.is_empty() {
        return Err(archive.bad("no image in it has a name; say how to call it"));
    }
    Ok(chosen)
}

/// Stores one image; such archives have no manifest in our sense, so one is written.
fn image(
    store: &Store,
    archive: &ArchiveReader,
    saved: &Saved,
    options: &LoadOptions,
) -> Result<Digest, ImageError> {
    let what = format!(
        "{} of {}",
        saved.config.escape_debug(),
        archive.path().display()
    );
    let names = saved.layers.as_deref().unwrap_or_default();
    let limits = archive.limits();
    if names.len() > limits.layers {
        return Err(archive.bad(&format!(
            "an image in it has more than {} layers",
            limits.layers
        )));
    }
    let bytes = archive.document(saved.config.as_bytes())?;
    let config = ImageConfig::parse(&bytes, &what, names.len(), limits)?;
    check_platform(&config, &options.platform, &what)?;
    let config_digest = store.put_document(&bytes)?;
    let mut layers = Vec::new();
    for (name, diff_id) in names.iter().zip(&config.diff_ids) {
        layers.push(layer(store, archive, name, diff_id)?);
    }
    let descriptor = Descriptor::new(media::OCI_CONFIG, config_digest, bytes.len() as u64);
    store.put_document(&write_manifest(descriptor, layers))
}

fn layer(
    store: &Store,
    archive: &ArchiveReader,
    name: &str,
    diff_id: &Digest,
) -> Result<Descriptor, ImageError> {
    let mut member = archive.get(name.as_bytes())?;
    let mut start = Vec::new();
    let read = (&mut member.content).take(4).read_to_end(&mut start);
    read.map_err(|error| archive.bad(&error.to_string()))?;
    let kind = match Compression::of(&start) {
        // Such a layer is stored under the digest that the configuration promises.
        Compression::None => {
            let wanted = Descriptor::new(media::OCI_TAR, diff_id.clone(), member.size);
            if let Some(mut incoming) = store.incoming(&wanted)? {
                incoming.restart()?;
                incoming.write_from(&mut Cursor::new(start).chain(member.content))?;
                incoming.commit()?;
            }
            return Ok(wanted);
        }
        Compression::Gzip => media::OCI_TAR_GZIP,
        Compression::Zstd => media::OCI_TAR_ZSTD,
    };
    let (digest, size) = store.put(&mut Cursor::new(start).chain(member.content))?;
    Ok(Descriptor::new(kind, digest, size))
}
