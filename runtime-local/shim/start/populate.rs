//! Fills an empty volume with what the image has at its place, as `docker` users expect.
//!
//! Only directories, regular files and symbolic links are copied, with owner, permissions and
//! content. Every step is by descriptor and follows no link; what is mounted there stays out.

use std::fs::read_dir;
use std::os::fd::{AsFd, OwnedFd};

use crate::fault::{Outcome, Step, refuse};
use crate::sys::fs::{self, At};
use crate::sys::{abi, mount};

/// Directories within directories; an image that has more is refused.
const DEPTH_MAX: u32 = 128;

/// Copies what is in the directory `source`, inside at `target`, to `volume` if that is empty.
pub(crate) fn fill_empty(source: &OwnedFd, target: &str, volume: &OwnedFd) -> Outcome<()> {
    let entries = read_dir(mount::fd_path(volume.as_fd())).map_err(crate::sys::Errno::from);
    if entries.step("look into volume", target)?.next().is_some() {
        return Ok(());
    }
    let flags = abi::O_RDONLY | abi::O_DIRECTORY;
    let source = fs::open(At::from(source), ".", flags, 0).step("look into image", target)?;
    copy_directory(&source, volume, target, DEPTH_MAX)
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, path: &str, depth: u32) -> Outcome<()> {
    let step = "fill volume";
    if depth == 0 {
        return Err(refuse(step, format_args!("{path} is nested too deeply")));
    }
    let entries = read_dir(mount::fd_path(from.as_fd())).map_err(crate::sys::Errno::from);
    for entry in entries.step(step, path)? {
        let entry = entry.map_err(crate::sys::Errno::from).step(step, path)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(refuse(
                step,
                format_args!("{path} holds a name that is not UTF-8"),
            ));
        };
        let path = format!("{path}/{name}");
        copy_entry(from, to, name, &path, depth)?;
    }
    let found = fs::stat(from.as_fd()).step(step, path)?;
    let to = fs::open(At::from(to), ".", abi::O_RDONLY | abi::O_DIRECTORY, 0).step(step, path)?;
    fs::chown(to.as_fd(), found.uid, found.gid).step(step, path)?;
    fs::chmod(to.as_fd(), u32::from(found.mode) & 0o7777).step(step, path)
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &str, path: &str, depth: u32) -> Outcome<()> {
    let step = "fill volume";
    let found = fs::stat_at(At::from(from), name).step(step, path)?;
    let nofollow = abi::O_NOFOLLOW;
    match u32::from(found.mode) & abi::S_IFMT {
        abi::S_IFDIR => {
            fs::mkdir(At::from(to), name, 0o700).step(step, path)?;
            let flags = abi::O_RDONLY | abi::O_DIRECTORY | nofollow;
            let above = fs::stat(from.as_fd()).step(step, path)?;
            let from = fs::open(At::from(from), name, flags, 0).step(step, path)?;
            if !fs::stat(from.as_fd()).step(step, path)?.is_beside(&above) {
                return Ok(());
            }
            let to = fs::open(At::from(to), name, flags, 0).step(step, path)?;
            copy_directory(&from, &to, path, depth - 1)
        }
        abi::S_IFREG => {
            let from = fs::open(At::from(from), name, abi::O_RDONLY | nofollow, 0);
            let from = from.step(step, path)?;
            let flags = abi::O_CREAT | abi::O_EXCL | abi::O_WRONLY | nofollow;
            let to = fs::open(At::from(to), name, flags, 0o600).step(step, path)?;
            copy_content(&from, &to).step(step, path)?;
            fs::chown(to.as_fd(), found.uid, found.gid).step(step, path)?;
            fs::chmod(to.as_fd(), u32::from(found.mode) & 0o7777).step(step, path)
        }
        abi::S_IFLNK => {
            let link = fs::readlink(At::from(from), name).step(step, path)?;
            fs::symlink(&link, At::from(to), name).step(step, path)?;
            fs::chown_at(At::from(to), name, found.uid, found.gid).step(step, path)
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
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        let path = path.to_string_lossy().into_owned();
        fs::open(At::Cwd, &path, abi::O_RDONLY | abi::O_DIRECTORY, 0).expect("open")
    }

    #[test]
    fn an_empty_volume_gets_a_copy_and_a_used_one_is_left_alone() {
        let base = std::env::temp_dir().join(format!("shim-fill-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&base);
        std::fs::create_dir_all(base.join("root/data/sub")).expect("make");
        std::fs::create_dir(base.join("volume")).expect("make");
        std::fs::write(base.join("root/data/sub/file"), "text").expect("write");
        let mode = std::fs::Permissions::from_mode(0o750);
        std::fs::set_permissions(base.join("root/data"), mode).expect("mode");
        symlink("/etc/passwd", base.join("root/data/link")).expect("link");
        let source = open(&base.join("root/data"));
        let volume = open(&base.join("volume"));
        fill_empty(&source, "/data", &volume).expect("fill");
        let read = |name: &str| std::fs::read_to_string(base.join(name));
        assert_eq!(read("volume/sub/file").expect("copied"), "text");
        let link = std::fs::read_link(base.join("volume/link")).expect("a link stays one");
        assert_eq!(link, Path::new("/etc/passwd"));
        let mode = std::fs::metadata(base.join("volume"))
            .expect("look")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o750);
        std::fs::write(base.join("root/data/later"), "").expect("write");
        fill_empty(&source, "/data", &volume).expect("nothing to do");
        assert!(read("volume/later").is_err());
        std::fs::remove_dir_all(&base).expect("clean up");
    }
}
