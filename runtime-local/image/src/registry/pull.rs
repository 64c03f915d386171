//! Pulling: name to manifest, manifest to layers, layers into the store while they stream.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};
use unmoor_core::image::{Digest, ImageRef};

use super::client::{Repository, Right, back_off};
use super::{Observer, Progress, PullOptions, RegistryError, Unpack};
use crate::error::ImageError;
use crate::extract::Expected;
use crate::manifest::config::ImageConfig;
use crate::manifest::{Descriptor, Document, Manifest, select};
use crate::store::{Incoming, Replace, Store, StoredImage, store_record};

/// How often an index may lead to another index.
const MOST_NESTED: usize = 4;
/// How often one download may be interrupted, even if each time a little arrives.
const MOST_CONNECTIONS: usize = 200;
/// Pieces on the way from the network to the disk, for each layer.
const QUEUE: usize = 32;

/// Pulls an image into the store and gives it its name.
///
/// Only blobs the store does not have travel; interrupted downloads are resumed, also by a
/// later call. Everything is verified before the name moves. Dropping the future leaves what
/// has arrived for later.
pub async fn pull(
    store: &Store,
    reference: &ImageRef,
    options: &PullOptions,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<StoredImage, ImageError> {
    let held = store.clone();
    let _hold = blocking(reference, move || held.hold()).await?;
    let repository = Repository::open(reference, &options.access, Right::Pull).await?;
    let found = resolve(store, &repository, reference, options).await?;
    progress(Progress::Resolved {
        manifest: found.digest.clone(),
        layers: found.manifest.layers.len(),
        bytes: found.manifest.layers.iter().map(|layer| layer.size).sum(),
    });
    let config = config(store, &repository, reference, &found.manifest).await?;
    check_platform(&config, options, reference)?;
    layers(
        store,
        &repository,
        (&found.manifest, &config),
        options,
        &progress,
    )
    .await?;
    let (store, reference) = (store.clone(), reference.clone());
    let record = store_record(&reference, found.digest, found.index);
    blocking(&reference, move || {
        let image = store.load_image(&record.reference, &record)?;
        store.set_ref(&record, Replace::Yes)?;
        Ok(image)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    what: &ImageRef,
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    let done = spawn_blocking(work).await;
    done.map_err(|_| ImageError::Cancelled(what.familiar()))?
}

struct Found {
    digest: Digest,
    index: Option<Digest>,
    manifest: Manifest,
}

/// Follows the name to a manifest; each document is asked for once and stored as it came.
async fn resolve(
    store: &Store,
    repository: &Repository,
    reference: &ImageRef,
    options: &PullOptions,
) -> Result<Found, ImageError> {
    let limits = store.limits();
    let first = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.as_str(),
        (None, tag) => tag.unwrap_or("latest"),
    };
    let mut received = repository
        .manifest(first, reference.digest(), limits)
        .await?;
    let mut index = None;
    for _ in 0..MOST_NESTED {
        let what = format!("manifest {} of {}", received.digest, reference.familiar());
        let claimed = received.claimed.as_deref();
        let document = Document::parse(&received.bytes, &what, claimed, limits)?;
        let (store, digest, bytes) = (store.clone(), received.digest.clone(), received.bytes);
        blocking(reference, move || store.put_document_as(&bytes, &digest)).await?;
        match document {
            Document::Manifest(manifest) => {
                return Ok(Found {
                    digest: received.digest,
                    index,
                    manifest,
                });
            }
            Document::Index(list) => {
                index.get_or_insert(received.digest);
                let next = select(&list, &options.platform, &reference.familiar())?;
                received = described(repository, next, limits).await?;
            }
        }
    }
    let what = format!("index of {}", reference.familiar());
    Err(ImageError::document(
        what,
        format!("it is nested more than {MOST_NESTED} deep"),
    ))
}

/// Gets a document that a descriptor describes, and proves that it does.
async fn described(
    repository: &Repository,
    descriptor: &Descriptor,
    limits: &crate::Limits,
) -> Result<super::client::Received, ImageError> {
    let digest = &descriptor.digest;
    let received = repository
        .manifest(digest.as_str(), Some(digest), limits)
        .await?;
    if received.bytes.len() as u64 != descriptor.size {
        return Err(ImageError::SizeMismatch {
            what: format!("manifest {digest}"),
            wanted: descriptor.size,
            found: received.bytes.len() as u64,
        });
    }
    Ok(received)
}

async fn config(
    store: &Store,
    repository: &Repository,
    reference: &ImageRef,
    manifest: &Manifest,
) -> Result<ImageConfig, ImageError> {
    let transfer = Transfer {
        store,
        repository,
        blob: &manifest.config,
        progress: &|_: Progress| {},
    };
    transfer.run().await?;
    let (store, digest) = (store.clone(), manifest.config.digest.clone());
    let (what, count) = (
        format!("configuration of {}", reference.familiar()),
        manifest.layers.len(),
    );
    blocking(reference, move || {
        let bytes = store.document(&digest, &what)?;
        ImageConfig::parse(&bytes, &what, count, store.limits())
    })
    .await
}

fn check_platform(
    config: &ImageConfig,
    options: &PullOptions,
    reference: &ImageRef,
) -> Result<(), ImageError> {
    let (offered, wanted) = (&config.platform, &options.platform);
    if offered.os() == wanted.os() && offered.arch() == wanted.arch() {
        return Ok(());
    }
    Err(ImageError::NoPlatform {
        what: reference.familiar(),
        wanted: Box::new(wanted.clone()),
        offered: vec![offered.clone()],
    })
}

/// Brings all layers in, several at once, and unpacks each as soon as it is there.
async fn layers(
    store: &Store,
    repository: &Repository,
    (manifest, config): (&Manifest, &ImageConfig),
    options: &PullOptions,
    progress: Observer<'_>,
) -> Result<(), ImageError> {
    let unpacking = Arc::new(Semaphore::new(2));
    let mut seen = HashSet::new();
    let mut work = Vec::new();
    for (blob, diff_id) in manifest.layers.iter().zip(&config.diff_ids) {
        if !seen.insert((&blob.digest, diff_id)) {
            continue;
        }
        let unpacking = Arc::clone(&unpacking);
        work.push(async move {
            Transfer {
                store,
                repository,
                blob,
                progress,
            }
            .run()
            .await?;
            if options.unpack == Unpack::Later {
                return Ok(());
            }
            let expected = Expected {
                digest: blob.digest.clone(),
                size: blob.size,
                diff_id: diff_id.clone(),
            };
            let _turn = unpacking.acquire().await;
            unpack(store, expected).await?;
            progress(Progress::Unpacked {
                layer: blob.digest.clone(),
            });
            Ok::<(), ImageError>(())
        });
    }
    let mut running = stream::iter(work).buffer_unordered(options.parallel.clamp(1, 32));
    while let Some(result) = running.next().await {
        result?;
    }
    Ok(())
}

async fn unpack(store: &Store, expected: Expected) -> Result<(), ImageError> {
    let store = store.clone();
    let what = format!("layer {}", expected.digest);
    let done = spawn_blocking(move || store.unpack_layer(&expected)).await;
    done.map_err(|_| ImageError::Cancelled(what))?
}

/// One blob on its way into the store.
struct Transfer<'a> {
    store: &'a Store,
    repository: &'a Repository,
    blob: &'a Descriptor,
    progress: Observer<'a>,
}

/// What the writing thread is told.
enum Piece {
    Bytes(Vec<u8>),
    Restart,
}

impl Transfer<'_> {
    async fn run(&self) -> Result<(), ImageError> {
        let layer = self.blob.digest.clone();
        let Some(incoming) = self.incoming().await? else {
            (self.progress)(Progress::Present { layer });
            return Ok(());
        };
        let resumed = incoming.received() > 0;
        match self.receive(incoming).await {
            // What an earlier attempt left was wrong; the store has forgotten it.
            Err(ImageError::DigestMismatch { .. }) if resumed => {
                if let Some(incoming) = self.incoming().await? {
                    self.receive(incoming).await?;
                }
            }
            result => result?,
        }
        (self.progress)(Progress::Transferred { layer });
        Ok(())
    }

    async fn incoming(&self) -> Result<Option<Incoming>, ImageError> {
        let (store, blob) = (self.store.clone(), self.blob.clone());
        let done = spawn_blocking(move || store.incoming(&blob)).await;
        done.map_err(|_| self.cancelled())?
    }

    fn cancelled(&self) -> ImageError {
        ImageError::Cancelled(format!("blob {}", self.blob.digest))
    }

    async fn receive(&self, incoming: Incoming) -> Result<(), ImageError> {
        let mut done = incoming.received();
        let (sender, writer) = write(incoming);
        let sent = self.send(&sender, &mut done).await;
        drop(sender);
        let written = writer.await.map_err(|_| self.cancelled())?;
        // The writer knows why it stopped; the network only that it could not go on.
        let incoming = written?;
        sent?;
        let finish = spawn_blocking(move || incoming.commit()).await;
        finish.map_err(|_| self.cancelled())?
    }

    /// Sends the blob to the writer, asking again from where the connection broke.
    async fn send(&self, to: &mpsc::Sender<Piece>, done: &mut u64) -> Result<(), ImageError> {
        let mut attempt = 0;
        for _ in 0..MOST_CONNECTIONS {
            if *done >= self.blob.size {
                break;
            }
            let before = *done;
            match self.stream(to, done).await {
                Ok(()) => {
                    if *done < self.blob.size && *done == before {
                        return Ok(());
                    }
                }
                Err(ImageError::Registry(RegistryError::Unreachable { .. })) if attempt < 5 => {}
                Err(error) => return Err(error),
            }
            if to.is_closed() {
                return Ok(());
            }
            if *done < self.blob.size {
                // Progress earns new patience.
                attempt = if *done > before { 0 } else { attempt + 1 };
                tokio::time::sleep(back_off(attempt)).await;
            }
        }
        Ok(())
    }

    async fn stream(&self, to: &mpsc::Sender<Piece>, done: &mut u64) -> Result<(), ImageError> {
        let action = format!("get blob {}", self.blob.digest);
        let mut headers = HeaderMap::new();
        if *done > 0 {
            let range = HeaderValue::from_str(&format!("bytes={done}-"));
            headers.insert(RANGE, range.expect("digits are a header"));
        }
        let url = self.repository.url(&format!("blobs/{}", self.blob.digest));
        let answer = self.repository.get(url, &headers, &action).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            let what = format!("its registry, {}", self.repository.registry());
            return Err(ImageError::BlobMissing {
                digest: self.blob.digest.clone(),
                what,
            });
        }
        let mut answer = self.repository.expect_success(answer, &action)?;
        if *done > 0 && !continues(&answer, *done) {
            if to.send(Piece::Restart).await.is_err() {
                return Ok(());
            }
            *done = 0;
        }
        loop {
            let chunk = answer.chunk().await;
            let chunk = chunk.map_err(|error| self.repository.unreachable(&action, error))?;
            let Some(chunk) = chunk else { return Ok(()) };
            *done += chunk.len() as u64;
            let (layer, size) = (self.blob.digest.clone(), self.blob.size);
            (self.progress)(Progress::Transferring {
                layer,
                done: (*done).min(size),
                size,
            });
            // A closed channel means the writer found something wrong, perhaps one byte too many.
            if to.send(Piece::Bytes(chunk.into())).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Whether the answer goes on where we are, or begins anew.
fn continues(answer: &Response, from: u64) -> bool {
    let range = answer
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|range| range.to_str().ok());
    answer.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

/// Writes and hashes in a thread of its own, so that the network does not wait for the disk.
fn write(
    mut incoming: Incoming,
) -> (
    mpsc::Sender<Piece>,
    JoinHandle<Result<Incoming, ImageError>>,
) {
    let (sender, mut pieces) = mpsc::channel(QUEUE);
    let writer = spawn_blocking(move || {
        while let Some(piece) = pieces.blocking_recv() {
            match piece {
                Piece::Bytes(bytes) => incoming.write(&bytes)?,
                Piece::Restart => incoming.restart()?,
            }
        }
        Ok(incoming)
    });
    (sender, writer)
}
