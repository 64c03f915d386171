//! The store under many users, kill -9, damage and cleaning.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use unmoor_core::image::Digest;

use super::{InUse, LayerId, Prune, Replace, Store};
use crate::manifest::{Descriptor, media};
use crate::testing::{Bench, Tape, is_root, name};
use crate::{ImageBuilder, ImageError};

fn nothing() -> Result<InUse, ImageError> {
    Ok(InUse::default())
}

fn tree(text: &str) -> Vec<u8> {
    Tape::new().file("file", text.as_bytes()).end()
}

#[test]
fn layer_ids_are_short_and_differ() {
    let a = LayerId::of(&Digest::sha256_of(b"a"));
    assert_eq!(a.as_str().len(), 26);
    assert_ne!(a, LayerId::of(&Digest::sha256_of(b"b")));
    assert_eq!(LayerId::parse(a.as_str()), Some(a));
    for text in [
        "",
        "../../../../../../../../etc",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "a",
    ] {
        assert_eq!(LayerId::parse(text), None);
    }
    // The first 130 bits, written out by hand for a digest of zeroes and ones.
    let zero = Digest::from_sha256([0; 32]);
    assert_eq!(LayerId::of(&zero).as_str(), "a".repeat(26));
    assert_eq!(
        LayerId::of(&Digest::from_sha256([0xff; 32])).as_str(),
        "7".repeat(26)
    );
}

#[test]
fn wrong_content_is_never_stored() {
    let bench = Bench::new();
    let good = b"content".as_slice();
    let wanted = |digest: Digest, size| Descriptor::new(media::OCI_TAR, digest, size);
    let right = Digest::sha256_of(good);
    for (what, descriptor) in [
        ("digest", wanted(Digest::sha256_of(b"other"), 7)),
        ("too long", wanted(right.clone(), 6)),
        ("too short", wanted(right.clone(), 8)),
        ("sha512", wanted(Digest::from_sha512([1; 64]), 7)),
    ] {
        let mut incoming = bench
            .store
            .incoming(&descriptor)
            .expect(what)
            .expect("absent");
        let result = incoming
            .write_from(&mut &good[..])
            .and_then(|()| incoming.commit());
        assert!(result.is_err(), "{what} was stored");
        assert!(
            !bench.store.has_blob(&descriptor.digest, descriptor.size),
            "{what}"
        );
        assert!(
            bench.leftovers().is_empty(),
            "{what}: {:?}",
            bench.leftovers()
        );
    }
    let descriptor = wanted(right, 7);
    let mut incoming = bench
        .store
        .incoming(&descriptor)
        .expect("free")
        .expect("absent");
    incoming.write(&good[..3]).expect("taken");
    drop(incoming);
    let mut incoming = bench
        .store
        .incoming(&descriptor)
        .expect("free")
        .expect("absent");
    assert_eq!(incoming.received(), 3, "resumed");
    incoming.write(&good[3..]).expect("taken");
    incoming.commit().expect("stored");
    assert!(bench.store.incoming(&descriptor).expect("free").is_none());
}

#[test]
fn an_endless_body_stops_after_one_byte_too_many() {
    let bench = Bench::new();
    let descriptor = Descriptor::new(media::OCI_TAR, Digest::sha256_of(b""), 1000);
    let mut incoming = bench
        .store
        .incoming(&descriptor)
        .expect("free")
        .expect("absent");
    let result = incoming.write_from(&mut std::io::repeat(0));
    assert!(
        matches!(result, Err(ImageError::SizeMismatch { wanted: 1000, .. })),
        "{result:?}"
    );
}

#[test]
fn many_at_once_receive_and_unpack_once() {
    let bench = Bench::new();
    let blob = tree("shared");
    let descriptor = Descriptor::new(media::OCI_TAR, Digest::sha256_of(&blob), blob.len() as u64);
    let barrier = Barrier::new(8);
    let received: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    // A store of its own, as another process would have.
                    let store = Store::open(bench.store.path()).expect("a store");
                    barrier.wait();
                    let mine = store
                        .incoming(&descriptor)
                        .expect("free")
                        .map(|mut incoming| {
                            incoming.write_from(&mut blob.as_slice()).expect("taken");
                            incoming.commit().expect("stored");
                        });
                    let image = ImageBuilder::new()
                        .file("/same", "same", 0o644)
                        .build(&store, &name("same"))
                        .expect("built");
                    store.unpack(&image).expect("unpacked");
                    usize::from(mine.is_some())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("a result"))
            .sum()
    });
    assert_eq!(received, 1);
    assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
}

