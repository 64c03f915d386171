//! What is and is not an image reference, a digest, a platform.

use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

use super::{Digest, DigestAlgorithm, ImageRef, Platform};

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parsed(text: &str) -> ImageRef {
    ImageRef::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn short_names_are_docker_hub() {
    for text in [
        "nginx",
        "nginx:latest",
        "docker.io/nginx",
        "index.docker.io/library/nginx",
    ] {
        assert_eq!(
            parsed(text).to_string(),
            "docker.io/library/nginx:latest",
            "{text}"
        );
        assert_eq!(parsed(text).familiar(), "nginx");
    }
    assert_eq!(
        parsed("bitnami/redis:7").to_string(),
        "docker.io/bitnami/redis:7"
    );
    assert_eq!(parsed("bitnami/redis:7").familiar(), "bitnami/redis:7");
}

#[test]
fn registries_ports_and_digests() {
    let image = parsed(&format!("127.0.0.1:5000/lab/bb:1@sha256:{HEX}"));
    assert_eq!(image.registry(), "127.0.0.1:5000");
    assert_eq!(image.repository(), "lab/bb");
    assert_eq!(image.tag(), Some("1"));
    assert_eq!(image.digest().map(Digest::hex), Some(HEX));
    assert!(image.is_pinned());
    assert_eq!(parsed("localhost/x").registry(), "localhost");
    assert_eq!(parsed("[::1]:5000/x").registry(), "[::1]:5000");
    assert_eq!(parsed("host:5000/x").tag(), Some("latest"));
    assert_eq!(parsed(&format!("x@sha256:{HEX}")).tag(), None);
    assert_eq!(parsed("Registry.Example/x").registry(), "Registry.Example");
    assert_eq!(parsed("docker.io/a.b/c").familiar(), "docker.io/a.b/c");
}

#[test]
fn bad_references_are_refused() {
    let long = "a".repeat(300);
    let digests = [
        "sha256:../../x",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:",
        "x",
    ];
    for text in [
        "",
        " ",
        "Nginx",
        "a//b",
        "/a",
        "a/",
        "a:",
        "a:.x",
        "a:-x",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "../x",
        "./x",
        "a/../b",
        "a b",
        "a\0b",
        "host:99999/x",
        "host:0/x",
        "host:+80/x",
        "ho_st:1/x",
        "[::1/x",
        "[zz]:1/x",
        "a@",
        "a@b@c",
        "ä",
        "a/ü",
        "-.com/x",
        "a:b:c",
        HEX,
        &long,
    ] {
        assert!(ImageRef::parse(text).is_err(), "{text:?} was accepted");
    }
    for digest in digests {
        assert!(
            ImageRef::parse(&format!("x@{digest}")).is_err(),
            "{digest:?} was accepted"
        );
    }
    assert!(ImageRef::parse(&format!("a:{}", "t".repeat(129))).is_err());
}

#[test]
fn digests_are_exact() {
    let upper = HEX.to_uppercase();
    assert_eq!(Digest::sha256_of(b"").to_string(), format!("sha256:{HEX}"));
    assert!(Digest::parse(&format!("sha512:{HEX}{HEX}")).is_ok());
    assert_eq!(
        Digest::from_sha512([0xab; 64]).algorithm(),
        DigestAlgorithm::Sha512
    );
    for text in [
        HEX,
        &format!("sha256:{upper}"),
        &format!("sha256:{}", &HEX[1..]),
        &format!("sha256:{HEX}0"),
        &format!("sha256:{}/", &HEX[1..]),
        &format!("sha256:{}\0", &HEX[1..]),
        &format!("SHA256:{HEX}"),
        &format!("sha512:{HEX}"),
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha256:../../x",
    ] {
        assert!(Digest::parse(text).is_err(), "{text:?} was accepted");
    }
}

#[test]
fn platforms_have_one_spelling() {
    for (text, normal) in [
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("Linux/386", "linux/386"),
    ] {
        assert_eq!(Platform::parse(text).expect(text).to_string(), normal);
    }
    for text in [
        "",
        "linux",
        "linux/",
        "linux/a/b/c",
        "linux/../x",
        "li nux/a",
    ] {
        assert!(Platform::parse(text).is_err(), "{text:?} was accepted");
    }
}

#[test]
fn serde_reads_what_it_writes_and_refuses_the_rest() {
    let image = parsed("nginx:1.27");
    let json = serde_json::to_string(&image).expect("a string");
    assert_eq!(json, "\"docker.io/library/nginx:1.27\"");
    assert_eq!(
        serde_json::from_str::<ImageRef>(&json).expect("the same"),
        image
    );
    assert!(serde_json::from_str::<Digest>("\"sha256:../../x\"").is_err());
}

#[test]
fn error_text_is_short_and_printable() {
    let error = ImageRef::parse(&format!("a\u{1b}[31m{}", "b".repeat(200))).expect_err("refused");
    let text = error.to_string();
    assert!(text.len() < 400 && !text.contains('\u{1b}'), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_forms_parse_back(text in "([a-z0-9.:-]{1,8}/)?[a-z0-9._/-]{1,12}(:[a-zA-Z0-9._-]{1,6})?") {
        if let Ok(image) = ImageRef::parse(&text) {
            prop_assert_eq!(&parsed(&image.to_string()), &image);
            prop_assert_eq!(&parsed(&image.familiar()), &image);
        }
    }

    #[test]
    fn no_input_panics(text in "\\PC{0,40}") {
        let _ = ImageRef::parse(&text);
        let _ = Digest::parse(&text);
        let _ = Platform::parse(&text);
    }
}
