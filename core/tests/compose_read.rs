//! Finding and reading Compose files on a disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use unmoor_core::compose::{Environment, LoadOptions, ReadRequest, read};
use unmoor_core::{Error, ErrorKind};
use unmoor_tools::Work;

/// A directory of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("unmoor-compose-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a fresh directory");
        Self(path.canonicalize().expect("an absolute path"))
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, content).expect("a file");
        self
    }

    fn request(&self, inside: &str) -> ReadRequest {
        ReadRequest::new(self.0.join(inside), Environment::new())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const WEB: &str = "services: {web: {image: \"nginx:${TAG:-none}\"}}\n";

fn image(request: &ReadRequest) -> String {
    let loaded = read(request).expect("reads").load().expect("loads");
    let web = loaded.stack.services.values().next().expect("a service");
    web.image.familiar()
}

fn error(request: &ReadRequest) -> Error {
    read(request).expect_err("must be refused")
}

#[test]
fn files_are_found_upwards_with_override_and_variables() {
    let folder = Folder::new();
    folder
        .write("compose.yaml", WEB)
        .write("docker-compose.yml", "services: {}\n")
        .write("compose.override.yaml", "services: {web: {user: over}}\n")
        .write(".env", "TAG=from-file\n")
        .write("a/b/unrelated", "");
    let request = folder.request("a/b");
    assert_eq!(image(&request), "nginx:from-file");
    let input = read(&request).expect("reads");
    assert_eq!(
        input.options.project_directory.as_deref(),
        Some(folder.0.as_path())
    );
    assert_eq!(input.sources.len(), 2);
    let stack = input.load().expect("loads").stack;
    assert_eq!(
        stack.services.values().next().expect("web").user.as_deref(),
        Some("over")
    );
}

#[test]
fn the_environment_wins_over_env_files_and_chooses_files() {
    let folder = Folder::new();
    folder
        .write("other.yaml", WEB)
        .write(
            "more.yaml",
            "services: {web: {labels: [a=b]}, x: {image: x, profiles: [extra]}}\n",
        )
        .write(".env", "TAG=from-file\nCOMPOSE_PROFILES=extra\n")
        .write("my.env", "TAG=from-mine\n");
    let mut request = folder.request("");
    request.environment = Environment::new().variable("COMPOSE_FILE", "other.yaml:more.yaml");
    assert_eq!(image(&request), "nginx:from-file");
    let stack = read(&request).expect("reads").load().expect("loads").stack;
    assert_eq!(stack.services.len(), 2, "the profile of .env is active");
    request.env_files = vec![PathBuf::from("my.env")];
    assert_eq!(image(&request), "nginx:from-mine");
    request.environment = request.environment.variable("TAG", "from-outside");
    assert_eq!(image(&request), "nginx:from-outside");
    request.env_files.clear();
    request.environment = Environment::new()
        .variable("COMPOSE_FILE", "other.yaml")
        .variable("COMPOSE_DISABLE_ENV_FILE", "1");
    assert_eq!(image(&request), "nginx:none");
}

#[test]
fn named_files_set_the_directory_of_the_first() {
    let folder = Folder::new();
    folder
        .write(
            "deploy/base.yaml",
            "services: {web: {image: a, volumes: [\"./x:/x\"]}}\n",
        )
        .write("extra/more.yaml", "services: {web: {env_file: v.env}}\n")
        .write("deploy/v.env", "A=1\n");
    let request = folder
        .request("")
        .file("deploy/base.yaml")
        .file("extra/more.yaml");
    let loaded = read(&request).expect("reads").load().expect("loads");
    let web = loaded.stack.services.values().next().expect("web");
    assert_eq!(loaded.stack.name.as_str(), "deploy");
    assert_eq!(web.environment.get("A").map(String::as_str), Some("1"));
    let other = request.options(LoadOptions::default().project_directory("extra"));
    let failed = read(&other)
        .expect("reads")
        .load()
        .expect_err("no v.env there");
    assert!(failed.to_string().contains("there is no file"));
}

#[test]
fn what_is_not_a_text_file_is_refused_at_once() {
    let folder = Folder::new();
    let fifo = folder.0.join("fifo.yaml");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo runs").success());
    folder
        .write("utf16.yaml", [0xff, 0xfe, b'a', 0])
        .write("latin.yaml", b"a: 1\nb: caf\xe9\n")
        .write("big.yaml", vec![b' '; (4 << 20) + 1])
        .write("bom.yaml", "\u{feff}services: {a: {image: x}}\r\n");
    let work = Work::new();
    let said = |name: &str| error(&folder.request("").file(name)).to_string();
    assert!(said("fifo.yaml").contains("not a regular file"));
    assert!(said("/dev/zero").contains("not a regular file"));
    assert!(said(".").contains("not a regular file"));
    assert!(said("utf16.yaml").contains("UTF-16"));
    assert!(said("latin.yaml").ends_with("latin.yaml:2:7: this is not UTF-8"));
    assert!(said("big.yaml").contains("larger than 4 MiB"));
    assert!(
        read(&folder.request("").file("bom.yaml"))
            .expect("reads")
            .load()
            .is_ok()
    );
    assert!(work.done() < Duration::from_secs(5));
}

#[test]
fn nothing_to_read_is_not_found() {
    let folder = Folder::new();
    let missing = error(&folder.request("").file("gone.yaml"));
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let above = Path::new("/");
    if ![
        "compose.yaml",
        "compose.yml",
        "docker-compose.yml",
        "docker-compose.yaml",
    ]
    .iter()
    .any(|name| above.join(name).exists() || std::env::temp_dir().join(name).exists())
    {
        assert_eq!(error(&folder.request("")).kind(), ErrorKind::NotFound);
    }
}
