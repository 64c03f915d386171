//! Fills an empty volume with what the image has at its place, as `docker` users expect.
//!
//! Only directories, regular files and symbolic links are copied, with owner, permissions and
//! content. Every step is by descriptor and follows no link; what is mounted there stays out.
//!
//! The copy grows in a folder of the volume, gets another name when it is whole, and then moves
//! into place. So a start that is killed leaves what the next one begins anew or finishes, and
//! never a volume that looks used with a part of what belongs there.

use std::fs::read_dir;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use crate::fault::{Outcome, Step, refuse};
use crate::sys::fs::{self, At};
use crate::sys::{Errno, abi, mount, poll};

/// Directories within directories; an image that has more is refused.
const DEPTH_MAX: u32 = 128;
/// The copy while it grows.
const GROWING: &[u8] = b".unmoor-filling";
/// The copy when it is whole.
const WHOLE: &[u8] = b".unmoor-filled";
/// Longest wait for another replica that fills the same volume, and the pause between two looks.
const PATIENCE_MS: u64 = 120_000;
const PAUSE_MS: u64 = 5;

const DIRECTORY: i32 = abi::O_RDONLY | abi::O_DIRECTORY | abi::O_NOFOLLOW;
const STEP: &str = "fill volume";

/// How far a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing is in it but perhaps a part of the copy.
    Empty,
    /// The copy is whole and not all in place.
    Whole,
    Used,
}

/// Copies what is in the directory `source`, inside at `target`, to `volume` if that is empty.
pub(crate) fn fill_empty(source: &OwnedFd, target: &str, volume: &OwnedFd) -> Outcome<()> {
    let volume = fs::open(At::from(volume), ".", DIRECTORY, 0).step("look into volume", target)?;
    if look(&volume).step("look into volume", target)? == Found::Used {
        return Ok(());
    }
    take_turn(&volume, target)?;
    match look(&volume).step("look into volume", target)? {
        Found::Used => return Ok(()),
        Found::Whole => {}
        Found::Empty => grow(source, target, &volume)?,
    }
    move_into_place(&volume).step(STEP, target)
}

fn look(volume: &OwnedFd) -> crate::sys::Result<Found> {
    if fs::stat_at(At::from(volume), WHOLE).is_ok() {
        return Ok(Found::Whole);
    }
    for entry in read_dir(mount::fd_path(volume.as_fd()))? {
        if entry?.file_name().into_vec() != GROWING {
            return Ok(Found::Used);
        }
    }
    Ok(Found::Empty)
}

/// Waits for other replicas with the same volume. The lock goes with its descriptor, and so with
/// a process that is killed.
fn take_turn(volume: &OwnedFd, target: &str) -> Outcome<()> {
    let until = poll::monotonic_ms() + PATIENCE_MS;
    loop {
        match fs::lock(volume.as_fd()) {
            Err(Errno::AGAIN) if poll::monotonic_ms() < until => {
                // The kernel tells nobody that a lock was given up.
                let _ = poll::poll(&mut [], Some(PAUSE_MS));
            }
            Err(Errno::AGAIN) => {
                let why = format_args!("somebody holds the lock of the volume at {target}");
                return Err(refuse(STEP, why));
            }
            other => return other.step(STEP, target),
        }
    }
}

fn grow(source: &OwnedFd, target: &str, volume: &OwnedFd) -> Outcome<()> {
    let flags = abi::O_RDONLY | abi::O_DIRECTORY;
    let source = fs::open(At::from(source), ".", flags, 0).step("look into image", target)?;
    remove(volume, GROWING, DEPTH_MAX).step(STEP, "remove an unfinished copy")?;
    fs::mkdir(At::from(volume), GROWING, 0o700).step(STEP, target)?;
    let copy = fs::open(At::from(volume), GROWING, DIRECTORY, 0).step(STEP, target)?;
    copy_directory(&source, &copy, target, DEPTH_MAX)?;
    fs::rename(At::from(volume), GROWING, WHOLE).step(STEP, target)
}

/// Can be repeated from wherever it was ended.
fn move_into_place(volume: &OwnedFd) -> crate::sys::Result<()> {
    let whole = fs::open(At::from(volume), WHOLE, DIRECTORY, 0)?;
    for name in names(&whole)? {
        if fs::stat_at(At::from(volume), &name).is_err() {
            fs::move_to(At::from(&whole), &name, At::from(volume))?;
        }
    }
    let found = fs::stat(whole.as_fd())?;
    fs::chown(volume.as_fd(), found.uid, found.gid)?;
    fs::chmod(volume.as_fd(), u32::from(found.mode) & 0o7777)?;
    remove(volume, WHOLE, DEPTH_MAX)
}

