//! A stack with everything looked up: digests, image defaults, contents of secrets and configs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{Hold, Scope, hashed};
use crate::backend::{DesiredService, ResolvedImage};
use crate::error::Error;
use crate::name::{ServiceName, VolumeName};
use crate::spec::{
    BlobId, BlobKind, HealthWish, SecretBytes, Service, Stack, never_healthy, waits_for_health,
};

/// A stack with nothing left to look up.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The stack.
    pub stack: Stack,
    /// The image of each service.
    pub images: BTreeMap<ServiceName, ResolvedImage>,
    /// Fingerprints of the secrets and configs.
    pub fingerprints: BTreeMap<BlobId, String>,
    /// Contents of those secrets and configs that are at hand.
    pub contents: BTreeMap<BlobId, SecretBytes>,
    /// Services that are wanted as they were applied last, and whose replicas are left as somebody
    /// made them.
    pub left: BTreeSet<ServiceName>,
    /// Services whose rollouts are held, or were approved.
    pub holds: BTreeMap<ServiceName, Hold>,
}

/// SHA-256 over length-prefixed parts, as 26 base-32 characters.
pub(super) fn short_hash(parts: &[&[u8]]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut text = String::with_capacity(26);
    let (mut acc, mut bits) = (0u32, 0u32);
    for byte in digest.iter().take(17) {
        acc = (acc << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 && text.len() < 26 {
            bits -= 5;
            text.push(char::from(ALPHABET[((acc >> bits) & 31) as usize]));
        }
    }
    text
}

/// Hash over what a replica is made from.
///
/// The names of volumes of others count where there are any: another name is other data.
pub(super) fn hash_over(
    service: &Service,
    digest: &str,
    blobs: &BTreeMap<BlobId, String>,
    others: &BTreeMap<&VolumeName, &str>,
) -> String {
    let blobs = serde_json::to_string(blobs).expect("fingerprints are plain data");
    let value = hashed::text(service);
    let mut parts = vec![
        b"1".as_slice(),
        value.as_bytes(),
        digest.as_bytes(),
        blobs.as_bytes(),
    ];
    for (name, other) in others {
        parts.extend([name.as_str().as_bytes(), other.as_bytes()]);
    }
    short_hash(&parts)
}

/// The volumes of others that a service mounts, with their names there.
pub(super) fn others_of<'s>(
    service: &'s Service,
    stack: &'s Stack,
) -> BTreeMap<&'s VolumeName, &'s str> {
    let others = service.volumes().filter_map(|name| {
        let other = stack.volumes.get(name)?.external.as_ref()?;
        Some((name, other.as_str()))
    });
    others.collect()
}

impl Desired {
    /// A service as it is handed to a backend, or `None` if its image was not resolved.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<Arc<DesiredService>> {
        let spec = self.stack.services.get(name)?;
        let image = self.images.get(name)?;
        let mut blobs = BTreeMap::new();
        for (kind, grants) in [
            (BlobKind::Secret, &spec.secrets),
            (BlobKind::Config, &spec.configs),
        ] {
            for grant in grants {
                let id = BlobId {
                    kind,
                    name: grant.name.clone(),
                };
                let hash = self.fingerprints.get(&id).cloned().unwrap_or_default();
                blobs.insert(id, hash);
            }
        }
        let others = others_of(spec, &self.stack);
        Some(Arc::new(DesiredService {
            name: name.clone(),
            spec_hash: hash_over(spec, &image.digest.to_string(), &blobs, &others),
            links: spec.links.clone(),
            spec: spec.clone(),
            image: image.clone(),
            blobs,
        }))
    }

    /// A service that waits for the health of another whose image checks none either.
    pub(super) fn never_healthy(&self, only: &Scope) -> Option<Error> {
        let reach = (*only != Scope::All).then(|| only.reach(&self.stack));
        let is_reached =
            |name: &ServiceName| reach.as_ref().is_none_or(|reach| reach.contains(name));
        let waits = self.stack.services.iter().flat_map(|(name, service)| {
            let waits = service.depends_on.iter();
            let waits = waits.filter(|(_, dependency)| waits_for_health(dependency));
            waits.map(move |(target, _)| (name, target))
        });
        let waits = waits.filter(|(name, target)| is_reached(name) && is_reached(target));
        let mut hopeless = waits.filter(|(_, target)| {
            let says_nothing = |service: &Service| service.health == HealthWish::FromImage;
            let image = self.images.get(*target);
            self.stack.services.get(*target).is_some_and(says_nothing)
                && image.is_some_and(|image| image.defaults.health.is_none())
        });
        let (name, target) = hopeless.next()?;
        let error = never_healthy(name, target);
        let field = format!("services.{name}.depends_on.{target}");
        Some(match self.stack.places.of(&field) {
            Some(place) => error.at(place.clone()),
            None => error,
        })
    }

    /// Every service whose image was resolved, as it is handed to a backend.
    pub(super) fn services(&self) -> Services {
        let all = self.stack.services.keys();
        let known = all.filter_map(|name| Some((name.clone(), self.service(name)?)));
        known.collect()
    }
}

/// Services as they are handed to a backend.
pub(super) type Services = BTreeMap<ServiceName, Arc<DesiredService>>;

/// Fingerprint of all that is wanted.
pub(super) fn fingerprint(services: &Services) -> String {
    let parts: Vec<String> = services
        .iter()
        .map(|(name, service)| {
            let links = serde_json::to_string(&service.links).expect("links are plain data");
            let replicas = service.spec.replicas;
            format!("{name} {} {replicas} {links}", service.spec_hash)
        })
        .collect();
    let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
    short_hash(&parts)
}
