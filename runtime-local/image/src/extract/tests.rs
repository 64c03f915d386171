//! Layers made to break out, to confuse or to exhaust; the canary must not notice.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::testing::{Bench, Raw, Tape, chain, is_root};
use crate::{ImageError, Limits};

/// Unpacks hostile layers: either refused with layer and entry, or contained.
fn harmless(bench: &Bench, what: &str, layers: &[Vec<u8>]) -> Option<String> {
    let before = bench.canary_state();
    let result = bench.unpack(layers);
    assert_eq!(before, bench.canary_state(), "{what}: the canary changed");
    assert!(
        bench.leftovers().is_empty(),
        "{what}: left {:?}",
        bench.leftovers()
    );
    match result {
        Ok(_) => None,
        Err(ImageError::Layer(error)) => Some(chain(&error)),
        Err(other) => panic!("{what}: {}", chain(&other)),
    }
}

fn refused(bench: &Bench, what: &str, layers: &[Vec<u8>]) -> String {
    let text = harmless(bench, what, layers).unwrap_or_else(|| panic!("{what}: accepted"));
    assert!(text.contains("sha256:"), "{what}: no digest in \"{text}\"");
    text
}

/// No name in a tree has one of the canary's inodes.
fn shares_nothing(bench: &Bench, dir: &Path) {
    let canary: Vec<u64> = ["file", "dir/inner", "setuid"]
        .iter()
        .map(|n| ino(&bench.canary().join(n)))
        .collect();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        assert!(
            !canary.contains(&ino(&path)),
            "{} is the canary's",
            path.display()
        );
        if fs::symlink_metadata(&path).expect("there").is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .expect("a list")
                    .map(|e| e.expect("one").path()),
            );
        }
    }
}

fn ino(path: &Path) -> u64 {
    fs::symlink_metadata(path).expect("there").ino()
}

#[test]
fn the_root_cannot_become_a_link() {
    let bench = Bench::new();
    for root in [".", "/.", "/", "./", "//.//"] {
        let first = Tape::new().link(b'2', root, &bench.canary()).end();
        let second = Tape::new().file("file", b"evil").end();
        refused(&bench, root, &[first, second]);
        for flag in *b"01346" {
            let raw = Raw {
                link: b"x",
                ..Raw::new(root.as_bytes(), flag)
            };
            harmless(&bench, root, &[Tape::new().raw(&raw, b"").end()]);
        }
    }
}

#[test]
fn no_name_leads_outside() {
    let bench = Bench::new();
    let absolute = format!("{}/file", bench.canary().display());
    let up = "../".repeat(20);
    for name in [
        &format!("{up}{absolute}"),
        "a/../../x",
        "..",
        "a/..",
        &format!("a/{up}etc/x"),
    ] {
        let text = refused(&bench, name, &[Tape::new().file(name, b"evil").end()]);
        assert!(text.contains(".."), "{text}");
    }
    // An absolute name means a place in the image.
    let dirs = bench.unpack(&[Tape::new()
        .pax(&[(b"path", absolute.as_bytes())])
        .file("x", b"in")
        .end()]);
    let inside = dirs.expect("unpacked")[0].join(absolute.trim_start_matches('/'));
    assert_eq!(fs::read(inside).expect("a file"), b"in");
}

#[test]
fn links_resolve_inside_the_tree() {
    let bench = Bench::new();
    let through = Tape::new()
        .link(b'2', "d", &bench.canary())
        .file("d/file", b"evil")
        .end();
    refused(&bench, "file through a link", &[through]);
    let lower = Tape::new().link(b'2', "d", &bench.canary()).end();
    let upper = Tape::new().file("d/file", b"evil").end();
    assert_eq!(
        harmless(&bench, "link in the layer below", &[lower, upper]),
        None
    );
    let up = Tape::new()
        .link(b'2', "d", Path::new("../../../../.."))
        .file("d/made", b"in")
        .end();
    let dirs = bench.unpack(&[up]).expect("unpacked");
    assert_eq!(
        fs::read(dirs[0].join("made")).expect("in the root of the tree"),
        b"in"
    );
    let circle = Tape::new()
        .link(b'2', "a", Path::new("b"))
        .link(b'2', "b", Path::new("a"));
    refused(&bench, "circle", &[circle.file("a/x", b"").end()]);
    let magic = Tape::new().link(b'2', "p", Path::new("/proc/self/root"));
    refused(&bench, "proc", &[magic.file("p/tmp/x", b"").end()]);
}

