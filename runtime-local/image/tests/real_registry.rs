//! Push and pull against Debian's `docker-registry`, judged by `skopeo`.
#![cfg(feature = "registry")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use unmoor_core::image::ImageRef;
use unmoor_image::archive::{LoadOptions, load, save};
use unmoor_image::registry::{Access, Progress, PullOptions, pull, push};
use unmoor_image::{ImageBuilder, Store, StoredImage};

/// A registry of its own, stopped when it is dropped.
struct Registry {
    child: Child,
    address: String,
    _dir: TempDir,
}

impl Registry {
    /// Starts one; says why not if it cannot.
    fn start() -> Result<Self, String> {
        for tool in ["docker-registry", "skopeo"] {
            let found = Command::new(tool).arg("--version").output();
            found.map_err(|error| format!("{tool} is not installed: {error}"))?;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("config.yml");
        let root = dir.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n",
            root.display()
        );
        fs::write(&config, text).expect("a file");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let address = loop {
            let mut line = String::new();
            if lines.read_line(&mut line).expect("text") == 0 {
                return Err("docker-registry ended before it listened".to_owned());
            }
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest
                    .trim_matches(|c: char| !c.is_ascii_digit())
                    .split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
                    .next()
                    .unwrap_or_default()
                    .to_owned();
            }
        };
        // Somebody must go on reading, or the registry stops at a full pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Ok(Self {
            child,
            address,
            _dir: dir,
        })
    }

    fn name(&self, rest: &str) -> ImageRef {
        format!("{}/{rest}", self.address)
            .parse()
            .expect("a valid name")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn skopeo(arguments: &[&str]) -> String {
    let output = Command::new("skopeo")
        .args(arguments)
        .output()
        .expect("skopeo");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn store(dir: &TempDir, name: &str) -> Store {
    Store::open(dir.path().join(name)).expect("a store")
}

fn example(store: &Store) -> StoredImage {
    let base = ImageBuilder::new()
        .file("/base", vec![1; 300_000], 0o644)
        .build(store, &"base".parse().expect("a name"))
        .expect("built");
    ImageBuilder::new()
        .base(&base)
        .file("/bin/app", "#!/bin/sh\n", 0o755)
        .entrypoint(["/bin/app"])
        .expose(80)
        .build(store, &"app:1".parse().expect("a name"))
        .expect("built")
}

fn same_tree(store: &Store, image: &StoredImage, expected: &str) {
    let layers = store.unpack(image).expect("unpacked");
    let file = store.layer_dir().join(layers[1].as_str()).join("bin/app");
    assert_eq!(fs::read_to_string(file).expect("a file"), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_travel_there_and_back() {
    let registry = match Registry::start() {
        Ok(registry) => registry,
        Err(reason) => return unmoor_tools::skipped(&reason),
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (here, there) = (store(&dir, "here"), store(&dir, "there"));
    let image = example(&here);
    let name = registry.name("lab/app:1");
    let access = Access::default();
    let pushed = push(&here, &image, &name, &access, |_| {})
        .await
        .expect("pushed");
    assert_eq!(pushed, image.manifest_digest);
    let again = std::sync::Mutex::new(Vec::new());
    let note = |event| again.lock().expect("a list").push(event);
    push(&here, &image, &name, &access, note)
        .await
        .expect("pushed again");
    let again = again.into_inner().expect("a list");
    let present = again
        .iter()
        .filter(|event| matches!(event, Progress::Present { .. }))
        .count();
    assert_eq!(present, 3, "nothing travels twice: {again:?}");

    let seen = skopeo(&["inspect", "--tls-verify=false", &format!("docker://{name}")]);
    assert!(seen.contains(image.manifest_digest.as_str()), "{seen}");
    let pulled = pull(&there, &name, &PullOptions::default(), |_| {})
        .await
        .expect("pulled");
    assert_eq!(pulled.manifest_digest, image.manifest_digest);
    assert_eq!(pulled.config, image.config);
    same_tree(&there, &pulled, "#!/bin/sh\n");
    let pinned = registry
        .name("lab/app")
        .without_digest()
        .with_digest(pushed);
    pull(&there, &pinned, &PullOptions::default(), |_| {})
        .await
        .expect("pulled by digest");
    let absent = pull(
        &there,
        &registry.name("lab/none"),
        &PullOptions::default(),
        |_| {},
    )
    .await;
    assert!(absent.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_tools_write_is_read() {
    let registry = match Registry::start() {
        Ok(registry) => registry,
        Err(reason) => return unmoor_tools::skipped(&reason),
    };
    let dir = tempfile::tempdir().expect("a directory");
    let here = store(&dir, "here");
    let image = example(&here);
    let archive = dir.path().join("app.tar");
    save(&here, &image, fs::File::create(&archive).expect("a file")).expect("saved");
    let source = format!("oci-archive:{}", archive.display());
    for (tag, arguments) in [
        ("oci", ["--format=oci", "--dest-compress-format=gzip"]),
        ("docker", ["--format=v2s2", "--dest-compress-format=gzip"]),
        ("zstd", ["--format=oci", "--dest-compress-format=zstd"]),
    ] {
        let name = registry.name(&format!("foreign/app:{tag}"));
        let target = format!("docker://{name}");
        let [format, compress] = arguments;
        skopeo(&[
            "copy",
            "--dest-tls-verify=false",
            "--insecure-policy",
            format,
            compress,
            &source,
            &target,
        ]);
        let there = store(&dir, tag);
        let pulled = pull(&there, &name, &PullOptions::default(), |_| {})
            .await
            .expect(tag);
        assert_eq!(pulled.config.entrypoint, ["/bin/app"], "{tag}");
        assert_eq!(pulled.config.diff_ids, image.config.diff_ids, "{tag}");
        same_tree(&there, &pulled, "#!/bin/sh\n");
    }
    for kind in ["oci", "docker-archive"] {
        let path = dir.path().join(kind);
        let target = format!("{kind}:{}:foreign/app:{kind}", path.display());
        let from = format!("docker://{}", registry.name("foreign/app:oci"));
        skopeo(&[
            "copy",
            "--src-tls-verify=false",
            "--insecure-policy",
            &from,
            &target,
        ]);
        check_load(&store(&dir, &format!("loaded-{kind}")), &path);
    }
}

fn check_load(store: &Store, path: &Path) {
    let loaded = load(store, path, &LoadOptions::default()).expect("loaded");
    assert_eq!(loaded.len(), 1);
    assert!(loaded[0].reference.familiar().starts_with("foreign/app:"));
    same_tree(store, &loaded[0], "#!/bin/sh\n");
}
