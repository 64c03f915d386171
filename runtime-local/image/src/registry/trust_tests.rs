//! Registries that want credentials they should not get, or lead where nobody should go.

use std::sync::Arc;

use reqwest::Url;

use super::origin::{may_lead, share_credentials};
use super::tests::{SECRET, Served, options, refused, served, try_pull, with_password};
use super::wire::{Reply, Request, Server};
use crate::manifest::media;
use crate::testing::{Bench, chain};

/// A registry that wants a name and a password.
fn guarded(request: &Request) -> Result<(), Reply> {
    match request.header("authorization") {
        Some(value)
            if value
                == format!(
                    "Basic {}",
                    super::credentials::base64(&format!("me:{SECRET}"))
                ) =>
        {
            Ok(())
        }
        _ => Err(Reply::new(401).with("WWW-Authenticate", "Basic realm=\"x\"")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_lose_the_authorization() {
    let (bench, served) = (Bench::new(), served());
    let s = served.clone();
    let storage = Server::start("127.0.0.2", move |request| s.answer(request));
    let (target, layer) = (storage.address, served.layer.to_string());
    let server = Server::start("127.0.0.1", move |request| {
        if let Err(reply) = guarded(request) {
            return reply;
        }
        match request.path.contains(&layer) {
            true => Reply::new(307).with(
                "Location",
                &format!("http://{target}{}?signed=1", request.path),
            ),
            false => served.answer(request),
        }
    });
    try_pull(&bench, &server, &with_password())
        .await
        .expect("pulled");
    assert_eq!(storage.count("/blobs/"), 1);
    assert!(
        storage
            .requests()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
    assert!(
        server
            .requests()
            .iter()
            .any(|request| request.header("authorization").is_some())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_cannot_ask_for_credentials() {
    let thief = Arc::new(Server::start("127.0.0.2", |_| {
        Reply::new(401).with("WWW-Authenticate", "Basic realm=\"give me\"")
    }));
    let (served, address) = (served(), thief.address);
    let layer = served.layer.to_string();
    refused("redirect", move |request| {
        if let Err(reply) = guarded(request) {
            return reply;
        }
        match request.path.contains(&layer) {
            true => Reply::new(302).with("Location", &format!("http://{address}/blob")),
            false => served.answer(request),
        }
    })
    .await;
    assert_eq!(thief.requests().len(), 1);
    let realm = thief.url("/token");
    refused("realm", move |_| {
        Reply::new(401).with(
            "WWW-Authenticate",
            &format!("Bearer realm=\"{realm}\",service=\"x\""),
        )
    })
    .await;
    assert!(thief.count("/token") >= 1);
    assert!(
        thief
            .requests()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
    for realm in [
        "http://169.254.169.254/token",
        "file:///etc/passwd",
        "http://u:p@127.0.0.1/",
        "x",
    ] {
        let text = refused(realm, move |_| {
            Reply::new(401).with("WWW-Authenticate", &format!("Bearer realm=\"{realm}\""))
        })
        .await;
        assert!(text.contains("not trusted"), "{text}");
    }
    refused("redirect to metadata", |_| {
        Reply::new(307).with("Location", "http://169.254.169.254/latest")
    })
    .await;
    refused("circle", |request| {
        Reply::new(307).with("Location", &request.path)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_from_elsewhere_are_not_fetched() {
    let thief = Arc::new(Server::start("127.0.0.2", |_| Reply::new(401)));
    let good = served();
    let manifest = String::from_utf8(good.manifest.clone()).expect("text");
    let urls = format!(r#","urls":["{}"]"#, thief.url("/layer"));
    let foreign = manifest
        .replace(
            media::OCI_TAR,
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
        )
        .replace("}]}", &format!("{urls}}}]}}"));
    let text = refused("foreign", move |_| Reply::ok(foreign.clone())).await;
    assert!(text.contains("not distributable"), "{text}");
    // An ordinary layer may carry addresses; they are not used.
    let listed = manifest
        .replace("}]}", &format!("{urls}}}]}}"))
        .into_bytes();
    let (bench, good) = (
        Bench::new(),
        Served {
            manifest: listed,
            ..good
        },
    );
    let server = Server::start("127.0.0.1", move |request| good.answer(request));
    try_pull(&bench, &server, &with_password())
        .await
        .expect("pulled");
    assert!(thief.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_fetched_once_and_sent_to_the_registry_only() {
    let (bench, served) = (Bench::new(), served());
    let server = Server::start("127.0.0.1", move |request| {
        if request.path.starts_with("/token?") {
            let asked = request
                .path
                .contains("scope=repository%3Alab%2Fapp%3Apull&service=s");
            let known = request
                .header("authorization")
                .is_some_and(|a| a.starts_with("Basic "));
            return match asked && known {
                true => Reply::ok(r#"{"token":"abc","expires_in":300}"#),
                false => Reply::new(403),
            };
        }
        if request.header("authorization") == Some("Bearer abc") {
            return served.answer(request);
        }
        let host = request.header("host").unwrap_or_default();
        let challenge = format!(
            "Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:other:push\""
        );
        Reply::new(401).with("WWW-Authenticate", &challenge)
    });
    try_pull(&bench, &server, &with_password())
        .await
        .expect("pulled");
    assert_eq!(server.count("/token"), 1);
    let result = try_pull(&Bench::new(), &server, &options()).await;
    assert!(chain(&result.expect_err("anonymous")).contains("anonymous access"));
}

#[test]
fn addresses_lead_only_where_they_may() {
    let url = |text: &str| Url::parse(text).expect(text);
    for (from, to, allowed) in [
        ("https://r.example", "https://storage.example/x", true),
        ("https://r.example", "http://r.example/x", false),
        ("https://r.example", "https://127.0.0.1/x", false),
        ("https://r.example", "https://localhost/x", false),
        ("https://r.example", "https://[::1]/x", false),
        ("https://r.example", "https://[::ffff:127.0.0.1]/x", false),
        ("https://r.example", "https://169.254.169.254/x", false),
        ("https://r.example", "https://[fe80::1]/x", false),
        ("https://r.example", "https://0.0.0.0/x", false),
        ("https://r.example", "https://2130706433/x", false),
        ("https://r.example", "ftp://r.example/x", false),
        ("http://127.0.0.1:5000", "http://127.0.0.2:6000/x", true),
        ("http://127.0.0.1:5000", "http://169.254.169.254/x", false),
    ] {
        assert_eq!(
            may_lead(&url(from), &url(to)).is_ok(),
            allowed,
            "{from} to {to}"
        );
    }
    for (registry, realm, allowed) in [
        ("docker.io", "https://auth.docker.io/token", true),
        ("ghcr.io", "https://ghcr.io/token", true),
        ("registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
        ("example.com:5000", "https://auth.example.com/token", true),
        ("127.0.0.1:5000", "http://127.0.0.1:5001/token", true),
        ("127.0.0.1:5000", "http://127.0.0.2:5001/token", false),
        ("r.example", "https://evil.example.net/token", false),
        ("r.example", "https://notr.example/token", false),
        ("r.com", "https://com/token", false),
        (
            "auth.docker.io.evil.example",
            "https://auth.docker.io/token",
            false,
        ),
    ] {
        assert_eq!(
            share_credentials(registry, &url(realm)),
            allowed,
            "{registry} and {realm}"
        );
    }
}
