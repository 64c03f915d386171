//! Pulls from registries that lie, stall and break off.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use unmoor_core::image::{Digest, Platform};

use super::wire::{Reply, Request, Server};
use super::{Access, Credentials, Progress, PullOptions, Secret, Unpack, pull};
use crate::manifest::{Descriptor, PlatformFields, media, write_index, write_manifest};
use crate::testing::{Bench, Tape, chain, name};
use crate::{ImageError, Limits};

pub(super) const SECRET: &str = "hunter2";

/// Documents and blobs of one image, as a registry serves them.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) manifest: Vec<u8>,
    pub(super) config: Digest,
    pub(super) layer: Digest,
    pub(super) blobs: HashMap<String, Vec<u8>>,
}

pub(super) fn served() -> Served {
    let layer = Tape::new().file("file", &[3; 200_000]).end();
    let layer_digest = Digest::sha256_of(&layer);
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Cmd":["/file"]}},"rootfs":{{"type":"layers","diff_ids":["{layer_digest}"]}}}}"#,
        Platform::linux_here().arch()
    );
    let config_digest = Digest::sha256_of(config.as_bytes());
    let manifest = write_manifest(
        Descriptor::new(
            media::OCI_CONFIG,
            config_digest.clone(),
            config.len() as u64,
        ),
        vec![Descriptor::new(
            media::OCI_TAR,
            layer_digest.clone(),
            layer.len() as u64,
        )],
    );
    let blobs = HashMap::from([
        (layer_digest.to_string(), layer),
        (config_digest.to_string(), config.into_bytes()),
    ]);
    Served {
        manifest,
        config: config_digest,
        layer: layer_digest,
        blobs,
    }
}

impl Served {
    fn digest(&self) -> Digest {
        Digest::sha256_of(&self.manifest)
    }

    /// What an honest registry answers.
    pub(super) fn answer(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default();
        if request.path.contains("/manifests/") {
            return Reply::ok(self.manifest.clone())
                .with("Content-Type", media::OCI_MANIFEST)
                .with("Docker-Content-Digest", self.digest().as_str());
        }
        let Some(blob) = self.blobs.get(last) else {
            return Reply::new(404);
        };
        let from = request.header("range").and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        });
        match from {
            Some(from) => Reply {
                status: 206,
                ..Reply::ok(&blob[from..])
            }
            .with(
                "Content-Range",
                &format!("bytes {from}-{}/{}", blob.len() - 1, blob.len()),
            ),
            None => Reply::ok(blob.clone()),
        }
    }
}

pub(super) fn options() -> PullOptions {
    let access = Access {
        patience: Duration::from_secs(5),
        retries: 2,
        ..Access::default()
    };
    PullOptions {
        access,
        ..PullOptions::default()
    }
}

pub(super) fn with_password() -> PullOptions {
    let mut options = options();
    options.access.credentials = Credentials::Password {
        user: "me".to_owned(),
        password: Secret::new(SECRET),
    };
    options
}

pub(super) async fn try_pull(
    bench: &Bench,
    server: &Server,
    options: &PullOptions,
) -> Result<Digest, ImageError> {
    let reference = name(&format!("{}/lab/app:1", server.address));
    let image = pull(&bench.store, &reference, options, |_| {}).await?;
    Ok(image.manifest_digest)
}

