//! Packed images hold all their programs need: each runs with nothing else around it.

use std::path::Path;
use std::process::Command;

use unmoor_e2e::foreign::{self, Packed};
use unmoor_e2e::program::missing;
use unmoor_tools::skipped;

#[test]
fn packed_programs_run_alone_in_their_root_file_system() {
    let why = missing(&foreign::NEEDED).or_else(|| {
        foreign::postgres()
            .is_none()
            .then(|| "PostgreSQL is not installed".to_owned())
    });
    if let Some(why) = why {
        return skipped(&why);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let images = foreign::pack_all(directory.path()).expect("packs");
    let checks: [(&str, &[&str], &str); 6] = [
        (
            "foreign/redis:1",
            &["/usr/bin/redis-server", "--version"],
            "Redis server v=",
        ),
        (
            "foreign/redis:1",
            &["/usr/bin/redis-cli", "--version"],
            "redis-cli ",
        ),
        (
            "foreign/nginx:1",
            &["/usr/sbin/nginx", "-v"],
            "nginx version",
        ),
        (
            "foreign/app:1",
            &["/usr/bin/psql", "--version"],
            "psql (PostgreSQL)",
        ),
        (
            "foreign/postgres:1",
            &["/usr/bin/initdb", "--version"],
            "initdb (PostgreSQL)",
        ),
        (
            "foreign/postgres:1",
            &["/bin/sh", "-c", "setpriv --dump"],
            "uid: 0",
        ),
    ];
    for (name, command, said) in checks {
        let image = images
            .iter()
            .find(|image| image.name == name)
            .expect("an image");
        let root = unpacked(directory.path(), image);
        let output = Command::new("chroot")
            .arg(&root)
            .args(command)
            .env_clear()
            .env("PATH", "/usr/bin:/usr/sbin")
            .output()
            .expect("chroot starts");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(
            output.status.success() && text.contains(said),
            "{command:?}: {text}"
        );
    }
}

fn unpacked(directory: &Path, image: &Packed) -> std::path::PathBuf {
    let root = image.archive.with_extension("root");
    assert!(root.starts_with(directory));
    if !root.exists() {
        let file = std::fs::File::open(&image.archive).expect("an archive");
        tar::Archive::new(file).unpack(&root).expect("unpacks");
    }
    root
}

#[test]
fn the_same_programs_give_the_same_archive() {
    if let Some(why) = missing(&foreign::NEEDED) {
        return skipped(&why);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let archive = |name: &str| {
        let path = directory.path().join(name);
        unmoor_e2e::pack::Rootfs::new()
            .busybox(&["sh"])
            .and_then(|rootfs| rootfs.write(&path))
            .expect("packs");
        std::fs::read(path).expect("an archive")
    };
    assert!(archive("one") == archive("two"), "two packs differ");
}