#[test]
fn hard_links_stay_inside() {
    let bench = Bench::new();
    let d = || Tape::new().link(b'2', "d", &bench.canary());
    let h = |tape: Tape, target: &str| tape.link(b'1', "h", Path::new(target));
    let rewrite = Raw {
        mode: 0o4755,
        size: 4,
        ..Raw::new(b"h", b'0')
    };
    for (what, tape) in [
        ("through a link", h(d(), "d/file")),
        ("by dots", h(Tape::new(), "../../../canary/file")),
        (
            "absolute",
            h(Tape::new(), &format!("{}/file", bench.canary().display())),
        ),
        ("to nothing", h(Tape::new(), "absent")),
        ("to a directory", h(Tape::new().dir("x"), "x")),
        ("to the root", h(Tape::new(), ".")),
        ("to a whiteout", h(Tape::new().file(".wh.x", b""), "x")),
        (
            "to a whiteout's name",
            h(Tape::new().file(".wh.x", b""), ".wh.x"),
        ),
    ] {
        refused(&bench, what, &[tape.raw(&rewrite, b"evil").end()]);
    }
    // A link to a link is one to the link itself; writing the name again replaces it.
    let tape = h(d(), "d").raw(&rewrite, b"evil").end();
    let dirs = bench.unpack(&[tape]).expect("unpacked");
    assert_eq!(fs::read(dirs[0].join("h")).expect("a file"), b"evil");
    shares_nothing(&bench, &dirs[0]);
}

#[test]
fn writing_a_linked_name_again_leaves_the_other_name() {
    let bench = Bench::new();
    let tape = Tape::new()
        .file("a", b"first")
        .link(b'1', "b", Path::new("a"))
        .file("b", b"new");
    let dirs = bench.unpack(&[tape.end()]).expect("unpacked");
    assert_eq!(fs::read(dirs[0].join("a")).expect("a"), b"first");
    assert_eq!(fs::read(dirs[0].join("b")).expect("b"), b"new");
    let same = Tape::new()
        .file("a", b"x")
        .link(b'1', "a", Path::new("a"))
        .end();
    let dirs = bench.unpack(&[same]).expect("unpacked");
    assert_eq!(fs::read(dirs[0].join("a")).expect("a"), b"x");
}

#[test]
fn late_metadata_does_not_follow_a_link() {
    let bench = Bench::new();
    let first = Raw {
        mode: 0o700,
        mtime: 7,
        ..Raw::new(b"d", b'5')
    };
    let again = Raw {
        mode: 0o777,
        uid: 12345,
        ..Raw::new(b"d", b'5')
    };
    let target = bench.canary().join("dir");
    let tape = |last: bool| {
        let tape = Tape::new().raw(&first, b"").link(b'2', "d", &target);
        if last {
            tape.raw(&again, b"").end()
        } else {
            tape.end()
        }
    };
    assert_eq!(harmless(&bench, "replaced", &[tape(false)]), None);
    let dirs = bench.unpack(&[tape(true)]).expect("unpacked");
    let d = fs::symlink_metadata(dirs[0].join("d")).expect("there");
    assert!(d.is_dir() && d.mode() & 0o7777 == 0o777 && d.mtime() == 0);
    assert!(!is_root() || d.uid() == 12345);
    harmless(&bench, "again", &[tape(true), tape(false), tape(true)]);
}

#[test]
fn whiteouts_reach_only_the_layers_below() {
    let bench = Bench::new();
    let d = || Tape::new().link(b'2', "d", &bench.canary());
    refused(
        &bench,
        "through a link",
        &[d().file("d/.wh.file", b"").end()],
    );
    refused(
        &bench,
        "opaque through a link",
        &[d().file("d/.wh..wh..opq", b"").end()],
    );
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.", "a/.wh...", ".wh.x/y"] {
        refused(&bench, name, &[Tape::new().file(name, b"").end()]);
    }
    let as_dir = Tape::new().dir(".wh.x").end();
    refused(&bench, "a directory", &[as_dir]);
    let reserved = Tape::new()
        .dir(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", b"")
        .end();
    let dirs = bench.unpack(&[reserved]).expect("unpacked");
    assert_eq!(fs::read_dir(&dirs[0]).expect("a list").count(), 0);
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    let bench = Bench::new();
    let tape = Tape::new()
        .dir("a")
        .file("a/kept", b"kept")
        .file("a/.wh..wh..opq", b"")
        .file("a/.wh.kept", b"")
        .file("a/.wh.gone", b"")
        .file(".wh.dir", b"")
        .dir("dir")
        .file("dir/new", b"")
        .file("implicit/.wh.x", b"")
        .file(".wh.over", b"")
        .file("over/deep/y", b"")
        .end();
    let dirs = bench.unpack(&[tape]).expect("unpacked");
    let root = &dirs[0];
    let is_whiteout = |name: &str| {
        let m = fs::symlink_metadata(root.join(name)).expect("there");
        m.file_type().is_char_device() && m.rdev() == 0
    };
    assert_eq!(
        fs::read(root.join("a/kept")).expect("the same layer's"),
        b"kept"
    );
    assert!(is_whiteout("a/gone") && is_whiteout("implicit/x"));
    for (name, expected) in [
        ("a", true),
        ("dir", true),
        ("over", true),
        ("implicit", false),
    ] {
        let dir = fs::File::open(root.join(name)).expect("a directory");
        let mut value = [0_u8; 4];
        let opaque = rustix::fs::fgetxattr(&dir, "user.overlay.opaque", &mut value);
        assert_eq!(
            opaque.is_ok_and(|length| value[..length] == *b"y"),
            expected,
            "{name}"
        );
    }
}

