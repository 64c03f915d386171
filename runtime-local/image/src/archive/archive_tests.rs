//! Archives of every kind, good and hostile.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use unmoor_core::image::{Digest, Platform};

use super::{ImportOptions, LoadOptions, import, load, save};
use crate::manifest::{Descriptor, media, write_index, write_manifest};
use crate::testing::{Bench, Tape, chain, name};
use crate::{ImageBuilder, ImageError, Replace};

fn options(text: &str) -> LoadOptions {
    LoadOptions {
        name: Some(name(text)),
        ..LoadOptions::default()
    }
}

fn saved(bench: &Bench, tag: &str, content: &str) -> (PathBuf, Digest) {
    let image = ImageBuilder::new()
        .file("/bin/app", content, 0o755)
        .entrypoint(["/bin/app"])
        .build(&bench.store, &name(tag))
        .expect("built");
    let path = bench
        .dir
        .path()
        .join(format!("{}.tar", tag.replace([':', '/'], "-")));
    save(
        &bench.store,
        &image,
        fs::File::create(&path).expect("a file"),
    )
    .expect("saved");
    (path, image.manifest_digest)
}

#[test]
fn what_is_saved_can_be_loaded() {
    let (bench, other) = (Bench::new(), Bench::new());
    let (path, digest) = saved(&bench, "app:1", "content");
    let loaded = load(&other.store, &path, &LoadOptions::default()).expect("loaded");
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].manifest_digest, digest);
    assert_eq!(loaded[0].reference, name("app:1"));
    let ids = other.store.unpack(&loaded[0]).expect("unpacked");
    let file = other
        .store
        .layer_dir()
        .join(ids[0].as_str())
        .join("bin/app");
    assert_eq!(fs::read(file).expect("a file"), b"content");
    assert!(other.leftovers().is_empty());
}

#[test]
fn directories_and_compressed_archives_are_the_same() {
    let (bench, other) = (Bench::new(), Bench::new());
    let (path, digest) = saved(&bench, "app:1", "content");
    let dir = bench.dir.path().join("layout");
    fs::create_dir(&dir).expect("a directory");
    let status = Command::new("tar")
        .arg("-xf")
        .arg(&path)
        .arg("-C")
        .arg(&dir)
        .status();
    assert!(status.expect("tar").success());
    let loaded = load(&other.store, &dir, &options("from/dir")).expect("loaded");
    assert_eq!(loaded[0].manifest_digest, digest);
    let packed = bench.dir.path().join("packed.tar.gz");
    let file = fs::File::create(&packed).expect("a file");
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder
        .write_all(&fs::read(&path).expect("an archive"))
        .expect("written");
    encoder.finish().expect("written");
    let loaded = load(&other.store, &packed, &options("from/gzip")).expect("loaded");
    assert_eq!(loaded[0].manifest_digest, digest);
}

