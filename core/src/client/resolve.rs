//! Looking up what a stack leaves open: image digests, contents of secrets and configs.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use super::Client;
use crate::backend::{Feature, OnPull, ResolvedImage};
use crate::error::{Error, ErrorKind, Result};
use crate::image::Platform;
use crate::name::{BlobName, ServiceName};
use crate::plan::Desired;
use crate::spec::{Blob, BlobId, BlobKind, BlobSource, SecretBytes, Service, Stack};

/// Largest secret or config.
const MAX_BLOB: u64 = 1 << 20;

impl Client {
    /// Looks up everything that these services of `stack` leave open.
    pub(super) async fn resolve(
        &self,
        stack: Stack,
        reach: &BTreeSet<ServiceName>,
        progress: OnPull<'_>,
    ) -> Result<Desired> {
        let images = self.resolve_images(&stack, reach, progress).await?;
        let mut fingerprints = BTreeMap::new();
        let mut contents = BTreeMap::new();
        for (id, blob) in used_blobs(&stack, reach) {
            match content(&id, blob).map_err(|error| placed(error, &stack, &id))? {
                Content::Bytes(bytes) => {
                    fingerprints.insert(id.clone(), bytes.fingerprint());
                    contents.insert(id, bytes);
                }
                Content::Known(fingerprint) => {
                    fingerprints.insert(id, fingerprint);
                }
                Content::External => {}
            }
        }
        Ok(Desired {
            stack,
            images,
            fingerprints,
            contents,
            left: BTreeSet::new(),
            holds: BTreeMap::new(),
        })
    }

    async fn resolve_images(
        &self,
        stack: &Stack,
        reach: &BTreeSet<ServiceName>,
        progress: OnPull<'_>,
    ) -> Result<BTreeMap<ServiceName, ResolvedImage>> {
        if reach.is_empty() {
            return Ok(BTreeMap::new());
        }
        let facet = self
            .backend
            .images()
            .ok_or_else(|| self.unsupported(Feature::ImagePull))?;
        // One look-up for each image, however many services share it.
        let mut distinct: BTreeMap<String, Vec<(&ServiceName, &Service)>> = BTreeMap::new();
        for (name, service) in stack
            .services
            .iter()
            .filter(|(name, _)| reach.contains(*name))
        {
            let key = format!(
                "{} {:?} {:?}",
                service.image, service.platform, service.pull
            );
            distinct.entry(key).or_default().push((name, service));
        }
        let lookups = distinct.values().map(|users| async move {
            let (name, service) = users[0];
            let on = format!("services.{name}.image");
            let platform = match &service.platform {
                None => None,
                Some(text) => Some(text.parse::<Platform>().map_err(|error| {
                    Error::new(ErrorKind::InvalidSpec, error.to_string())
                        .on(format!("services.{name}.platform"))
                })?),
            };
            let found = facet
                .resolve(&service.image, platform.as_ref(), service.pull, progress)
                .await;
            found.map(|image| (users, image)).map_err(|error| {
                let error = match stack.places.of(&on) {
                    Some(place) => error.at(place.clone()),
                    None => error,
                };
                if error.subject().is_some() {
                    error
                } else {
                    error.on(on)
                }
            })
        });
        let mut images = BTreeMap::new();
        for (users, image) in try_join_all(lookups).await? {
            for (name, service) in users {
                let reference = service.image.clone();
                images.insert(
                    (*name).clone(),
                    ResolvedImage {
                        reference,
                        ..image.clone()
                    },
                );
            }
        }
        Ok(images)
    }
}

fn used_blobs<'s>(stack: &'s Stack, reach: &BTreeSet<ServiceName>) -> Vec<(BlobId, &'s Blob)> {
    let services = stack
        .services
        .iter()
        .filter(|(name, _)| reach.contains(*name));
    let used: BTreeSet<BlobId> = services.flat_map(|(_, service)| service.blobs()).collect();
    let find = |id: &BlobId| {
        let map: &BTreeMap<BlobName, Blob> = match id.kind {
            BlobKind::Secret => &stack.secrets,
            BlobKind::Config => &stack.configs,
        };
        map.get(&id.name)
    };
    used.into_iter()
        .filter_map(|id| find(&id).map(|blob| (id, blob)))
        .collect()
}

/// With the place where the file says where the content is.
fn placed(error: Error, stack: &Stack, id: &BlobId) -> Error {
    let section = match id.kind {
        BlobKind::Secret => "secrets",
        BlobKind::Config => "configs",
    };
    let field = |key: &str| stack.places.exactly(&format!("{section}.{}{key}", id.name));
    let found = [".file", ".environment", ""].into_iter().find_map(field);
    match found {
        Some(place) => error.at(place.clone()),
        None => error,
    }
}

pub(super) enum Content {
    Bytes(SecretBytes),
    Known(String),
    External,
}

pub(super) fn content(id: &BlobId, blob: &Blob) -> Result<Content> {
    let wrong = |text: String| Error::new(ErrorKind::InvalidSpec, text).on(id);
    match &blob.source {
        BlobSource::Inline(bytes) => Ok(Content::Bytes(bytes.clone())),
        BlobSource::Stored(fingerprint) => Ok(Content::Known(fingerprint.clone())),
        BlobSource::External => Ok(Content::External),
        BlobSource::Environment(variable) => match std::env::var(variable) {
            Ok(value) => Ok(Content::Bytes(SecretBytes::new(value))),
            Err(_) => Err(wrong(format!("the variable `{variable}` is not set"))),
        },
        BlobSource::File(path) => {
            let meta = std::fs::metadata(path)
                .map_err(|error| wrong(format!("read `{}`", path.display())).because(error))?;
            if !meta.is_file() {
                return Err(wrong(format!("`{}` is not a regular file", path.display())));
            }
            if meta.len() > MAX_BLOB {
                return Err(wrong(format!("`{}` is larger than 1 MiB", path.display())));
            }
            let bytes = std::fs::read(path)
                .map_err(|error| wrong(format!("read `{}`", path.display())).because(error))?;
            Ok(Content::Bytes(SecretBytes::new(bytes)))
        }
    }
}