/// The pull is refused, nothing is named, and the error keeps secrets.
pub(super) async fn refused(
    what: &str,
    handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> String {
    let bench = Bench::new();
    let server = Server::start("127.0.0.1", handler);
    let result = try_pull(&bench, &server, &with_password()).await;
    let error = result
        .map(|digest| panic!("{what}: pulled {digest}"))
        .unwrap_err();
    let named = bench.store.images().expect("a list");
    assert!(
        named.images.is_empty() && named.unreadable.is_empty(),
        "{what}"
    );
    let text = format!("{} {error:?}", chain(&error));
    assert!(!text.contains(SECRET), "{what}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_pulled_once() {
    let (bench, served) = (Bench::new(), served());
    let digest = served.digest();
    let server = Server::start("127.0.0.1", move |request| served.answer(request));
    let events = Mutex::new(Vec::new());
    let reference = name(&format!("{}/lab/app:1", server.address));
    let note = |event| events.lock().expect("a list").push(event);
    let image = pull(&bench.store, &reference, &options(), note)
        .await
        .expect("pulled");
    assert_eq!(
        (image.manifest_digest.clone(), image.config.cmd.len()),
        (digest, 1)
    );
    assert!(bench.store.is_unpacked(&image));
    let events = events.into_inner().expect("a list");
    assert!(
        matches!(events.first(), Some(Progress::Resolved { layers: 1, .. })),
        "{events:?}"
    );
    assert!(
        matches!(events.last(), Some(Progress::Unpacked { .. })),
        "{events:?}"
    );
    pull(&bench.store, &reference, &options(), |_| {})
        .await
        .expect("pulled again");
    assert_eq!(server.count("/blobs/"), 2, "each blob travels once");
    let pinned = name(&format!(
        "{}/lab/app@{}",
        server.address, image.manifest_digest
    ));
    let mut later = options();
    later.unpack = Unpack::Later;
    let again = pull(&bench.store, &pinned, &later, |_| {})
        .await
        .expect("pulled by digest");
    assert_eq!(again.reference, pinned);
    assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pulls_at_once_share_the_downloads() {
    let (bench, served) = (Bench::new(), served());
    let server = Server::start("127.0.0.1", move |request| served.answer(request));
    let options = options();
    let pulls = (0..6).map(|_| try_pull(&bench, &server, &options));
    let results = futures_util::future::join_all(pulls).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(server.count("/blobs/"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_about_content_are_found() {
    let good = served();
    let s = good.clone();
    let text = refused("announced digest", move |request| {
        let mut reply = s.answer(request);
        for header in &mut reply.headers {
            if header.0 == "Docker-Content-Digest" {
                header.1 = Digest::sha256_of(b"other").to_string();
            }
        }
        reply
    });
    assert!(text.await.contains("digest"));
    for part in [good.layer.clone(), good.config.clone()] {
        let (s, lie) = (good.clone(), part.to_string());
        refused("other bytes", move |request| {
            let mut reply = s.answer(request);
            if request.path.contains(&lie) {
                reply.body[0] ^= 1;
            }
            reply
        })
        .await;
        let (s, lie) = (good.clone(), part.to_string());
        let text = refused("endless", move |request| {
            let endless = request.path.contains(&lie);
            Reply {
                endless,
                ..s.answer(request)
            }
        });
        assert!(text.await.contains("bytes"));
        let (s, lie) = (good.clone(), part.to_string());
        refused("too short", move |request| {
            let mut reply = s.answer(request);
            if request.path.contains(&lie) {
                reply.body.pop();
            }
            reply
        })
        .await;
    }
    refused("not even a digest", |_| {
        Reply::ok("{}").with("Docker-Content-Digest", "md5:x")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_image_is_what_its_digest_says() {
    let (bench, served) = (Bench::new(), served());
    let server = Server::start("127.0.0.1", move |request| served.answer(request));
    for digest in [Digest::sha256_of(b"other"), Digest::from_sha512([1; 64])] {
        let pinned = name(&format!("{}/lab/app@{digest}", server.address));
        let result = pull(&bench.store, &pinned, &options(), |_| {}).await;
        assert!(
            matches!(result, Err(ImageError::DigestMismatch { .. })),
            "{result:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_mean_what_their_shape_says() {
    let good = served();
    for kind in [media::OCI_INDEX, media::DOCKER_LIST, media::DOCKER_MANIFEST] {
        let s = good.clone();
        refused(kind, move |request| {
            let mut reply = s.answer(request);
            reply.headers.retain(|(name, _)| name != "Content-Type");
            reply.with("Content-Type", kind)
        })
        .await;
    }
    refused("web page", |_| {
        Reply::ok("<html>").with("Content-Type", "text/html")
    })
    .await;
    let long = vec![b' '; Limits::default().document_bytes as usize + 1];
    refused("too long", move |_| Reply::ok(long.clone())).await;
    refused("endless", |_| Reply {
        endless: true,
        ..Reply::new(200)
    })
    .await;
    refused("first schema", |_| {
        Reply::ok(r#"{"schemaVersion":1,"fsLayers":[]}"#)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_lead_to_one_platform() {
    let good = served();
    let entry = |arch: &str, digest: Digest, size| {
        let mut descriptor = Descriptor::new(media::OCI_MANIFEST, digest, size);
        let (os, architecture) = ("linux".to_owned(), arch.to_owned());
        descriptor.platform = Some(PlatformFields {
            os,
            architecture,
            variant: None,
        });
        descriptor
    };
    let here = Platform::linux_here().arch().to_owned();
    let size = good.manifest.len() as u64;
    let other = Digest::sha256_of(b"other");
    let index = write_index(vec![
        entry("s390x", other.clone(), 5),
        entry(&here, good.digest(), size),
    ]);
    let digest = Digest::sha256_of(&index);
    let (s, i) = (good.clone(), index.clone());
    let server = Server::start("127.0.0.1", move |request| {
        match request.path.ends_with("/1") {
            true => Reply::ok(i.clone()).with("Content-Type", media::OCI_INDEX),
            false => s.answer(request),
        }
    });
    let bench = Bench::new();
    let reference = name(&format!("{}/lab/app:1", server.address));
    let image = pull(&bench.store, &reference, &options(), |_| {})
        .await
        .expect("pulled");
    assert_eq!(image.index_digest, Some(digest.clone()));
    let pinned = name(&format!("{}/lab/app@{digest}", server.address));
    assert!(
        bench.store.resolve(&pinned).expect("readable").is_some(),
        "the index's digest counts"
    );
    assert_eq!(server.count("/manifests/"), 2);
    let only = write_index(vec![entry("s390x", other, 5)]);
    let text = refused("platform", move |_| Reply::ok(only.clone())).await;
    assert!(text.contains("s390x") && text.contains(&here), "{text}");
    let itself = move |request: &Request| {
        let digest = request
            .path
            .rsplit('/')
            .next()
            .and_then(|d| Digest::parse(d).ok());
        let digest = digest.unwrap_or_else(|| Digest::sha256_of(b"x"));
        Reply::ok(write_index(vec![entry(&here, digest, 400)]))
    };
    refused("itself", itself).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_are_resumed() {
    let (bench, served) = (Bench::new(), served());
    let (layer, count) = (served.layer.to_string(), Arc::new(AtomicUsize::new(0)));
    let server = Server::start("127.0.0.1", move |request| {
        let mut reply = served.answer(request);
        if request.path.contains(&layer) && count.fetch_add(1, Ordering::SeqCst) < 3 {
            reply.cut = Some(50_000);
        }
        reply
    });
    try_pull(&bench, &server, &options())
        .await
        .expect("pulled in the end");
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter_map(|r| r.header("range").map(str::to_owned))
        .collect();
    assert!(ranges.contains(&"bytes=50000-".to_owned()), "{ranges:?}");
    assert_eq!(ranges.len(), 3, "{ranges:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_without_ranges_sends_everything_again() {
    let (bench, served) = (Bench::new(), served());
    let (layer, count) = (served.layer.to_string(), Arc::new(AtomicUsize::new(0)));
    let server = Server::start("127.0.0.1", move |request| {
        let mut plain = request.clone();
        plain.headers.remove("range");
        let mut reply = served.answer(&plain);
        if request.path.contains(&layer) && count.fetch_add(1, Ordering::SeqCst) == 0 {
            reply.cut = Some(50_000);
        }
        reply
    });
    try_pull(&bench, &server, &options())
        .await
        .expect("pulled in the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_remainder_is_fetched_anew() {
    let (bench, served) = (Bench::new(), served());
    let layer = served.layer.clone();
    let size = served.blobs[layer.as_str()].len() as u64;
    let descriptor = Descriptor::new(media::OCI_TAR, layer, size);
    let mut incoming = bench
        .store
        .incoming(&descriptor)
        .expect("free")
        .expect("absent");
    incoming.write(b"what a power failure left").expect("taken");
    drop(incoming);
    let server = Server::start("127.0.0.1", move |request| served.answer(request));
    try_pull(&bench, &server, &options()).await.expect("pulled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passing_troubles_pass() {
    for status in [429, 500, 502, 503] {
        let (bench, served) = (Bench::new(), served());
        let count = AtomicUsize::new(0);
        let server = Server::start("127.0.0.1", move |request| {
            if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                return Reply::new(status).with("Retry-After", "0");
            }
            served.answer(request)
        });
        try_pull(&bench, &server, &options())
            .await
            .expect("pulled in the end");
    }
    let text = refused("for ever", |_| Reply::new(429).with("Retry-After", "3600")).await;
    assert!(text.contains("later"), "{text}");
    assert!(
        refused("absent", |_| Reply::new(404))
            .await
            .contains("not in its registry")
    );
    assert!(
        refused("forbidden", |_| Reply::new(403))
            .await
            .contains("forbids")
    );
    assert!(
        refused("unknown", |_| Reply::new(401))
            .await
            .contains("log in")
    );
}
