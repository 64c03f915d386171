//! Users by name and number; and hostile user databases.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, XattrFlags, makedev, mknodat};
use tempfile::TempDir;

use super::{RootfsUser, UserError, rootfs_user};
use crate::testing::{Bench, Tape};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    # a comment\nbroken\nweb:x:1000:1001:Web:/home/web:/bin/sh\nweb:x:0:0::/root:/bin/sh\n\
    1:x:0:0::/:/bin/sh\nbig:x:4294967296:1::/:\nbad:x:zero:0::/:\n";
const GROUP: &str =
    "root:x:0:\nweb:x:1001:\nadm:x:4:web,other\nvideo:x:44:other,web\nbad:x:x:web\n";

struct Rootfs(TempDir);

impl Rootfs {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for layer in ["top", "middle", "bottom"] {
            fs::create_dir(dir.path().join(layer)).expect("a directory");
        }
        Self(dir)
    }

    fn put(&self, path: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, content).expect("a file");
        path
    }

    fn find(&self, spec: &str) -> Result<RootfsUser, UserError> {
        let open = |layer: &str| {
            let path = self.0.path().join(layer);
            OwnedFd::from(fs::File::open(path).expect("a directory"))
        };
        rootfs_user(&[open("top"), open("middle"), open("bottom")], spec)
    }
}

fn usual() -> Rootfs {
    let rootfs = Rootfs::new();
    rootfs.put("bottom/etc/passwd", PASSWD);
    rootfs.put("bottom/etc/group", GROUP);
    rootfs
}

#[test]
fn names_and_numbers_are_exact() {
    let rootfs = usual();
    let ids = |spec: &str| {
        let user = rootfs.find(spec).unwrap_or_else(|e| panic!("{spec}: {e}"));
        (user.uid, user.gid, user.groups)
    };
    assert_eq!(ids(""), (0, 0, vec![]));
    assert_eq!(ids("root"), (0, 0, vec![]));
    assert_eq!(ids("root:0"), (0, 0, vec![]));
    assert_eq!(ids("web"), (1000, 1001, vec![4, 44]));
    assert_eq!(ids("web:"), (1000, 1001, vec![4, 44]));
    assert_eq!(ids("web:adm"), (1000, 4, vec![]));
    assert_eq!(ids("1000"), (1000, 1001, vec![4, 44]));
    assert_eq!(ids("1000:7"), (1000, 7, vec![]));
    assert_eq!(ids("1"), (1, 0, vec![]), "a number is never a name");
    assert_eq!(
        ids("2147483647:2147483647"),
        (2_147_483_647, 2_147_483_647, vec![])
    );
    assert_eq!(
        rootfs.find("web").expect("there").home.as_deref(),
        Some("/home/web")
    );
}

#[test]
fn nothing_odd_becomes_root() {
    let rootfs = usual();
    let long = "u".repeat(32 << 10);
    for spec in [
        "4294967296",
        "4294967295",
        "2147483648",
        "-1",
        "+1",
        "18446744073709551616",
        "0x0",
        ":0",
        ":1000",
        ":",
        "nobody",
        "web:nogroup",
        "web:-1",
        "web:4294967296",
        "web:adm:x",
        "big",
        "bad",
        "web:bad",
        "a\0b",
        "web\n",
        "1000:0x0",
        &long,
    ] {
        let result = rootfs.find(spec);
        assert!(result.is_err(), "{} became {result:?}", spec.escape_debug());
        assert!(result.expect_err("refused").to_string().len() < 800);
    }
}

#[test]
fn without_a_database_only_root_has_a_name() {
    let rootfs = Rootfs::new();
    assert_eq!(rootfs.find("root").expect("root").uid, 0);
    assert_eq!(rootfs.find("5:6").map(|u| (u.uid, u.gid)), Ok((5, 6)));
    assert!(rootfs.find("web").is_err());
}

fn whiteout(path: &Path) {
    let dir = fs::File::open(path.parent().expect("a parent")).expect("a directory");
    let name = path.file_name().expect("a name");
    mknodat(
        &dir,
        name,
        FileType::CharacterDevice,
        Mode::empty(),
        makedev(0, 0),
    )
    .expect("made");
}

#[test]
fn upper_layers_hide_lower_ones() {
    let rootfs = usual();
    rootfs.put("middle/etc/passwd", "web:x:7:8::/:\n");
    rootfs.put("top/etc/other", "");
    assert_eq!(rootfs.find("web").expect("the middle one").uid, 7);
    fs::remove_file(rootfs.0.path().join("middle/etc/passwd")).expect("removed");
    whiteout(&rootfs.0.path().join("middle/etc/passwd"));
    assert!(rootfs.find("web").is_err(), "hidden by a whiteout");
    assert!(rootfs.find("web:adm").is_err());

    let rootfs = usual();
    rootfs.put("middle/etc/other", "");
    let etc = fs::File::open(rootfs.0.path().join("middle/etc")).expect("a directory");
    rustix::fs::fsetxattr(&etc, "user.overlay.opaque", b"y", XattrFlags::empty()).expect("set");
    assert!(rootfs.find("web").is_err(), "hidden by an opaque directory");

    let rootfs = usual();
    rootfs.put("middle/etc", "a file where the directory was");
    assert!(rootfs.find("web").is_err());
}

#[test]
fn links_stay_inside_the_image() {
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("passwd"), "evil:x:0:0::/:\n").expect("a file");
    let rootfs = Rootfs::new();
    rootfs.put("bottom/usr/lib/passwd", PASSWD);
    fs::create_dir_all(rootfs.0.path().join("top/etc")).expect("a directory");
    let link = rootfs.0.path().join("top/etc/passwd");
    for (target, inside) in [
        ("/usr/lib/passwd", true),
        ("../usr/lib/passwd", true),
        ("../../../../usr/./lib/../lib/passwd", true),
        ("passwd", false),
        ("/proc/self/environ", false),
        ("/dev/zero", false),
        (outside.path().join("passwd").to_str().expect("text"), false),
    ] {
        let _ = fs::remove_file(&link);
        symlink(target, &link).expect("a link");
        assert_eq!(rootfs.find("web").is_ok(), inside, "{target}");
        assert!(rootfs.find("evil").is_err(), "{target}");
    }
}

#[test]
fn hostile_databases_cost_nothing() {
    let started = Instant::now();
    let rootfs = Rootfs::new();
    let path = rootfs.put("top/etc/passwd", "");
    let file = fs::File::create(&path).expect("a file");
    file.set_len(2 << 30).expect("a hole of two gigabytes");
    assert!(matches!(rootfs.find("web"), Err(UserError::File { .. })));
    fs::remove_file(&path).expect("removed");
    let dir = fs::File::open(path.parent().expect("a parent")).expect("a directory");
    mknodat(&dir, "passwd", FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    assert!(matches!(rootfs.find("web"), Err(UserError::File { .. })));
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("a directory");
    assert!(matches!(rootfs.find("web"), Err(UserError::File { .. })));
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "took {:?}",
        started.elapsed()
    );
}

#[test]
fn users_are_found_in_unpacked_layers() {
    let bench = Bench::new();
    let base = Tape::new().dir("etc").file("etc/passwd", PASSWD.as_bytes());
    let top = Tape::new().dir("etc").file("etc/group", GROUP.as_bytes());
    let image = bench.image(&[base.end(), top.end()]).expect("an image");
    let layers = bench.store.unpack(&image).expect("unpacked");
    let user = bench.store.rootfs_user(&layers, "web").expect("found");
    assert_eq!((user.uid, user.gid, user.groups), (1000, 1001, vec![4, 44]));
}