/// What `docker save` wrote for years: layers in directories, equal ones as links.
fn docker_archive(config_of: &[&[u8]], tags: &str) -> Vec<u8> {
    let ids: Vec<_> = config_of
        .iter()
        .map(|l| format!("\"{}\"", Digest::sha256_of(l)))
        .collect();
    let arch = Platform::linux_here().arch().to_owned();
    let config = format!(
        r#"{{"architecture":"{arch}","os":"linux","config":{{"Cmd":["/a"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    let config_name = format!("{}.json", Digest::sha256_of(config.as_bytes()).hex());
    let layers: Vec<_> = (0..config_of.len())
        .map(|i| format!("\"l{i}/layer.tar\""))
        .collect();
    let manifest = format!(
        r#"[{{"Config":"{config_name}","RepoTags":{tags},"Layers":[{}]}}]"#,
        layers.join(",")
    );
    let mut tape = Tape::new().file(&config_name, config.as_bytes());
    for (index, layer) in config_of.iter().enumerate() {
        let name = format!("l{index}/layer.tar");
        tape = match config_of[..index].iter().position(|known| known == layer) {
            Some(first) => tape.link(b'2', &name, Path::new(&format!("../l{first}/layer.tar"))),
            None => tape.dir(&format!("l{index}")).file(&name, layer),
        };
    }
    tape.file("manifest.json", manifest.as_bytes()).end()
}

fn write(bench: &Bench, content: &[u8]) -> PathBuf {
    let path = bench.dir.path().join("archive.tar");
    fs::write(&path, content).expect("a file");
    path
}

#[test]
fn archives_of_docker_save_are_loaded() {
    let bench = Bench::new();
    let (a, b) = (
        Tape::new().file("a", b"1").end(),
        Tape::new().file("b", b"2").end(),
    );
    let path = write(
        &bench,
        &docker_archive(&[&a, &b, &a], r#"["app:1","app:latest"]"#),
    );
    let loaded = load(&bench.store, &path, &LoadOptions::default()).expect("loaded");
    assert_eq!(loaded.len(), 2);
    assert_eq!(loaded[0].config.cmd, ["/a"]);
    assert_eq!(
        bench.store.unpack(&loaded[0]).expect("unpacked").len(),
        2,
        "one is there twice"
    );
    let unnamed = write(&bench, &docker_archive(&[&a], "null"));
    assert!(load(&bench.store, &unnamed, &LoadOptions::default()).is_err());
    load(&bench.store, &unnamed, &options("given")).expect("loaded");
}

#[test]
fn an_archive_takes_no_name_over() {
    let (bench, victim) = (Bench::new(), Bench::new());
    let (evil, _) = saved(&bench, "docker.io/library/x:latest", "evil");
    let (_, good) = saved(&victim, "x", "good");
    let before = victim.store.get(&name("x")).expect("there").manifest_digest;
    let result = load(&victim.store, &evil, &LoadOptions::default());
    assert!(
        matches!(result, Err(ImageError::TagTaken { .. })),
        "{result:?}"
    );
    assert_eq!(
        victim.store.get(&name("x")).expect("there").manifest_digest,
        before
    );
    assert_eq!(before, good);
    let asked = LoadOptions {
        replace: Replace::Yes,
        ..LoadOptions::default()
    };
    let loaded = load(&victim.store, &evil, &asked).expect("replaced");
    assert_ne!(loaded[0].manifest_digest, good);
}

fn oci(index: &[u8], blobs: &[(&Digest, &[u8])]) -> Vec<u8> {
    let mut tape = Tape::new()
        .file("oci-layout", b"{}")
        .file("index.json", index);
    for (digest, content) in blobs {
        tape = tape.file(&format!("blobs/sha256/{}", digest.hex()), content);
    }
    tape.end()
}

fn refused(bench: &Bench, what: &str, archive: &[u8]) -> String {
    let path = write(bench, archive);
    let error = load(&bench.store, &path, &options("victim")).expect_err(what);
    assert!(
        bench
            .store
            .resolve(&name("victim"))
            .expect("readable")
            .is_none(),
        "{what}"
    );
    assert!(
        bench.leftovers().is_empty(),
        "{what}: {:?}",
        bench.leftovers()
    );
    chain(&error)
}

fn layer() -> Vec<u8> {
    Tape::new().file("a", b"1").end()
}

fn config(arch: &str, diff_id: &Digest) -> String {
    format!(
        r#"{{"architecture":"{arch}","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    )
}

/// A layout of one image, whose one layer is described and served as told.
fn layout(config: &str, size: u64, served: &[u8]) -> Vec<u8> {
    let (layer, config_digest) = (
        Digest::sha256_of(&layer()),
        Digest::sha256_of(config.as_bytes()),
    );
    let config_size = config.len() as u64;
    let manifest = write_manifest(
        Descriptor::new(media::OCI_CONFIG, config_digest.clone(), config_size),
        vec![Descriptor::new(media::OCI_TAR, layer.clone(), size)],
    );
    let digest = Digest::sha256_of(&manifest);
    let manifest_size = manifest.len() as u64;
    let top = Descriptor::new(media::OCI_MANIFEST, digest.clone(), manifest_size);
    let config = config.as_bytes();
    let blobs = [
        (&digest, manifest.as_slice()),
        (&config_digest, config),
        (&layer, served),
    ];
    oci(&write_index(vec![top]), &blobs)
}

#[test]
fn layouts_with_other_content_are_refused() {
    let bench = Bench::new();
    let (layer, arch) = (layer(), Platform::linux_here().arch().to_owned());
    let (digest, size) = (Digest::sha256_of(&layer), layer.len() as u64);
    let good = config(&arch, &digest);
    let text = refused(
        &bench,
        "other bytes",
        &layout(&good, size, &vec![1; layer.len()]),
    );
    assert!(text.contains("digest"), "{text}");
    refused(&bench, "too large", &layout(&good, size - 1, &layer));
    refused(&bench, "too small", &layout(&good, size + 1, &layer));
    refused(&bench, "nothing", &layout(&good, size, b""));
    let foreign = layout(&config("s390x", &digest), size, &layer);
    let text = refused(&bench, "platform", &foreign);
    assert!(text.contains("s390x"), "{text}");
    // The good one still works, and a diff id that lies is found when it is unpacked.
    let path = write(&bench, &layout(&good, size, &layer));
    load(&bench.store, &path, &options("good")).expect("loaded");
    let lies = layout(&config(&arch, &Digest::sha256_of(b"other")), size, &layer);
    let image = load(&bench.store, write(&bench, &lies), &options("lies"));
    let image = &image.expect("documents agree")[0];
    assert!(matches!(
        bench.store.unpack(image),
        Err(ImageError::Layer(_))
    ));
}

fn blobs(bench: &Bench) -> Vec<String> {
    let dir = bench.store.path().join("blobs/sha256");
    let entries = fs::read_dir(dir).expect("a list").flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_a_failed_load_has_brought_goes_again_and_what_was_there_stays() {
    let bench = Bench::new();
    let (layer, arch) = (layer(), Platform::linux_here().arch().to_owned());
    let (digest, size) = (Digest::sha256_of(&layer), layer.len() as u64);
    let good = config(&arch, &digest);
    let bad = layout(&good, size, &vec![1; layer.len()]);
    refused(&bench, "other bytes", &bad);
    assert_eq!(blobs(&bench), Vec::<String>::new());
    let path = write(&bench, &layout(&good, size, &layer));
    load(&bench.store, &path, &options("good")).expect("loaded");
    let before = blobs(&bench);
    assert_eq!(before.len(), 3, "manifest, configuration, layer");
    refused(&bench, "too small", &layout(&good, size + 1, &layer));
    assert_eq!(blobs(&bench), before);

    let no_archive = bench.dir.path().join("no-archive");
    fs::write(&no_archive, vec![7; 100_000]).expect("written");
    let failed = import(
        &bench.store,
        &no_archive,
        &name("no/archive"),
        &ImportOptions::default(),
    );
    failed.expect_err("not an archive");
    assert_eq!(blobs(&bench), before);
    assert!(bench.leftovers().is_empty());
}

#[test]
fn layouts_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    let index = |digest: &str, size: u64| {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{digest}","size":{size}}}]}}"#,
            media::OCI_MANIFEST
        )
    };
    let capitals = format!("sha256:{}", "A".repeat(64));
    for digest in ["sha256:../../../canary/file", "sha256:", &capitals] {
        refused(&bench, digest, &oci(index(digest, 6).as_bytes(), &[]));
    }
    let lying = Digest::sha256_of(b"something else");
    let blobs = [(&lying, b"{}".as_slice())];
    refused(
        &bench,
        "manifest digest",
        &oci(index(lying.as_str(), 2).as_bytes(), &blobs),
    );
    refused(&bench, "no index", &oci(b"[]", &[]));
    refused(&bench, "neither", &Tape::new().file("x", b"").end());
    refused(&bench, "not an archive", b"hello");
    let twice = Tape::new()
        .file("index.json", b"{}")
        .file("index.json", b"{}")
        .end();
    assert!(refused(&bench, "two indexes", &twice).contains("two files"));
}

#[test]
fn indexes_that_never_end_are_refused() {
    let bench = Bench::new();
    let mut blobs: Vec<(Digest, Vec<u8>)> = Vec::new();
    let (mut digest, mut size) = (Digest::sha256_of(b"x"), 1);
    for _ in 0..10 {
        let index = write_index(vec![Descriptor::new(
            media::OCI_INDEX,
            digest.clone(),
            size,
        )]);
        (digest, size) = (Digest::sha256_of(&index), index.len() as u64);
        blobs.push((digest.clone(), index));
    }
    let top = write_index(vec![Descriptor::new(media::OCI_INDEX, digest, size)]);
    let blobs: Vec<_> = blobs.iter().map(|(d, c)| (d, c.as_slice())).collect();
    assert!(refused(&bench, "nested", &oci(&top, &blobs)).contains("nested"));
}

#[test]
fn names_in_docker_archives_stay_inside() {
    let bench = Bench::new();
    fs::write(bench.dir.path().join("secret"), "{}").expect("a file");
    for (config, layer) in [
        ("../secret", "l/layer.tar"),
        ("/etc/passwd", "x"),
        ("c", "../../x"),
    ] {
        let manifest =
            format!(r#"[{{"Config":"{config}","RepoTags":["a"],"Layers":["{layer}"]}}]"#);
        refused(
            &bench,
            config,
            &Tape::new().file("manifest.json", manifest.as_bytes()).end(),
        );
    }
    let out = Tape::new().link(b'2', "manifest.json", Path::new("../../../../etc/passwd"));
    refused(&bench, "link out", &out.end());
    let dir = bench.dir.path().join("layout");
    fs::create_dir(&dir).expect("a directory");
    symlink(bench.dir.path().join("secret"), dir.join("index.json")).expect("a link");
    assert!(load(&bench.store, &dir, &options("victim")).is_err());
}

#[test]
fn root_file_systems_are_imported() {
    let bench = Bench::new();
    let root = bench.dir.path().join("root");
    fs::create_dir_all(root.join("usr/bin")).expect("a directory");
    fs::write(root.join("usr/bin/app"), "app").expect("a file");
    fs::set_permissions(root.join("usr/bin/app"), fs::Permissions::from_mode(0o4755)).expect("set");
    fs::hard_link(root.join("usr/bin/app"), root.join("usr/bin/other")).expect("a link");
    symlink("usr/bin", root.join("bin")).expect("a link");
    let options = ImportOptions {
        changes: vec![
            r#"CMD ["/bin/app","x"]"#.to_owned(),
            r#"ENV A="b c" D=e"#.to_owned(),
            "ENV OLD style value".to_owned(),
            "EXPOSE 80 53/udp".to_owned(),
            "WORKDIR /usr".to_owned(),
            "USER 1000:1000".to_owned(),
            r#"VOLUME ["/data"]"#.to_owned(),
        ],
        ..ImportOptions::default()
    };
    let image = import(&bench.store, &root, &name("dir"), &options).expect("imported");
    let again = import(&bench.store, &root, &name("again"), &options).expect("imported");
    assert_eq!(image.manifest_digest, again.manifest_digest);
    assert_eq!(image.config.cmd, ["/bin/app", "x"]);
    assert_eq!(image.config.env[0], ("A".to_owned(), "b c".to_owned()));
    assert_eq!(
        image.config.env[2],
        ("OLD".to_owned(), "style value".to_owned())
    );
    assert_eq!(image.config.exposed_ports.len(), 2);
    let ids = bench.store.unpack(&image).expect("unpacked");
    let tree = bench.store.layer_dir().join(ids[0].as_str());
    let app = fs::metadata(tree.join("usr/bin/app")).expect("a file");
    assert_eq!((app.mode() & 0o7777, app.nlink()), (0o4755, 2));

    let tar = bench.dir.path().join("root.tar.gz");
    let status = Command::new("tar")
        .arg("-czf")
        .arg(&tar)
        .arg("-C")
        .arg(&root)
        .arg(".")
        .status();
    assert!(status.expect("tar").success());
    let packed = import(&bench.store, &tar, &name("tar"), &options).expect("imported");
    let ids = bench.store.unpack(&packed).expect("unpacked");
    let other = bench.store.layer_dir().join(ids[0].as_str()).join("bin");
    assert_eq!(fs::read_link(other).expect("a link").as_os_str(), "usr/bin");
    let bad = ImportOptions {
        changes: vec!["RUN rm".to_owned()],
        ..ImportOptions::default()
    };
    assert!(import(&bench.store, &tar, &name("x"), &bad).is_err());
    let text = bench.dir.path().join("text");
    fs::write(&text, "not an archive").expect("a file");
    assert!(import(&bench.store, &text, &name("x"), &ImportOptions::default()).is_err());
    assert!(bench.store.resolve(&name("x")).expect("readable").is_none());
}