#[test]
fn an_opaque_root_hides_the_layers_below() {
    let bench = Bench::new();
    let lower = Tape::new().file("old", b"").end();
    let upper = Tape::new().file(".wh..wh..opq", b"").file("new", b"").end();
    let dirs = bench
        .unpack(&[lower.clone(), upper.clone(), lower])
        .expect("unpacked");
    assert_eq!(
        dirs.len(),
        2,
        "only what is above the opaque root, each once"
    );
    assert!(dirs[0].join("new").exists());
}

#[test]
fn overlay_metadata_cannot_be_forged() {
    let bench = Bench::new();
    let keys: [&[u8]; 5] = [
        b"SCHILY.xattr.trusted.overlay.redirect",
        b"SCHILY.xattr.user.overlay.redirect",
        b"SCHILY.xattr.user.overlay.opaque",
        b"SCHILY.xattr.security.selinux",
        b"SCHILY.xattr.system.posix_acl_access",
    ];
    let mut tape = Tape::new();
    for (key, name) in keys.iter().zip(["a", "b", "c", "d", "e"]) {
        tape = tape
            .pax(&[(key, b"/../x"), (b"SCHILY.xattr.user.mine", b"1")])
            .dir(name);
    }
    let device = Raw::new(b"etc", b'3');
    let image = bench
        .image(&[tape.raw(&device, b"").end()])
        .expect("an image");
    let layers = bench.store.unpack(&image).expect("unpacked");
    let root = bench.store.layer_dir().join(layers[0].as_str());
    assert!(!root.join("etc").exists(), "a forged whiteout");
    for name in ["a", "b", "c", "d", "e"] {
        let dir = fs::File::open(root.join(name)).expect("a directory");
        let mut names = [0_u8; 512];
        let length = rustix::fs::flistxattr(&dir, names.as_mut_slice()).expect("a list");
        assert_eq!(names[..length], *b"user.mine\0", "{name}");
    }
    let notes = bench.store.notes(&image).join("\n");
    assert!(
        notes.contains("trusted.overlay.redirect") && notes.contains("device node"),
        "{notes}"
    );
}

#[test]
fn devices_are_left_out_and_pipes_are_made() {
    let bench = Bench::new();
    let mut tape = Tape::new();
    for (name, flag) in [(b"block", b'4'), (b"chara", b'3'), (b"pipes", b'6')] {
        tape = tape.raw(
            &Raw {
                mode: 0o640,
                ..Raw::new(name, flag)
            },
            b"",
        );
    }
    let dirs = bench.unpack(&[tape.end()]).expect("unpacked");
    assert!(!dirs[0].join("block").exists() && !dirs[0].join("chara").exists());
    let pipe = fs::symlink_metadata(dirs[0].join("pipes")).expect("a pipe");
    assert!(pipe.file_type().is_fifo() && pipe.mode() & 0o7777 == 0o640);
}

