//! Which credential belongs to which image; and hostile files and helpers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{CredentialFiles, Credentials, Login, RegistryError, Secret, base64, unbase64};
use crate::registry::helper;
use crate::testing::{chain, name};

fn entry(user: &str) -> String {
    format!(r#"{{"auth":"{}"}}"#, base64(&format!("{user}:pass:{user}")))
}

async fn user(dir: &TempDir, file: &str, content: &str, image: &str) -> Option<String> {
    let path = dir.path().join(file);
    fs::write(&path, content).expect("a file");
    let files = CredentialFiles {
        paths: vec![dir.path().join("absent"), path],
        helpers: None,
    };
    match Credentials::Files(files)
        .login(&name(image))
        .await
        .expect("readable")
    {
        Some(Login::Password { user, password }) => {
            assert_eq!(password.reveal(), format!("pass:{user}"));
            Some(user)
        }
        Some(Login::Identity(_)) => Some("identity".to_owned()),
        None => None,
    }
}

#[tokio::test]
async fn the_most_particular_entry_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = format!(
        r#"{{"auths":{{"https://index.docker.io/v1/":{},"quay.io":{},"quay.io/org":{},"http://other.example/v2/":{},
        "id.example":{{"auth":"","identitytoken":"t"}},"127.0.0.1:5000":{}}},"HttpHeaders":{{}}}}"#,
        entry("hub"),
        entry("quay"),
        entry("org"),
        entry("other"),
        entry("local")
    );
    for (image, expected) in [
        ("nginx", Some("hub")),
        ("user/app", Some("hub")),
        ("quay.io/someone/app", Some("quay")),
        ("quay.io/org/app", Some("org")),
        ("quay.io/organisation/app", Some("quay")),
        ("other.example/x", Some("other")),
        ("id.example/x", Some("identity")),
        ("127.0.0.1:5000/x", Some("local")),
        ("127.0.0.1:5001/x", None),
        ("evil.quay.io/x", None),
        ("quay.io.evil.example/x", None),
    ] {
        let found = user(&dir, "config.json", &config, image).await;
        assert_eq!(found.as_deref(), expected, "{image}");
    }
    let old = format!(r#"{{"https://index.docker.io/v1/":{}}}"#, entry("old"));
    assert_eq!(
        user(&dir, ".dockercfg", &old, "nginx").await.as_deref(),
        Some("old")
    );
}

#[tokio::test]
async fn broken_files_name_the_place_but_no_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.json");
    let broken = [
        r#"{"auths":{"x.example":{"auth":"hunter2 not base64"}}}"#.to_owned(),
        format!(
            r#"{{"auths":{{"x.example":{{"auth":"{}"}}}}}}"#,
            base64("hunter2")
        ),
        r#"{"auths":{"x.example":"hunter2"}}"#.to_owned(),
        r#"{"auths":{"x.example":{"auth":"hunter2"#.to_owned(),
        format!("{{{}}}", " ".repeat(2 << 20)),
    ];
    for content in broken {
        fs::write(&path, content).expect("a file");
        let files = CredentialFiles {
            paths: vec![path.clone()],
            helpers: None,
        };
        let result = Credentials::Files(files).login(&name("x.example/a")).await;
        let error = result.expect_err("refused");
        let text = format!("{error:?} {}", chain(&error));
        assert!(
            text.contains("config.json") && !text.contains("hunter2"),
            "{text}"
        );
    }
}

#[test]
fn places_are_those_of_other_tools() {
    let set = |pairs: &'static [(&str, &str)]| {
        move |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    };
    let paths = |pairs| CredentialFiles::usual(set(pairs)).paths;
    let all: Vec<PathBuf> = paths(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")]);
    let expected = [
        "/r/containers/auth.json",
        "/h/.config/containers/auth.json",
        "/h/.docker/config.json",
        "/h/.dockercfg",
    ];
    assert_eq!(all, expected.map(PathBuf::from));
    assert_eq!(
        paths(&[("REGISTRY_AUTH_FILE", "/a"), ("HOME", "/h")]),
        [PathBuf::from("/a")]
    );
    assert!(paths(&[]).is_empty());
}