/// Removes a directory with what is in it, or a file; absent is fine.
fn remove(parent: &OwnedFd, name: &[u8], depth: u32) -> crate::sys::Result<()> {
    match fs::stat_at(At::from(parent), name) {
        Err(Errno::NOENT) => return Ok(()),
        Ok(found) if u32::from(found.mode) & abi::S_IFMT == abi::S_IFDIR => {}
        _ => return fs::unlink(At::from(parent), name),
    }
    if depth == 0 {
        return Err(Errno::LOOP);
    }
    let directory = fs::open(At::from(parent), name, DIRECTORY, 0)?;
    for name in names(&directory)? {
        remove(&directory, &name, depth - 1)?;
    }
    fs::rmdir(At::from(parent), name)
}

fn names(directory: &OwnedFd) -> crate::sys::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in read_dir(mount::fd_path(directory.as_fd()))? {
        names.push(entry?.file_name().into_vec());
    }
    Ok(names)
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, path: &str, depth: u32) -> Outcome<()> {
    if depth == 0 {
        return Err(refuse(STEP, format_args!("{path} is nested too deeply")));
    }
    for name in names(from).step(STEP, path)? {
        let path = format!("{path}/{}", String::from_utf8_lossy(&name));
        copy_entry(from, to, &name, &path, depth)?;
    }
    let found = fs::stat(from.as_fd()).step(STEP, path)?;
    let to = fs::open(At::from(to), ".", abi::O_RDONLY | abi::O_DIRECTORY, 0).step(STEP, path)?;
    fs::chown(to.as_fd(), found.uid, found.gid).step(STEP, path)?;
    fs::chmod(to.as_fd(), u32::from(found.mode) & 0o7777).step(STEP, path)
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &[u8], path: &str, depth: u32) -> Outcome<()> {
    let found = fs::stat_at(At::from(from), name).step(STEP, path)?;
    let nofollow = abi::O_NOFOLLOW;
    match u32::from(found.mode) & abi::S_IFMT {
        abi::S_IFDIR => {
            fs::mkdir(At::from(to), name, 0o700).step(STEP, path)?;
            let above = fs::stat(from.as_fd()).step(STEP, path)?;
            let from = fs::open(At::from(from), name, DIRECTORY, 0).step(STEP, path)?;
            if !fs::stat(from.as_fd()).step(STEP, path)?.is_beside(&above) {
                return Ok(());
            }
            let to = fs::open(At::from(to), name, DIRECTORY, 0).step(STEP, path)?;
            copy_directory(&from, &to, path, depth - 1)
        }
        abi::S_IFREG => {
            let from = fs::open(At::from(from), name, abi::O_RDONLY | nofollow, 0);
            let from = from.step(STEP, path)?;
            let flags = abi::O_CREAT | abi::O_EXCL | abi::O_WRONLY | nofollow;
            let to = fs::open(At::from(to), name, flags, 0o600).step(STEP, path)?;
            copy_content(&from, &to).step(STEP, path)?;
            fs::chown(to.as_fd(), found.uid, found.gid).step(STEP, path)?;
            fs::chmod(to.as_fd(), u32::from(found.mode) & 0o7777).step(STEP, path)
        }
        abi::S_IFLNK => {
            let link = fs::readlink_bytes(At::from(from), name).step(STEP, path)?;
            fs::symlink(&link, At::from(to), name).step(STEP, path)?;
            fs::chown_at(At::from(to), name, found.uid, found.gid).step(STEP, path)
        }
        _ => Ok(()),
    }
}

