//! Loads an OCI image layout.

use unmoor_core::image::{Digest, ImageRef};

use super::reader::ArchiveReader;
use super::{LoadOptions, check_platform};
use crate::error::ImageError;
use crate::hash::digest_like;
use crate::manifest::{Descriptor, Document, Manifest, select};
use crate::store::{Store, StoredImage, store_record};

/// How often an index may lead to another index.
const MOST_NESTED: usize = 4;

/// Where containerd writes the whole name; the standard key often has only the tag.
const NAME_KEYS: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];

pub(super) fn load(
    store: &Store,
    archive: &mut ArchiveReader,
    options: &LoadOptions,
) -> Result<Vec<StoredImage>, ImageError> {
    let what = format!("index.json of {}", archive.path().display());
    let bytes = archive.document(b"index.json")?;
    let Document::Index(index) = Document::parse(&bytes, &what, None, archive.limits())? else {
        return Err(archive.bad("its index.json is not an index"));
    };
    let mut records = Vec::new();
    for (name, descriptor) in chosen(archive, &index.manifests, options)? {
        let (digest, manifest) = manifest(store, archive, descriptor, options)?;
        blobs(store, archive, &manifest)?;
        let parent = (digest != descriptor.digest).then(|| descriptor.digest.clone());
        let record = store_record(&name, digest, parent);
        let image = store.load_image(&record.reference, &record)?;
        check_platform(&image.config, &options.platform, &name.familiar())?;
        records.push((record, image));
    }
    let mut images = Vec::new();
    for (record, image) in records {
        store.set_ref(&record, options.replace)?;
        images.push(image);
    }
    Ok(images)
}

/// What to load, under which name.
fn chosen<'a>(
    archive: &ArchiveReader,
    manifests: &'a [Descriptor],
    options: &LoadOptions,
) -> Result<Vec<(ImageRef, &'a Descriptor)>, ImageError> {
    if let Some(name) = &options.name {
        return match manifests {
            [only] => Ok(vec![(name.clone(), only)]),
            many => {
                let mut named = many.iter().filter(|d| names(d).any(|n| matches(name, n)));
                match (named.next(), named.next()) {
                    (Some(one), None) => Ok(vec![(name.clone(), one)]),
                    _ => Err(archive.bad(&format!(
                        "it has {} images and not exactly one is called {}",
                        many.len(),
                        name.familiar()
                    ))),
                }
            }
        };
    }
    let mut chosen = Vec::new();
    for descriptor in manifests {
        let whole = names(descriptor).find(|name| name.contains(['/', ':']));
        if let Some(name) = whole {
            let name = ImageRef::parse(name).map_err(|error| archive.bad(&error.to_string()))?;
            chosen.push((name, descriptor));
        }
    }
    if chosen.is_empty() {
        return Err(archive.bad("no image in it has a full name; say how to call it"));
    }
    Ok(chosen)
}

fn names(descriptor: &Descriptor) -> impl Iterator<Item = &str> {
    NAME_KEYS
        .into_iter()
        .filter_map(|key| descriptor.annotation(key))
}

/// A layout may call an image by its full name or by its tag alone.
fn matches(wanted: &ImageRef, name: &str) -> bool {
    wanted.tag() == Some(name) || ImageRef::parse(name).is_ok_and(|name| name == *wanted)
}

/// Follows a descriptor to the manifest for the wanted platform; every document is stored.
fn manifest(
    store: &Store,
    archive: &ArchiveReader,
    descriptor: &Descriptor,
    options: &LoadOptions,
) -> Result<(Digest, Manifest), ImageError> {
    let mut descriptor = descriptor.clone();
    for _ in 0..MOST_NESTED {
        let what = format!("{} in {}", descriptor.digest, archive.path().display());
        let bytes = document(archive, &descriptor, &what)?;
        let claimed = Some(descriptor.media_type.as_str());
        let parsed = Document::parse(&bytes, &what, claimed, archive.limits())?;
        store.put_document_as(&bytes, &descriptor.digest)?;
        match parsed {
            Document::Manifest(manifest) => return Ok((descriptor.digest, manifest)),
            Document::Index(index) => {
                descriptor = select(&index, &options.platform, &what)?.clone();
            }
        }
    }
    Err(archive.bad(&format!("indexes are nested more than {MOST_NESTED} deep")))
}

fn document(
    archive: &ArchiveReader,
    descriptor: &Descriptor,
    what: &str,
) -> Result<Vec<u8>, ImageError> {
    let bytes = archive.document(&blob_name(&descriptor.digest))?;
    let found = digest_like(&descriptor.digest, &bytes);
    if found != descriptor.digest {
        let (what, wanted) = (what.to_owned(), descriptor.digest.clone());
        return Err(ImageError::DigestMismatch {
            what,
            wanted,
            found,
        });
    }
    if bytes.len() as u64 != descriptor.size {
        let (what, wanted) = (what.to_owned(), descriptor.size);
        return Err(ImageError::SizeMismatch {
            what,
            wanted,
            found: bytes.len() as u64,
        });
    }
    Ok(bytes)
}

fn blobs(store: &Store, archive: &ArchiveReader, manifest: &Manifest) -> Result<(), ImageError> {
    let what = format!("{} in {}", manifest.config.digest, archive.path().display());
    let config = document(archive, &manifest.config, &what)?;
    store.put_document_as(&config, &manifest.config.digest)?;
    for layer in &manifest.layers {
        let Some(mut incoming) = store.incoming(layer)? else {
            continue;
        };
        incoming.restart()?;
        let mut member = archive.get(&blob_name(&layer.digest))?;
        incoming.write_from(&mut member.content)?;
        incoming.commit()?;
    }
    Ok(())
}

fn blob_name(digest: &Digest) -> Vec<u8> {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex()).into_bytes()
}