#[test]
fn base64_is_that_of_everyone() {
    for (plain, packed) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("a:b?", "YTpiPw=="),
    ] {
        assert_eq!(base64(plain), packed);
        assert_eq!(unbase64(packed).as_deref(), Some(plain.as_bytes()));
    }
    assert_eq!(unbase64("a*b"), None);
}

#[test]
fn secrets_are_not_printed() {
    let login = Login::Password {
        user: "u".to_owned(),
        password: Secret::new("hunter2"),
    };
    assert!(!format!("{login:?}").contains("hunter2"));
}

fn install(dir: &Path, script: &str) {
    let path = dir.join("docker-credential-test");
    let written = dir.join("written");
    fs::write(&written, format!("#!/bin/sh\n{script}\n")).expect("a file");
    fs::set_permissions(&written, fs::Permissions::from_mode(0o755)).expect("executable");
    fs::rename(written, path).expect("in place");
}

async fn ask(dir: &Path, tool: &str) -> Result<Option<Login>, RegistryError> {
    let search = format!("{}:/usr/bin:/bin", dir.display());
    helper::ask(
        tool,
        "registry.example",
        Some(search.as_ref()),
        Duration::from_secs(2),
    )
    .await
}

/// Running a script just written can meet another test's fork that still has it open.
async fn ask_patiently(dir: &Path) -> Result<Option<Login>, RegistryError> {
    loop {
        match ask(dir, "test").await {
            Err(error) if error.to_string().contains("Text file busy") => {
                tokio::task::yield_now().await
            }
            result => return result,
        }
    }
}

#[tokio::test]
async fn helpers_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    install(
        dir.path(),
        r#"read s; echo "{\"ServerURL\":\"$s\",\"Username\":\"me\",\"Secret\":\"$1-$s\"}""#,
    );
    let expected = Login::Password {
        user: "me".to_owned(),
        password: Secret::new("get-registry.example"),
    };
    assert_eq!(
        ask_patiently(dir.path()).await.expect("answered"),
        Some(expected)
    );
    install(dir.path(), r#"echo '{"Username":"<token>","Secret":"t"}'"#);
    let token = Some(Login::Identity(Secret::new("t")));
    assert_eq!(ask_patiently(dir.path()).await.expect("answered"), token);
    install(
        dir.path(),
        "echo credentials not found in native keychain; exit 1",
    );
    assert_eq!(ask_patiently(dir.path()).await.expect("nothing"), None);
}

#[tokio::test]
async fn hostile_helpers_are_stopped() {
    let dir = tempfile::tempdir().expect("a directory");
    let started = Instant::now();
    for (what, script) in [
        ("too much output", "exec cat /dev/zero"),
        ("too slow", "sleep 600 & sleep 600"),
        ("failing", "echo hunter2 >&2; echo hunter2; exit 1"),
        ("not JSON", "echo hunter2"),
        ("no secret", r#"echo '{"Username":"hunter2"}'"#),
    ] {
        install(dir.path(), script);
        let error = ask_patiently(dir.path()).await.expect_err(what);
        let text = format!("{error:?} {}", chain(&error));
        assert!(!text.contains("hunter2"), "{what}: {text}");
    }
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "took {:?}",
        started.elapsed()
    );
    let evil = dir.path().join("evil");
    let long = "x".repeat(100);
    for tool in [
        "../../tmp/evil",
        "/bin/sh",
        "a;b",
        "",
        "-x",
        ".x",
        "a b",
        "a\0b",
        &long,
    ] {
        install(dir.path(), &format!("touch {}", evil.display()));
        assert!(ask(dir.path(), tool).await.is_err(), "{tool:?}");
    }
    assert!(!evil.exists());
}
