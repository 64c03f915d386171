//! Unpacked layers, combined by the kernel's own overlayfs as a container would see them.

use std::fs;
use std::path::Path;
use std::process::Command;

use unmoor_image::archive::{ImportOptions, import};
use unmoor_image::{ImageBuilder, Store, StoredImage};

/// A tar archive of empty files, and of directories where the name ends in a slash.
fn archive(dir: &Path, name: &str, entries: &[&str]) -> std::path::PathBuf {
    let root = dir.join(name);
    let list = dir.join(format!("{name}.list"));
    for entry in entries {
        let path = root.join(entry);
        if entry.ends_with('/') {
            fs::create_dir_all(path).expect("a directory");
        } else {
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, name).expect("a file");
        }
    }
    fs::write(&list, entries.join("\n")).expect("a list");
    let path = dir.join(format!("{name}.tar"));
    let status = Command::new("tar")
        .args(["--no-recursion", "-cf"])
        .arg(&path)
        .arg("-C")
        .arg(&root)
        .arg("-T")
        .arg(&list)
        .status();
    assert!(status.expect("tar").success());
    path
}

fn layer(store: &Store, dir: &Path, name: &str, entries: &[&str]) -> StoredImage {
    let path = archive(dir, name, entries);
    let reference = name.parse().expect("a name");
    import(store, path, &reference, &ImportOptions::default()).expect("imported")
}

#[test]
fn the_kernel_hides_what_layers_hide() {
    if !rustix::process::geteuid().is_root() {
        return unmoor_tools::skipped("mounting needs root");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("store")).expect("a store");
    let lower = [
        "a/", "a/one", "b/", "b/old", "c/", "c/gone", "c/kept", "d/", "d/x", "file",
    ];
    let upper = [
        "b/",
        "b/.wh..wh..opq",
        "b/new",
        "c/",
        "c/.wh.gone",
        ".wh.file",
        ".wh.d",
        "d/",
        "d/y",
        "a/.wh.one",
    ];
    layer(&store, dir.path(), "lower", &lower);
    layer(&store, dir.path(), "upper", &upper);
    let both: Vec<_> = ["upper", "lower"]
        .iter()
        .map(|name| {
            let image = store.get(&name.parse().expect("a name")).expect("stored");
            store
                .unpack(&image)
                .expect("unpacked")
                .remove(0)
                .to_string()
        })
        .collect();
    let mount = dir.path().join("mnt");
    fs::create_dir(&mount).expect("a directory");
    // A mount namespace of its own: nothing is left when the command ends.
    let script = "cd \"$1\" && mount -t overlay -o \"lowerdir=$2,userxattr,ro\" none \"$3\" \
        && cd \"$3\" && find . -mindepth 1 | LC_ALL=C sort";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(store.layer_dir())
        .arg(both.join(":"))
        .arg(&mount)
        .output()
        .expect("unshare");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let seen = String::from_utf8(output.stdout).expect("text");
    let expected = ["./a", "./b", "./b/new", "./c", "./c/kept", "./d", "./d/y"];
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn an_image_without_layers_has_nothing_to_combine() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("store")).expect("a store");
    let image = ImageBuilder::new()
        .entrypoint(["/nothing"])
        .build(&store, &"empty".parse().expect("a name"))
        .expect("built");
    assert!(store.unpack(&image).expect("unpacked").is_empty());
}