#[test]
fn names_move_only_when_allowed() {
    let bench = Bench::new();
    let build = |text: &str, tag: &str| {
        ImageBuilder::new()
            .file("/f", text, 0o644)
            .build(&bench.store, &name(tag))
            .expect("built")
    };
    let (one, two) = (build("1", "one"), build("2", "two"));
    let taken = bench.store.tag(&two, &name("one"), Replace::No);
    assert!(
        matches!(taken, Err(ImageError::TagTaken { .. })),
        "{taken:?}"
    );
    assert_eq!(
        bench
            .store
            .get(&name("one"))
            .expect("there")
            .manifest_digest,
        one.manifest_digest
    );
    bench
        .store
        .tag(&one, &name("one"), Replace::No)
        .expect("the same image");
    bench
        .store
        .tag(&two, &name("one"), Replace::Yes)
        .expect("moved");
    assert_eq!(
        bench
            .store
            .get(&name("one"))
            .expect("there")
            .manifest_digest,
        two.manifest_digest
    );
    let pinned = name("two").with_digest(two.manifest_digest.clone());
    assert!(bench.store.resolve(&pinned).expect("readable").is_some());
    let elsewhere = name("other.example/two").with_digest(two.manifest_digest.clone());
    assert!(
        bench.store.resolve(&elsewhere).expect("readable").is_none(),
        "another repository"
    );
    assert_eq!(bench.store.images().expect("a list").images.len(), 2);
    assert!(bench.store.remove(&name("two")).expect("removed"));
    assert!(!bench.store.remove(&name("two")).expect("gone already"));
    assert!(matches!(
        bench.store.get(&name("two")),
        Err(ImageError::NotFound(_))
    ));
}

#[test]
fn pruning_keeps_what_is_named_or_used() {
    let bench = Bench::new();
    let build = |tag: &str| {
        let image = ImageBuilder::new()
            .file("/f", tag, 0o644)
            .build(&bench.store, &name(tag));
        let image = image.expect("built");
        bench.store.unpack(&image).expect("unpacked");
        image
    };
    let (named, used, gone) = (build("named"), build("used"), build("gone"));
    for image in [&used, &gone] {
        bench.store.remove(&image.reference).expect("removed");
    }
    let in_use = || {
        let layers = used.layers.iter().cloned().collect();
        Ok(InUse {
            layers,
            manifests: [used.manifest_digest.clone()].into(),
        })
    };
    let failed = bench.store.prune(Prune::Unused, || {
        Err(ImageError::Build("no list".to_owned()))
    });
    assert!(failed.is_err());
    let pruned = bench.store.prune(Prune::Unnamed, in_use).expect("pruned");
    assert_eq!((pruned.names, pruned.blobs, pruned.layers), (0, 3, 1));
    assert!(bench.store.is_unpacked(&named) && bench.store.is_unpacked(&used));
    assert!(!bench.store.is_unpacked(&gone));
    bench
        .store
        .tag(&used, &name("again"), Replace::No)
        .expect("everything of it is there");
    let pruned = bench.store.prune(Prune::Unused, in_use).expect("pruned");
    assert_eq!((pruned.names, pruned.blobs, pruned.layers), (1, 3, 1));
    bench.store.remove(&name("again")).expect("removed");
    bench.store.prune(Prune::Unnamed, nothing).expect("pruned");
    let left: Vec<_> = walk(bench.store.path())
        .into_iter()
        .filter(|p| !p.is_dir())
        .collect();
    let names: Vec<_> = left
        .iter()
        .filter_map(|p| p.file_name()?.to_str())
        .collect();
    assert!(
        names
            .iter()
            .all(|n| ["version", "store", "refs"].contains(n)),
        "{names:?}"
    );
}

fn walk(path: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("a list") {
            found.extend(walk(&entry.expect("an entry").path()));
        }
    }
    found
}

#[test]
fn a_hold_makes_a_prune_wait() {
    let bench = Bench::new();
    let hold = bench.store.hold().expect("held");
    let alone = bench.store.alone(Duration::from_millis(20));
    assert!(matches!(alone, Err(ImageError::Busy { .. })), "{alone:?}");
    drop(hold);
    bench.store.alone(Duration::from_millis(20)).expect("free");
}