#[test]
fn what_a_layer_replaces_is_gone() {
    let bench = Bench::new();
    let tape = Tape::new()
        .dir("x")
        .file("x/a", b"")
        .dir("x/deep")
        .file("x/deep/b", b"")
        .file("x", b"now a file")
        .file("y", b"")
        .dir("y")
        .file("y/c", b"in")
        .link(b'2', "z", Path::new("y"))
        .file("z/through", b"")
        .dir("z")
        .file("z/own", b"")
        .end();
    let dirs = bench.unpack(&[tape]).expect("unpacked");
    assert_eq!(fs::read(dirs[0].join("x")).expect("a file"), b"now a file");
    assert!(dirs[0].join("y/through").exists() && !dirs[0].join("y/own").exists());
    assert!(dirs[0].join("z/own").exists() && !dirs[0].join("z").is_symlink());
    assert!(bench.leftovers().is_empty());
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn bombs_stop_at_a_limit() {
    let limits = Limits {
        layer_bytes: 64 << 20,
        layer_entries: 1000,
        layer_directories: 100,
        ratio_from: 1 << 20,
        ..Limits::default()
    };
    let bench = Bench::with(limits);
    let started = Instant::now();
    let zeroes = Tape::new().file("zeroes", &vec![0; 8 << 20]).end();
    assert!(refused(&bench, "ratio", &[gzip(&zeroes)]).contains("times"));
    let big = Raw {
        size: 65 << 20,
        ..Raw::new(b"big", b'0')
    };
    let big = Tape::new().raw(&big, &vec![7; 65 << 20]).end();
    assert!(refused(&bench, "bytes", &[big]).contains("bytes"));
    let mut many = Tape::new();
    for index in 0..1001 {
        many = many.file(&index.to_string(), b"");
    }
    assert!(refused(&bench, "entries", &[many.end()]).contains("entries"));
    let mut dirs = Tape::new();
    for index in 0..60 {
        dirs = dirs.file(&format!("{index}/a/b"), b"");
    }
    assert!(refused(&bench, "implicit directories", &[dirs.end()]).contains("directories"));
    let long = vec![b'a'; 1 << 19];
    refused(
        &bench,
        "long path",
        &[Tape::new().pax(&[(b"path", &long)]).file("x", b"").end()],
    );
    let long = vec![b'a'; 2 << 20];
    refused(
        &bench,
        "huge header",
        &[Tape::new().pax(&[(b"path", &long)]).file("x", b"").end()],
    );
    let deep = b"a/".repeat(1000);
    refused(
        &bench,
        "deep",
        &[Tape::new()
            .pax(&[(b"path", &[&deep[..], b"x"].concat())])
            .file("x", b"")
            .end()],
    );
    let sparse = Tape::new().raw(&Raw::new(b"s", b'S'), b"").end();
    refused(&bench, "sparse", &[sparse]);
    let members = gzip(b"").repeat(100_000);
    harmless(&bench, "empty members", &[members]);
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "took {:?}",
        started.elapsed()
    );
}

#[test]
fn a_large_zstd_window_is_refused() {
    let bench = Bench::new();
    let zstd = |window: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, window][..], &[1, 0, 0]].concat();
    let text = refused(&bench, "2 GiB window", &[zstd((31 - 10) << 3)]);
    assert!(
        text.contains("memory") || text.contains("damaged"),
        "{text}"
    );
    let small = harmless(&bench, "1 KiB window", &[zstd(0)]).unwrap_or_default();
    assert!(!small.contains("memory"), "{small}");
}

#[test]
fn damaged_streams_end_with_an_error() {
    let bench = Bench::new();
    let good = gzip(&Tape::new().file("a", &[5; 5000]).end());
    let mut trailer = good.clone();
    *trailer.last_mut().expect("bytes") ^= 1;
    for (what, layer) in [
        ("trailer", trailer),
        ("cut", good[..good.len() / 2].to_vec()),
        ("cut before the trailer", good[..good.len() - 8].to_vec()),
        ("garbage after it", [&good[..], b"garbage"].concat()),
        ("not an archive", b"hello".repeat(200)),
        (
            "half a header",
            Tape::new().file("a", b"x").0[..700].to_vec(),
        ),
        (
            "half a file",
            Tape::new().file("a", &[1; 2000]).0[..1500].to_vec(),
        ),
    ] {
        refused(&bench, what, &[layer]);
    }
    // Archives without an end mark are common and unambiguous.
    let open_end = Tape::new().file("a", b"x").0;
    assert_eq!(harmless(&bench, "no end mark", &[open_end]), None);
    let again = Tape::new().file("good", b"").end();
    assert_eq!(harmless(&bench, "a good one afterwards", &[again]), None);
}

#[test]
fn unpacked_content_is_what_the_configuration_says() {
    let bench = Bench::new();
    let text = refused(
        &bench,
        "diff id",
        &[gzip(&Tape::new().file("a", b"x").end())],
    );
    assert!(text.contains("unpacked content"), "{text}");
}

#[test]
fn a_tree_deeper_than_any_path_can_be_replaced() {
    let bench = Bench::new();
    // Each link goes to the bottom reached so far, so that depth grows beyond the limit of a path.
    let mut tape = Tape::new();
    let part = ["d"; 100].join("/");
    let mut top = "x".to_owned();
    for round in 0..20 {
        tape = tape
            .dir(&top)
            .pax(&[(b"path", format!("{top}/{part}").as_bytes())])
            .dir("d");
        let link = format!("l{round}");
        let target = format!("{top}/{part}");
        tape = tape.link(b'2', &link, Path::new(&target));
        top = format!("{link}/x");
    }
    let tape = tape.file("x", b"flat").end();
    let dirs = bench.unpack(&[tape]).expect("unpacked");
    assert_eq!(fs::read(dirs[0].join("x")).expect("a file"), b"flat");
    assert!(bench.leftovers().is_empty());
}
