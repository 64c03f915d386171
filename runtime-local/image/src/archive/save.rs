//! Writes an image as an OCI layout in a tar file that `docker load` also understands.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde_json::json;
use unmoor_core::image::Digest;

use crate::build::tar_write::{Header, TarWriter};
use crate::error::{ImageError, IoContext};
use crate::extract::op::Meta;
use crate::extract::tar::Kind;
use crate::manifest::{Descriptor, media, write_index};
use crate::store::{Store, StoredImage};

/// Writes the image to `target`; equal images give equal bytes.
pub fn save(store: &Store, image: &StoredImage, target: impl Write) -> Result<(), ImageError> {
    let _hold = store.hold()?;
    let name = image.reference.familiar();
    let manifest = store.document(&image.manifest_digest, &name)?;
    let config = store.document(&image.config_digest, &name)?;
    let mut archive = TarWriter::new(io::BufWriter::with_capacity(256 << 10, target));
    let mut write = |path: &str, size: u64, content: &mut dyn Read| {
        let meta = Meta {
            mode: 0o644,
            ..Meta::default()
        };
        let path = path.as_bytes();
        let header = Header {
            name: path,
            kind: Kind::File,
            link: b"",
            size,
            meta: &meta,
        };
        archive
            .entry(&header, content)
            .at("write", "an image archive")
    };
    for (path, content) in [
        (
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        ("index.json".to_owned(), index(image, &manifest)),
        ("manifest.json".to_owned(), for_docker(image)),
        (blob_path(&image.manifest_digest), manifest),
        (blob_path(&image.config_digest), config),
    ] {
        write(&path, content.len() as u64, &mut content.as_slice())?;
    }
    let mut written: Vec<&Digest> = Vec::new();
    for layer in &image.layer_descriptors {
        if written.contains(&&layer.digest) {
            continue;
        }
        let mut blob = store.open_blob(&layer.digest, &name)?;
        write(&blob_path(&layer.digest), layer.size, &mut blob)?;
        written.push(&layer.digest);
    }
    let mut target = archive.finish().at("write", "an image archive")?;
    target.flush().at("write", "an image archive")
}

fn index(image: &StoredImage, manifest: &[u8]) -> Vec<u8> {
    let kind = match serde_json::from_slice::<serde_json::Value>(manifest) {
        Ok(value) if value["mediaType"] == media::DOCKER_MANIFEST => media::DOCKER_MANIFEST,
        _ => media::OCI_MANIFEST,
    };
    let size = manifest.len() as u64;
    let mut descriptor = Descriptor::new(kind, image.manifest_digest.clone(), size);
    let tag = image.reference.tag().unwrap_or("latest");
    descriptor.annotations = Some(BTreeMap::from([
        (
            "io.containerd.image.name".to_owned(),
            image.reference.to_string(),
        ),
        (
            "org.opencontainers.image.ref.name".to_owned(),
            tag.to_owned(),
        ),
    ]));
    write_index(vec![descriptor])
}

fn for_docker(image: &StoredImage) -> Vec<u8> {
    let layers: Vec<_> = image
        .layer_descriptors
        .iter()
        .map(|l| blob_path(&l.digest))
        .collect();
    // Docker wants the tag spelt out, also if it is the usual one.
    let name = image.reference.without_digest();
    let tag = |tag: &str| format!("{}/{}:{tag}", name.registry(), name.repository());
    let tags: Vec<_> = image.reference.tag().map(tag).into_iter().collect();
    json!([{"Config": blob_path(&image.config_digest), "RepoTags": tags, "Layers": layers}])
        .to_string()
        .into_bytes()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}
