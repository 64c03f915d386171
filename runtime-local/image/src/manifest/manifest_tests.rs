//! Documents that mean one thing are read; all others are refused.

use std::time::{Duration, Instant};

use unmoor_core::image::{Digest, Platform};

use super::config::{HealthTest, ImageConfig};
use super::{Document, media, select};
use crate::Limits;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn read(text: &str) -> Result<Document, String> {
    read_as(text, None)
}

fn read_as(text: &str, claimed: Option<&str>) -> Result<Document, String> {
    Document::parse(text.as_bytes(), "it", claimed, &Limits::default()).map_err(|e| e.to_string())
}

fn descriptor(kind: &str, digest: &str, size: &str) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
}

fn manifest(extra: &str, layer: &str) -> String {
    let config = descriptor(media::OCI_CONFIG, D, "10");
    format!(r#"{{"schemaVersion":2,{extra}"config":{config},"layers":[{layer}]}}"#)
}

fn good_layer() -> String {
    descriptor(media::OCI_TAR_GZIP, D, "10")
}

#[test]
fn both_formats_are_read() {
    let oci = manifest(
        &format!(r#""mediaType":"{}","#, media::OCI_MANIFEST),
        &good_layer(),
    );
    let docker = oci
        .replace(media::OCI_MANIFEST, media::DOCKER_MANIFEST)
        .replace(media::OCI_CONFIG, media::DOCKER_CONFIG)
        .replace(media::OCI_TAR_GZIP, media::DOCKER_LAYERS[1]);
    for text in [&oci, &docker] {
        assert!(
            matches!(read(text), Ok(Document::Manifest(m)) if m.layers.len() == 1),
            "{text}"
        );
    }
    assert!(read_as(&oci, Some(media::OCI_MANIFEST)).is_ok());
}

#[test]
fn documents_with_two_meanings_are_refused() {
    let layer = good_layer();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        descriptor(media::OCI_MANIFEST, D, "9")
    );
    assert!(read(&index).is_ok());
    for (what, text, claimed) in [
        ("both lists", manifest(r#""manifests":[],"#, &layer), None),
        (
            "called an index inside",
            manifest(&format!(r#""mediaType":"{}","#, media::OCI_INDEX), &layer),
            None,
        ),
        (
            "called an index outside",
            manifest("", &layer),
            Some(media::DOCKER_LIST),
        ),
        (
            "called a manifest outside",
            index.clone(),
            Some(media::OCI_MANIFEST),
        ),
        (
            "called differently",
            manifest(
                &format!(r#""mediaType":"{}","#, media::OCI_MANIFEST),
                &layer,
            ),
            Some(media::DOCKER_MANIFEST),
        ),
        (
            "called nothing known",
            manifest("", &layer),
            Some("text/html"),
        ),
        ("key twice", manifest(r#""layers":[],"#, &layer), None),
        (
            "key in other case",
            manifest(r#""Layers":[],"#, &layer),
            None,
        ),
        (
            "key in other case below",
            manifest("", &layer.replace("\"size\"", "\"Size\":1,\"size\"")),
            None,
        ),
        (
            "first schema",
            r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#.to_owned(),
            None,
        ),
        (
            "third schema",
            manifest("", &layer).replace(":2,", ":3,"),
            None,
        ),
        ("no shape", "{}".to_owned(), None),
        ("null layers", manifest("", "").replace("[]", "null"), None),
        ("a list", "[]".to_owned(), None),
        ("empty", String::new(), None),
        (
            "two documents",
            format!("{}{}", manifest("", &layer), manifest("", &layer)),
            None,
        ),
    ] {
        assert!(read_as(&text, claimed).is_err(), "{what} was accepted");
    }
}

#[test]
fn descriptors_are_exact() {
    let oci = media::OCI_TAR_GZIP;
    let hex = &D[7..];
    let bad_digests = [
        "sha256:../../x",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "",
        "sha256",
        &D.to_uppercase(),
        &D[..D.len() - 1],
        &format!("{D}0"),
        &format!("{D}/x"),
        &format!("sha256:{}\\u0000", &hex[1..]),
        &format!("sha512:{hex}"),
    ];
    for digest in bad_digests {
        assert!(
            read(&manifest("", &descriptor(oci, digest, "10"))).is_err(),
            "{digest}"
        );
    }
    let sha512 = format!("sha512:{hex}{hex}");
    assert!(read(&manifest("", &descriptor(oci, &sha512, "10"))).is_ok());
    for size in [
        "-1",
        "0",
        "9223372036854775808",
        "18446744073709551616",
        "1.5",
        "\"10\"",
        "null",
    ] {
        assert!(
            read(&manifest("", &descriptor(oci, D, size))).is_err(),
            "{size}"
        );
    }
    for kind in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        "text/plain",
    ] {
        assert!(
            read(&manifest("", &descriptor(kind, D, "10"))).is_err(),
            "{kind}"
        );
    }
    let artifact = manifest("", &good_layer()).replace(media::OCI_CONFIG, "application/x");
    assert!(
        read(&artifact)
            .expect_err("an artifact")
            .contains("not a container image")
    );
}

#[test]
fn hostile_documents_end_quickly() {
    let started = Instant::now();
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read(&manifest(&format!(r#""x":{nested},"#), "")).is_err());
    let one = descriptor(media::OCI_MANIFEST, D, "9");
    let many = vec![one; 10_000].join(",");
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{many}]}}"#);
    assert!(read(&index).is_err());
    assert!(read(&manifest("", &vec![good_layer(); 501].join(","))).is_err());
    assert!(read(&format!("\"{}\"", "x".repeat(5 << 20))).is_err());
    assert!(started.elapsed() < Duration::from_secs(5));
}

fn index_of(platforms: &[&str]) -> super::Index {
    let entries: Vec<_> = platforms
        .iter()
        .enumerate()
        .map(|(number, platform)| {
            let digest = Digest::sha256_of(&[number as u8]);
            let mut parts = platform.split('/');
            let (os, arch) = (parts.next().expect("os"), parts.next().expect("arch"));
            let variant = parts.next().map(|v| format!(r#","variant":"{v}""#)).unwrap_or_default();
            format!(
                r#"{{"mediaType":"{}","digest":"{digest}","size":9,"platform":{{"os":"{os}","architecture":"{arch}"{variant}}}}}"#,
                media::OCI_MANIFEST
            )
        })
        .collect();
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        entries.join(",")
    );
    match read(&text) {
        Ok(Document::Index(index)) => index,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_right_platform_is_chosen_or_none() {
    let index = index_of(&[
        "unknown/unknown",
        "linux/arm64/v8",
        "linux/arm/v6",
        "linux/arm/v7",
        "linux/amd64",
    ]);
    let chosen = |platform: &str| {
        let wanted = Platform::parse(platform).expect(platform);
        select(&index, &wanted, "it").map(|d| d.digest.clone())
    };
    let digest = |number: u8| Digest::sha256_of(&[number]);
    assert_eq!(chosen("linux/arm64").expect("there"), digest(1));
    assert_eq!(chosen("linux/amd64").expect("there"), digest(4));
    assert_eq!(chosen("linux/arm/v7").expect("there"), digest(3));
    assert_eq!(chosen("linux/arm/v8").expect("an older variant"), digest(3));
    let text = chosen("linux/s390x").expect_err("absent").to_string();
    assert!(
        text.contains("linux/s390x") && text.contains("linux/amd64"),
        "{text}"
    );
    assert!(!text.contains("unknown"), "{text}");
    assert!(
        chosen("linux/arm/v5").is_err(),
        "newer variants do not run on older processors"
    );
}

fn config(run: &str) -> Result<ImageConfig, String> {
    let text = format!(
        r#"{{"os":"linux","architecture":"amd64","config":{run},"rootfs":{{"type":"layers","diff_ids":["{D}"]}}}}"#
    );
    ImageConfig::parse(text.as_bytes(), "it", 1, &Limits::default()).map_err(|e| e.to_string())
}

#[test]
fn configurations_are_read() {
    let read = config(
        r#"{"User":"u:g","ExposedPorts":{"80/tcp":{},"53/udp":{},"8000-8002":{},"x":{}},
        "Env":["A=1","B=x=y","A=2"],"Entrypoint":["/e"],"Cmd":null,"Volumes":{"/data":{}},
        "WorkingDir":"/w","Labels":{"k":"v","K":"V"},"StopSignal":"SIGQUIT","OnBuild":null,
        "Healthcheck":{"Test":["CMD-SHELL","curl -f localhost"],"Interval":30000000000,"Retries":3}}"#,
    )
    .expect("readable");
    assert_eq!(
        read.env,
        [
            ("A".to_owned(), "2".to_owned()),
            ("B".to_owned(), "x=y".to_owned())
        ]
    );
    assert_eq!(read.exposed_ports.len(), 5);
    assert_eq!(
        (read.user.as_str(), read.working_dir.as_str()),
        ("u:g", "/w")
    );
    assert_eq!(read.labels.len(), 2);
    let check = read.healthcheck.as_ref().expect("a check");
    assert_eq!(
        check.test,
        HealthTest::Shell("curl -f localhost".to_owned())
    );
    assert_eq!(check.interval, Some(Duration::from_secs(30)));
    assert_eq!(read.warnings.len(), 1);
    let again = ImageConfig::parse(&read.write(), "it", 1, &Limits::default()).expect("readable");
    assert_eq!(
        ImageConfig {
            warnings: Vec::new(),
            ..read
        },
        again
    );
}

#[test]
fn odd_configurations_reach_nothing_outside() {
    let read =
        config(r#"{"Env":["SECRET","*","=x","GOOD=1"],"Volumes":{"/../../srv/canary":{},"/":{}}}"#)
            .expect("readable");
    assert_eq!(read.env, [("GOOD".to_owned(), "1".to_owned())]);
    assert_eq!(
        read.volumes,
        ["/srv/canary"],
        "as a process inside would read it"
    );
    assert_eq!(read.warnings.len(), 4, "{:?}", read.warnings);
    for run in [
        r#"{"Env":["A=B\u0000C=D"]}"#,
        r#"{"Cmd":["a\u0000b"]}"#,
        r#"{"WorkingDir":"/a\u0000b"}"#,
        r#"{"User":"a\u0000b"}"#,
        r#"{"Env":"A=B"}"#,
    ] {
        assert!(config(run).is_err(), "{run}");
    }
    let ranges: Vec<_> = (1..500).map(|n| format!(r#""{n}-65535":{{}}"#)).collect();
    let read =
        config(&format!(r#"{{"ExposedPorts":{{{}}}}}"#, ranges.join(","))).expect("readable");
    assert!(read.exposed_ports.len() <= 10_000);
}

#[test]
fn a_configuration_must_fit_its_manifest() {
    let text = format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{D}"]}}}}"#
    );
    let limits = Limits::default();
    assert!(ImageConfig::parse(text.as_bytes(), "it", 1, &limits).is_ok());
    assert!(ImageConfig::parse(text.as_bytes(), "it", 2, &limits).is_err());
    assert!(
        ImageConfig::parse(text.replace("layers", "other").as_bytes(), "it", 1, &limits).is_err()
    );
    assert!(
        ImageConfig::parse(text.replace("linux", "../x").as_bytes(), "it", 1, &limits).is_err()
    );
}