fn copy_content(from: &OwnedFd, to: &OwnedFd) -> crate::sys::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match fs::read(from.as_fd(), &mut buffer)? {
            0 => return Ok(()),
            len => fs::write_all(to.as_fd(), &buffer[..len])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::{Path, PathBuf};

    use super::*;

    /// An image's directory with a file in it, and an empty volume.
    struct Place {
        base: PathBuf,
    }

    impl Place {
        fn new(name: &str) -> Self {
            let base = format!("shim-fill-{name}-{}", std::process::id());
            let base = std::env::temp_dir().join(base);
            let _ = std::fs::remove_dir_all(&base);
            std::fs::create_dir_all(base.join("data/sub")).expect("make");
            std::fs::create_dir(base.join("volume")).expect("make");
            std::fs::write(base.join("data/sub/file"), "text").expect("write");
            Self { base }
        }

        fn at(&self, name: impl AsRef<Path>) -> PathBuf {
            self.base.join(name)
        }

        fn open(&self, name: &str) -> OwnedFd {
            let path = self.at(name).to_string_lossy().into_owned();
            fs::open(At::Cwd, &path, abi::O_RDONLY | abi::O_DIRECTORY, 0).expect("open")
        }

        fn fill(&self) {
            fill_empty(&self.open("data"), "/data", &self.open("volume")).expect("fill");
        }

        fn volume(&self) -> Vec<String> {
            let entries = read_dir(self.at("volume")).expect("list").flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
            names.sort();
            let text = |name: std::ffi::OsString| name.to_string_lossy().into_owned();
            names.into_iter().map(text).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.base);
        }
    }

    #[test]
    fn an_empty_volume_gets_a_copy_and_a_used_one_is_left_alone() {
        let place = Place::new("copy");
        let mode = std::fs::Permissions::from_mode(0o750);
        std::fs::set_permissions(place.at("data"), mode).expect("mode");
        symlink("/etc/passwd", place.at("data/link")).expect("link");
        place.fill();
        let read = |name: &str| std::fs::read_to_string(place.at(name));
        assert_eq!(read("volume/sub/file").expect("copied"), "text");
        let link = std::fs::read_link(place.at("volume/link")).expect("a link stays one");
        assert_eq!(link, Path::new("/etc/passwd"));
        let found = std::fs::metadata(place.at("volume")).expect("look");
        assert_eq!(found.permissions().mode() & 0o7777, 0o750);
        std::fs::write(place.at("data/later"), "").expect("write");
        place.fill();
        assert_eq!(place.volume(), ["link", "sub"], "nothing to do");
    }

    #[test]
    fn names_need_not_be_text() {
        let place = Place::new("bytes");
        let odd = OsStr::from_bytes(b"a\xff\xfeb");
        std::fs::write(place.at("data").join(odd), "odd").expect("write");
        symlink(odd, place.at("data/link")).expect("link");
        place.fill();
        let copy = std::fs::read(place.at("volume").join(odd));
        assert_eq!(copy.expect("copied"), b"odd");
        let link = std::fs::read_link(place.at("volume/link"));
        assert_eq!(link.expect("copied").as_os_str(), odd);
    }

    #[test]
    fn what_a_killed_start_left_is_begun_anew_or_finished() {
        let place = Place::new("killed");
        std::fs::create_dir_all(place.at("volume/.unmoor-filling/sub/half")).expect("make");
        std::fs::write(place.at("volume/.unmoor-filling/stale"), "").expect("write");
        place.fill();
        assert_eq!(place.volume(), ["sub"], "begun anew");
        assert!(!place.at("volume/sub/half").exists());

        let place = Place::new("moving");
        std::fs::create_dir_all(place.at("volume/.unmoor-filled")).expect("make");
        std::fs::write(place.at("volume/.unmoor-filled/rest"), "").expect("write");
        std::fs::write(place.at("volume/moved"), "").expect("write");
        place.fill();
        assert_eq!(place.volume(), ["moved", "rest"], "finished");
    }

    #[test]
    fn what_a_program_has_made_is_not_taken_for_an_unfinished_copy() {
        let place = Place::new("used");
        std::fs::create_dir_all(place.at("volume/.unmoor-filling/mine")).expect("make");
        std::fs::write(place.at("volume/kept"), "").expect("write");
        place.fill();
        assert_eq!(place.volume(), [".unmoor-filling", "kept"]);
        assert!(place.at("volume/.unmoor-filling/mine").exists());
    }

    #[test]
    fn who_shares_the_volume_waits_and_finds_it_used() {
        let place = Place::new("shared");
        let held = place.open("volume");
        fs::lock(held.as_fd()).expect("locked");
        std::thread::scope(|scope| {
            let other = scope.spawn(|| place.fill());
            // As another start would, that had the lock first.
            std::fs::write(place.at("volume/first"), "").expect("write");
            drop(held);
            other.join().expect("no conflict");
        });
        assert_eq!(place.volume(), ["first"]);
    }
}
