//! Built images: same input, same digest; and what was put in comes out.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use unmoor_core::image::ImageRef;

use super::ImageBuilder;
use crate::store::{Store, StoredImage};

fn name(text: &str) -> ImageRef {
    text.parse().expect("a valid name")
}

fn example(store: &Store, host: &std::path::Path) -> StoredImage {
    ImageBuilder::new()
        .symlink("/bin/sh", "busybox")
        .file("/bin/busybox", b"not really".as_slice(), 0o4755)
        .host_file("/usr/share/a b/data", host, 0o640)
        .owner(1000, 70_000)
        .directory("/home/user", 0o700)
        .file(&format!("/home/user/{}", "n".repeat(120)), "long", 0o600)
        .entrypoint(["/bin/sh"])
        .cmd(["-c", "true"])
        .env("PATH", "/bin")
        .expose(80)
        .label("a", "b")
        .build(store, &name("example:1"))
        .expect("an image")
}

#[test]
fn the_same_input_gives_the_same_digest_in_another_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = dir.path().join("data");
    std::fs::write(&host, "data").expect("a file");
    let first = Store::open(dir.path().join("one")).expect("a store");
    let second = Store::open(dir.path().join("two")).expect("a store");
    let (a, b) = (example(&first, &host), example(&second, &host));
    assert_eq!(a.manifest_digest, b.manifest_digest);
    assert_eq!(a.config, b.config);
    assert_eq!(a.config.entrypoint, ["/bin/sh"]);
    assert_eq!(
        first
            .get(&name("example:1"))
            .expect("stored")
            .manifest_digest,
        a.manifest_digest
    );
}

#[test]
fn what_was_put_in_comes_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = dir.path().join("data");
    std::fs::write(&host, "data").expect("a file");
    let store = Store::open(dir.path().join("store")).expect("a store");
    let image = example(&store, &host);
    let layers = store.unpack(&image).expect("unpacked");
    assert_eq!(layers, image.layers);
    let root = store.layer_dir().join(layers[0].as_str());
    assert_eq!(
        std::fs::read_link(root.join("bin/sh"))
            .expect("a link")
            .as_os_str(),
        "busybox"
    );
    let busybox = std::fs::metadata(root.join("bin/busybox")).expect("a file");
    assert_eq!(busybox.permissions().mode() & 0o7777, 0o4755);
    assert_eq!((busybox.len(), busybox.mtime()), (10, 0));
    let data = root.join("usr/share/a b/data");
    assert_eq!(std::fs::read(data).expect("a file"), b"data");
    let home = std::fs::metadata(root.join("home/user")).expect("a directory");
    assert_eq!(home.permissions().mode() & 0o7777, 0o700);
    assert_eq!(home.mtime(), 0);
    if rustix::process::geteuid().is_root() {
        assert_eq!((home.uid(), home.gid()), (1000, 70_000));
    }
}

#[test]
fn a_base_keeps_its_layers_and_configuration() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("store")).expect("a store");
    let base = ImageBuilder::new()
        .file("/a", "a", 0o644)
        .env("A", "1")
        .build(&store, &name("base"))
        .expect("a base");
    let image = ImageBuilder::new()
        .base(&base)
        .file("/b", "b", 0o644)
        .env("B", "2")
        .build(&store, &name("derived"))
        .expect("an image");
    assert_eq!(image.layers[0], base.layers[0]);
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.config.env.len(), 2);
}

#[test]
fn impossible_requests_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("store")).expect("a store");
    let refused = |builder: ImageBuilder| {
        let result = builder.build(&store, &name("x"));
        assert!(result.is_err(), "{result:?}");
        assert!(store.resolve(&name("x")).expect("readable").is_none());
    };
    refused(ImageBuilder::new().file("/../x", "", 0o644));
    refused(ImageBuilder::new().file("/", "", 0o644));
    refused(ImageBuilder::new().file("/a/.wh.b", "", 0o644));
    refused(
        ImageBuilder::new()
            .file("/a", "", 0o644)
            .file("/a/b", "", 0o644),
    );
    refused(
        ImageBuilder::new()
            .file("/a/b", "", 0o644)
            .file("/a", "", 0o644),
    );
    refused(ImageBuilder::new().host_file("/a", dir.path(), 0o644));
    refused(ImageBuilder::new().host_file("/a", dir.path().join("absent"), 0o644));
    refused(ImageBuilder::new().env("A=B", "c"));
    refused(ImageBuilder::new().working_dir("relative"));
    refused(ImageBuilder::new().change("FROM scratch"));
}