#[test]
fn damage_is_found_and_repaired_by_loading_again() {
    let bench = Bench::new();
    let image = bench.image(&[tree("precious")]).expect("an image");
    let blob = bench.store.blob_path(&image.layer_descriptors[0].digest);
    let content = fs::read(&blob).expect("a blob");
    let mut damaged = content.clone();
    // In a header: found by the archive reader before any digest is complete.
    damaged[10] ^= 1;
    fs::write(&blob, &damaged).expect("written");
    assert!(matches!(
        bench.store.unpack(&image),
        Err(ImageError::Layer(_))
    ));
    assert!(!blob.exists(), "a damaged blob makes room");
    assert!(matches!(
        bench.store.unpack(&image),
        Err(ImageError::BlobMissing { .. })
    ));
    bench.image(&[tree("precious")]).expect("stored again");
    bench.store.unpack(&image).expect("unpacked");
    fs::write(bench.store.blob_path(&image.config_digest), b"{}").expect("written");
    assert!(matches!(
        bench.store.get(&name("hostile")),
        Err(ImageError::DigestMismatch { .. })
    ));
    assert_eq!(bench.store.images().expect("a list").unreadable.len(), 1);
}

#[test]
fn a_layer_of_another_boot_is_trusted_only_when_settled() {
    let bench = Bench::new();
    let image = bench.image(&[tree("settled")]).expect("an image");
    bench.store.unpack(&image).expect("unpacked");
    let meta = bench.store.meta_path(&image.layers[0]);
    let file = bench
        .store
        .layer_dir()
        .join(image.layers[0].as_str())
        .join("file");
    let later_boot = || {
        let text = fs::read_to_string(&meta).expect("a description");
        fs::write(&meta, text.replace(&bench.store.inner.boot, "another")).expect("written");
    };
    fs::write(&file, "lost in a power failure").expect("written");
    later_boot();
    assert!(!bench.store.is_unpacked(&image));
    bench.store.unpack(&image).expect("unpacked again");
    assert_eq!(fs::read(&file).expect("a file"), b"settled");
    bench.store.settle().expect("settled");
    later_boot();
    assert!(bench.store.is_unpacked(&image));
}

#[test]
fn the_store_is_closed_to_other_users() {
    let bench = Bench::new();
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(bench.store.path()), 0o700);
    fs::set_permissions(bench.store.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    Store::open(bench.store.path()).expect("opened again");
    assert_eq!(mode(bench.store.path()), 0o700);
    if !is_root() {
        eprintln!("skipped in part: becoming another user needs root");
        return;
    }
    fs::set_permissions(bench.dir.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    let layers = bench.store.layer_dir();
    let output = Command::new("ls")
        .arg(&layers)
        .uid(1000)
        .gid(1000)
        .output()
        .expect("ls");
    assert!(
        !output.status.success(),
        "another user can list {}",
        layers.display()
    );
}

/// The part of the test below that is killed; it does nothing in an ordinary run.
#[test]
fn child_that_unpacks() {
    let Some(path) = std::env::var_os("UNMOOR_TEST_STORE") else {
        return;
    };
    let store = Store::open(path).expect("a store");
    let image = store.get(&name("hostile")).expect("an image");
    store.unpack(&image).expect("unpacked");
}

#[test]
fn a_killed_unpack_leaves_nothing_that_counts() {
    let bench = Bench::new();
    let mut tape = Tape::new();
    for index in 0..20_000 {
        tape = tape.file(&format!("dir{}/{index}", index % 100), &[7; 2000]);
    }
    let image = bench.image(&[tape.end()]).expect("an image");
    let mut killed = 0;
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "store::tests::child_that_unpacks"])
            .env("UNMOOR_TEST_STORE", bench.store.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("a child");
        let deadline = Instant::now() + Duration::from_secs(30);
        let started = || {
            let tmp = fs::read_dir(bench.store.path().join("tmp")).expect("a list");
            tmp.flatten()
                .any(|e| e.path().join(format!("dir{}", round * 20)).exists())
        };
        while !started() && Instant::now() < deadline {
            assert!(
                child.try_wait().expect("alive").is_none(),
                "ended before it could be killed"
            );
            thread::yield_now();
        }
        child.kill().expect("killed");
        killed += usize::from(!child.wait().expect("gone").success());
        assert!(
            !bench.store.is_unpacked(&image),
            "half a layer counts as whole"
        );
        let remains = fs::read_dir(bench.store.path().join("tmp"))
            .expect("a list")
            .count();
        assert!(remains > 0);
        bench
            .store
            .prune(Prune::Unnamed, nothing)
            .expect("nobody holds a lock");
        assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
    }
    assert_eq!(killed, 5);
    bench.store.unpack(&image).expect("unpacked");
    let root = bench.store.layer_dir().join(image.layers[0].as_str());
    let mut content = Vec::new();
    fs::File::open(root.join("dir99/19999"))
        .expect("a file")
        .read_to_end(&mut content)
        .expect("read");
    assert_eq!(content, [7; 2000]);
}
