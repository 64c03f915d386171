//! Pushing: blobs the registry does not have, then the manifest that names them.

use futures_util::stream;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use reqwest::{Body, Method, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::task::spawn_blocking;
use unmoor_core::image::{Digest, ImageRef};

use super::client::{Repository, Right, manifest_kind};
use super::{Access, Observer, Progress};
use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::store::{Store, StoredImage};

const PIECE: usize = 256 << 10;

/// Pushes a stored image under this name; the registry keeps its digest, which is answered.
pub async fn push(
    store: &Store,
    image: &StoredImage,
    name: &ImageRef,
    access: &Access,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Digest, ImageError> {
    let held = store.clone();
    let _hold = blocking(name, move || held.hold()).await?;
    let repository = Repository::open(name, access, Right::Push).await?;
    progress(Progress::Resolved {
        manifest: image.manifest_digest.clone(),
        layers: image.layer_descriptors.len(),
        bytes: image.packed_size(),
    });
    let (store_too, digest) = (store.clone(), image.manifest_digest.clone());
    let what = name.familiar();
    let manifest = blocking(name, move || store_too.document(&digest, &what)).await?;
    let config = config_of(&manifest, name)?;
    for blob in image.layer_descriptors.iter().chain([&config]) {
        upload(store, &repository, blob, &progress).await?;
    }
    put_manifest(&repository, name, image, manifest).await
}

async fn blocking<T: Send + 'static>(
    what: &ImageRef,
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    let done = spawn_blocking(work).await;
    done.map_err(|_| ImageError::Cancelled(what.familiar()))?
}

fn config_of(manifest: &[u8], name: &ImageRef) -> Result<Descriptor, ImageError> {
    use crate::manifest::Document;
    let what = format!("manifest of {}", name.familiar());
    match Document::parse(manifest, &what, None, &crate::Limits::default())? {
        Document::Manifest(manifest) => Ok(manifest.config),
        Document::Index(_) => Err(ImageError::document(what, "it is an index, not a manifest")),
    }
}

async fn upload(
    store: &Store,
    repository: &Repository,
    blob: &Descriptor,
    progress: Observer<'_>,
) -> Result<(), ImageError> {
    let layer = blob.digest.clone();
    let action = format!("push blob {layer}");
    let none = HeaderMap::new();
    let url = repository.url(&format!("blobs/{layer}"));
    let known = repository
        .repeated(Method::HEAD, url, &none, &action)
        .await?;
    if known.status().is_success() {
        progress(Progress::Present { layer });
        return Ok(());
    }
    if known.status() != StatusCode::NOT_FOUND {
        repository.expect_success(known, &action)?;
    }
    let url = repository.url("blobs/uploads/");
    let begun = repository
        .repeated(Method::POST, url, &none, &action)
        .await?;
    let begun = repository.expect_success(begun, &action)?;
    let mut url = repository.upload_url(&begun)?;
    url.query_pairs_mut().append_pair("digest", layer.as_str());
    let (opened, digest) = (store.clone(), layer.clone());
    let file = spawn_blocking(move || opened.open_blob(&digest, "an image to push"))
        .await
        .map_err(|_| ImageError::Cancelled(action.clone()))??;
    let mut request = repository
        .http()
        .put(url.clone())
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_LENGTH, blob.size)
        .body(body(tokio::fs::File::from_std(file), blob.size));
    if let Some(authorization) = repository.authorization_for(&url).await {
        request = request.header(AUTHORIZATION, authorization);
    }
    let answer = request
        .send()
        .await
        .map_err(|error| repository.unreachable(&action, error))?;
    repository.expect_success(answer, &action)?;
    progress(Progress::Transferred { layer });
    Ok(())
}

/// The file as a stream of pieces; it ends early if the file does.
fn body(file: tokio::fs::File, size: u64) -> Body {
    let pieces = stream::try_unfold(file.take(size), |mut file| async move {
        let mut piece = vec![0; PIECE];
        let count = file.read(&mut piece).await?;
        piece.truncate(count);
        Ok::<_, std::io::Error>((count > 0).then_some((piece, file)))
    });
    Body::wrap_stream(pieces)
}

async fn put_manifest(
    repository: &Repository,
    name: &ImageRef,
    image: &StoredImage,
    manifest: Vec<u8>,
) -> Result<Digest, ImageError> {
    let digest = image.manifest_digest.clone();
    let reference = name.tag().unwrap_or(digest.as_str());
    let action = format!("push manifest {reference}");
    let url = repository.url(&format!("manifests/{reference}"));
    let mut request = repository
        .http()
        .put(url.clone())
        .header(CONTENT_TYPE, manifest_kind(&manifest))
        .body(manifest);
    if let Some(authorization) = repository.authorization_for(&url).await {
        request = request.header(AUTHORIZATION, authorization);
    }
    let answer = request
        .send()
        .await
        .map_err(|error| repository.unreachable(&action, error))?;
    repository.expect_success(answer, &action)?;
    Ok(digest)
}
