//! Paths inside the replica's root: resolved within it, created within it, held by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::fault::{Outcome, Step, failure, refuse};
use crate::sys::fs::{self, At};
use crate::sys::{Errno, abi};

/// No way out of the root, and no jump through `/proc/<pid>/fd` and its like.
const CONTAINED: u64 = abi::RESOLVE_IN_ROOT | abi::RESOLVE_NO_MAGICLINKS;
/// Links that may be followed by hand when they lead to something not made yet.
const LINKS_MAX: u32 = 16;

/// A file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// The replica's root directory.
#[derive(Debug)]
pub(crate) struct Inside {
    root: OwnedFd,
}

impl Inside {
    /// Wraps the root, opened with `O_PATH` on top of its mount.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// The root itself.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens an existing path.
    pub(crate) fn open(&self, path: &str, flags: i32) -> crate::sys::Result<OwnedFd> {
        fs::open_in(self.root(), path, flags, 0, CONTAINED)
    }

    /// Opens an existing path for a mount; `None` when it does not exist.
    pub(crate) fn find(&self, path: &str) -> Outcome<Option<OwnedFd>> {
        match self.open(path, abi::O_PATH) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(failure("resolve path inside", errno, path)),
        }
    }

    /// Opens a path for a mount and makes what is missing on the way.
    pub(crate) fn ensure(&self, path: &str, kind: Kind) -> Outcome<OwnedFd> {
        self.ensure_within(path, kind, LINKS_MAX)
    }

    fn ensure_within(&self, path: &str, kind: Kind, links: u32) -> Outcome<OwnedFd> {
        match self.open(path, abi::O_PATH) {
            Ok(fd) => return Ok(fd),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failure("resolve path inside", errno, path)),
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut prefix = String::from("/");
        for (index, part) in parts.iter().enumerate() {
            let parent_flags = abi::O_PATH | abi::O_DIRECTORY;
            let parent = self.open(&prefix, parent_flags);
            let parent = parent.step("resolve path inside", &prefix)?;
            let before = prefix.clone();
            prefix = format!("{}/{part}", prefix.trim_end_matches('/'));
            if self.open(&prefix, abi::O_PATH).is_ok() {
                continue;
            }
            let is_last = index + 1 == parts.len();
            let made = match (is_last, kind) {
                (true, Kind::File) => fs::mknod(At::from(&parent), part, abi::S_IFREG | 0o644),
                _ => fs::mkdir(At::from(&parent), part, 0o755),
            };
            match made {
                Ok(()) => {}
                // A link that leads nowhere yet: make what it leads to, still within the root.
                Err(Errno::EXIST) if links > 0 => {
                    let link = fs::readlink(At::from(&parent), part);
                    let link = link.step("resolve path inside", &prefix)?;
                    let rest = parts[index + 1..].join("/");
                    let start = if link.starts_with('/') {
                        ""
                    } else {
                        before.as_str()
                    };
                    let target = format!("{start}/{link}/{rest}");
                    let target = target.trim_end_matches('/');
                    return self.ensure_within(target, kind, links - 1);
                }
                Err(errno) => return Err(failure("create path inside", errno, prefix)),
            }
        }
        self.open(path, abi::O_PATH)
            .step("resolve path inside", path)
    }

    /// Opens a directory right below the root that must not be a link, and makes it if missing.
    pub(crate) fn own_directory(&self, name: &str) -> Outcome<OwnedFd> {
        let flags = abi::O_PATH | abi::O_DIRECTORY | abi::O_NOFOLLOW;
        let resolve = CONTAINED | abi::RESOLVE_NO_SYMLINKS;
        match fs::open_in(self.root(), name, flags, 0, resolve) {
            Err(Errno::NOENT) => {
                fs::mkdir(At::from(&self.root), name, 0o755)
                    .step("create directory inside", format_args!("/{name}"))?;
                fs::open_in(self.root(), name, flags, 0, resolve)
                    .step("open directory inside", format_args!("/{name}"))
            }
            Err(Errno::LOOP | Errno::NOTDIR) => Err(refuse(
                "open directory inside",
                format_args!("/{name} of the image is a link or a file, not a directory"),
            )),
            other => other.step("open directory inside", format_args!("/{name}")),
        }
    }

    /// Opens a path for a mount by the plan, which may be anywhere but on `/proc` or `/` itself.
    pub(crate) fn mount_target(&self, path: &str, kind: Kind) -> Outcome<OwnedFd> {
        if path.split('/').all(|part| part.is_empty() || part == ".") || !path.starts_with('/') {
            return Err(refuse(
                "mount",
                format_args!("{path:?} is not a path below the root"),
            ));
        }
        let target = self.ensure(path, kind)?;
        let system = fs::file_system(target.as_fd()).step("look at mount target", path)?;
        let is_proc = system == abi::PROC_SUPER_MAGIC;
        if is_proc {
            return Err(refuse(
                "mount",
                format_args!("{path} lies in /proc, which stays as it is"),
            ));
        }
        let (there, root) = (fs::stat(target.as_fd()), fs::stat(self.root()));
        let there = there.step("look at mount target", path)?;
        if there.is_same(&root.step("look at mount target", "/")?) {
            return Err(refuse("mount", format_args!("{path} leads to the root")));
        }
        let is_directory = u32::from(there.mode) & abi::S_IFMT == abi::S_IFDIR;
        match (kind, is_directory) {
            (Kind::File, true) => {
                let why = "is a directory here, and what comes there is a file";
                Err(refuse("mount", format_args!("{path} {why}")))
            }
            (Kind::Directory, false) => {
                let why = "is a file here, and what comes there is a directory";
                Err(refuse("mount", format_args!("{path} {why}")))
            }
            _ => Ok(target),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, read_dir, write};
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use super::*;

    /// A root directory next to a canary that nothing inside may reach.
    struct Place {
        base: PathBuf,
    }

    impl Place {
        fn new(name: &str) -> Self {
            let base = format!("shim-inside-{name}-{}", std::process::id());
            let base = std::env::temp_dir().join(base);
            let _ = std::fs::remove_dir_all(&base);
            create_dir_all(base.join("root/etc")).expect("make root");
            create_dir_all(base.join("canary")).expect("make canary");
            Self { base }
        }

        fn root(&self) -> PathBuf {
            self.base.join("root")
        }

        fn inside(&self) -> Inside {
            let flags = abi::O_PATH | abi::O_DIRECTORY;
            let path = self.root().to_string_lossy().into_owned();
            Inside::new(fs::open(At::Cwd, &path, flags, 0).expect("open root"))
        }

        fn canary_is_untouched(&self) -> bool {
            read_dir(self.base.join("canary"))
                .expect("look")
                .next()
                .is_none()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.base);
        }
    }

    fn exists(path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    #[test]
    fn missing_parts_are_made_inside_whatever_the_links_say() {
        let place = Place::new("links");
        let canary = place.base.join("canary");
        symlink(&canary, place.root().join("absolute")).expect("link");
        symlink("../../canary", place.root().join("etc/relative")).expect("link");
        let inside = place.inside();
        for path in [
            "/absolute/x",
            "/etc/relative/y",
            "/a/b/c",
            "/../../canary/z",
        ] {
            inside.ensure(path, Kind::File).expect(path);
        }
        assert!(place.canary_is_untouched());
        let same = canary.strip_prefix("/").expect("absolute");
        assert!(exists(&place.root().join(same).join("x")));
        assert!(exists(&place.root().join("canary/y")));
        assert!(exists(&place.root().join("a/b/c")));
    }

    #[test]
    fn a_link_to_what_is_not_there_yet_is_followed_inside() {
        let place = Place::new("dangling");
        symlink("../run/resolv.conf", place.root().join("etc/resolv.conf")).expect("link");
        symlink("loop", place.root().join("loop")).expect("link");
        let inside = place.inside();
        inside
            .ensure("/etc/resolv.conf", Kind::File)
            .expect("follow");
        assert!(place.root().join("run/resolv.conf").is_file());
        let error = inside.ensure("/loop", Kind::File).expect_err("a loop");
        assert_eq!(error.errno, Errno::LOOP.0);
    }

    #[test]
    fn own_directories_are_never_links_and_magic_links_never_followed() {
        let place = Place::new("own");
        symlink(place.base.join("canary"), place.root().join("proc")).expect("link");
        write(place.root().join("sys"), "").expect("file");
        let inside = place.inside();
        for name in ["proc", "sys"] {
            let error = inside.own_directory(name).expect_err(name);
            assert!(error.detail.contains("not a directory"), "{error}");
        }
        inside.own_directory("dev").expect("made");
        assert!(place.root().join("dev").is_dir());
        let root = fs::open(At::Cwd, "/", abi::O_PATH | abi::O_DIRECTORY, 0).expect("open /");
        let everything = Inside::new(root);
        let magic = everything.open("/proc/self/cwd", abi::O_PATH);
        assert_eq!(magic.map(drop), Err(Errno::LOOP));
    }

    #[test]
    fn mounts_go_below_the_root_and_not_into_proc() {
        let place = Place::new("target");
        symlink("/", place.root().join("data")).expect("link");
        symlink("data/..", place.root().join("more")).expect("link");
        for root in ["/data", "/more/.", "/data/data/"] {
            let error = place.inside().mount_target(root, Kind::Directory);
            assert!(error.expect_err(root).detail.contains("leads to the root"));
        }
        let inside = place.inside();
        for bad in ["/", "/.", "etc", ""] {
            assert!(
                inside.mount_target(bad, Kind::Directory).is_err(),
                "{bad:?}"
            );
        }
        inside
            .mount_target("/etc/x", Kind::Directory)
            .expect("fine");
        let root = fs::open(At::Cwd, "/", abi::O_PATH | abi::O_DIRECTORY, 0).expect("open /");
        let error = Inside::new(root).mount_target("/proc/self", Kind::Directory);
        assert!(error.expect_err("proc").detail.contains("/proc"));
    }
}
