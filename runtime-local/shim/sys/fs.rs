//! Files: opening beneath a directory, reading and writing, ownership, locks.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::abi::{
    AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, LOCK_EX, LOCK_NB, O_CLOEXEC, OpenHow, Statfs,
    Statx, c_int, nr, nr_common,
};
use super::{Errno, Result, again, c_text, owned, sys};

/// Where relative paths start.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'a> {
    /// The working directory; used with absolute paths.
    Cwd,
    /// This directory.
    Fd(BorrowedFd<'a>),
}

impl At<'_> {
    pub(super) fn raw(self) -> c_int {
        match self {
            Self::Cwd => AT_FDCWD,
            Self::Fd(fd) => fd.as_raw_fd(),
        }
    }
}

impl<'a, T: AsFd> From<&'a T> for At<'a> {
    fn from(fd: &'a T) -> Self {
        Self::Fd(fd.as_fd())
    }
}

/// Opens a path; `O_CLOEXEC` is added.
pub(crate) fn open(at: At<'_>, path: impl AsRef<[u8]>, flags: c_int, mode: u32) -> Result<OwnedFd> {
    let path = c_text(path)?;
    // SAFETY: the path is a zero-terminated string that outlives the call.
    again(|| unsafe { sys!(nr::OPENAT, at.raw(), path.as_ptr(), flags | O_CLOEXEC, mode) })
        .and_then(owned)
}

/// Opens a path beneath `root`, resolved as `resolve` says; `O_CLOEXEC` is added.
pub(crate) fn open_in(
    root: BorrowedFd<'_>,
    path: &str,
    flags: c_int,
    mode: u32,
    resolve: u64,
) -> Result<OwnedFd> {
    let path = c_text(path)?;
    let how = OpenHow {
        flags: u64::from((flags | O_CLOEXEC).cast_unsigned()),
        mode: u64::from(mode),
        resolve,
    };
    let size = size_of::<OpenHow>();
    let number = nr_common::OPENAT2;
    // EAGAIN: the kernel saw a rename on the way and asks to try again.
    let mut tries = 0;
    loop {
        // SAFETY: path and structure outlive the call; the size is the structure's.
        let result = unsafe {
            sys!(
                number,
                root.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size
            )
        };
        match result {
            Err(Errno::INTR | Errno::AGAIN) if tries < 64 => tries += 1,
            other => return other.and_then(owned),
        }
    }
}

/// Makes a directory.
pub(crate) fn mkdir(at: At<'_>, path: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    let path = c_text(path)?;
    // SAFETY: the path outlives the call.
    unsafe { sys!(nr::MKDIRAT, at.raw(), path.as_ptr(), mode) }.map(drop)
}

/// Makes a FIFO, or a regular file by `S_IFREG`.
pub(crate) fn mknod(at: At<'_>, path: &str, mode: u32) -> Result<()> {
    let path = c_text(path)?;
    // SAFETY: the path outlives the call.
    unsafe { sys!(nr::MKNODAT, at.raw(), path.as_ptr(), mode, 0) }.map(drop)
}

/// A device node to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// Kind and permission bits.
    pub(crate) mode: u32,
    /// Its driver.
    pub(crate) major: u32,
    /// Which of the driver's.
    pub(crate) minor: u32,
}

/// Makes a device node.
pub(crate) fn make_node(at: At<'_>, path: &str, node: Node) -> Result<()> {
    let path = c_text(path)?;
    let Node { mode, major, minor } = node;
    // As the kernel packs them: 12 bits of the one within 20 of the other.
    let device = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
    let before = umask(0);
    // SAFETY: the path outlives the call.
    let made = unsafe { sys!(nr::MKNODAT, at.raw(), path.as_ptr(), mode, device) };
    umask(before);
    made.map(drop)
}

/// Makes a symbolic link.
pub(crate) fn symlink(target: impl AsRef<[u8]>, at: At<'_>, path: impl AsRef<[u8]>) -> Result<()> {
    let (target, path) = (c_text(target)?, c_text(path)?);
    // SAFETY: both strings outlive the call.
    unsafe { sys!(nr::SYMLINKAT, target.as_ptr(), at.raw(), path.as_ptr()) }.map(drop)
}

/// Reads where a symbolic link leads, as text.
pub(crate) fn readlink(at: At<'_>, path: &str) -> Result<String> {
    String::from_utf8(readlink_bytes(at, path)?).map_err(|_| Errno::INVAL)
}

/// Reads where a symbolic link leads.
pub(crate) fn readlink_bytes(at: At<'_>, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
    let path = c_text(path)?;
    let mut buffer = vec![0_u8; 4096];
    // SAFETY: the path outlives the call and the buffer is as long as said.
    let len = unsafe {
        sys!(
            nr::READLINKAT,
            at.raw(),
            path.as_ptr(),
            buffer.as_mut_ptr(),
            buffer.len()
        )
    }?;
    buffer.truncate(usize::try_from(len).unwrap_or(0));
    Ok(buffer)
}

/// Removes a file.
pub(crate) fn unlink(at: At<'_>, path: impl AsRef<[u8]>) -> Result<()> {
    let path = c_text(path)?;
    // SAFETY: the path outlives the call.
    unsafe { sys!(nr::UNLINKAT, at.raw(), path.as_ptr(), 0) }.map(drop)
}

/// Removes an empty directory.
pub(crate) fn rmdir(at: At<'_>, path: impl AsRef<[u8]>) -> Result<()> {
    let path = c_text(path)?;
    // SAFETY: the path outlives the call.
    unsafe { sys!(nr::UNLINKAT, at.raw(), path.as_ptr(), AT_REMOVEDIR) }.map(drop)
}

/// Renames within one directory.
pub(crate) fn rename(at: At<'_>, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<()> {
    let (from, to) = (c_text(from)?, c_text(to)?);
    // SAFETY: both paths outlive the call.
    unsafe { sys!(nr::RENAMEAT, at.raw(), from.as_ptr(), at.raw(), to.as_ptr()) }.map(drop)
}

/// Moves a name from one directory to another of the same file system.
pub(crate) fn move_to(from: At<'_>, name: impl AsRef<[u8]>, to: At<'_>) -> Result<()> {
    let name = c_text(name)?;
    // SAFETY: the name outlives the call.
    unsafe {
        sys!(
            nr::RENAMEAT,
            from.raw(),
            name.as_ptr(),
            to.raw(),
            name.as_ptr()
        )
    }
    .map(drop)
}

/// Reads what is there, at most a buffer full.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is writable and as long as said.
    let read = || unsafe { sys!(nr::READ, fd.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
    again(read).map(|len| usize::try_from(len).unwrap_or(0))
}

/// Writes once.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the bytes are readable and as many as said.
    again(|| unsafe { sys!(nr::WRITE, fd.as_raw_fd(), bytes.as_ptr(), bytes.len()) })
        .map(|len| usize::try_from(len).unwrap_or(0))
}

/// Writes everything; a descriptor that takes no more is an error.
pub(crate) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match write(fd, bytes)? {
            0 => return Err(Errno::IO),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

/// Writes at an offset.
pub(crate) fn pwrite(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
    // SAFETY: the bytes are readable and as many as said.
    again(|| unsafe {
        sys!(
            nr::PWRITE64,
            fd.as_raw_fd(),
            bytes.as_ptr(),
            bytes.len(),
            offset
        )
    })
    .map(|len| usize::try_from(len).unwrap_or(0))
}

/// Reads at an offset, at most a buffer full.
pub(crate) fn pread(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let (at, len) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: the buffer is writable and as long as said.
    again(|| unsafe { sys!(nr::PREAD64, fd.as_raw_fd(), at, len, offset) })
        .map(|len| usize::try_from(len).unwrap_or(0))
}

/// Reads a small file to its end; more than `max` bytes is an error.
pub(crate) fn read_to_end(fd: BorrowedFd<'_>, max: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        match read(fd, &mut buffer)? {
            0 => return Ok(bytes),
            len if bytes.len() + len > max => return Err(Errno(27)),
            len => bytes.extend_from_slice(&buffer[..len]),
        }
    }
}

/// Reads a small text file whole.
pub(crate) fn read_text(at: At<'_>, path: &str) -> Result<String> {
    let file = open(at, path, super::abi::O_RDONLY, 0)?;
    let bytes = read_to_end(file.as_fd(), 1 << 20)?;
    String::from_utf8(bytes).map_err(|_| Errno::INVAL)
}

/// Writes a value to an existing file, in one write as kernel files want it.
pub(crate) fn write_text(at: At<'_>, path: &str, text: &str) -> Result<()> {
    let file = open(at, path, super::abi::O_WRONLY, 0)?;
    let written = write(file.as_fd(), text.as_bytes())?;
    if written == text.len() {
        Ok(())
    } else {
        Err(Errno::IO)
    }
}

/// Makes what was written durable.
pub(crate) fn fdatasync(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes no memory.
    again(|| unsafe { sys!(nr::FDATASYNC, fd.as_raw_fd()) }).map(drop)
}

/// Takes the lock of an open file, or says `EAGAIN` when another process holds it.
pub(crate) fn lock(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes no memory.
    again(|| unsafe { sys!(nr::FLOCK, fd.as_raw_fd(), LOCK_EX | LOCK_NB) }).map(drop)
}

/// Sets owner and group.
pub(crate) fn chown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: takes no memory.
    unsafe { sys!(nr::FCHOWN, fd.as_raw_fd(), uid, gid) }.map(drop)
}

/// Sets owner and group of a name, not following it.
pub(crate) fn chown_at(at: At<'_>, path: impl AsRef<[u8]>, uid: u32, gid: u32) -> Result<()> {
    let path = c_text(path)?;
    let flags = AT_SYMLINK_NOFOLLOW;
    // SAFETY: the path outlives the call.
    unsafe { sys!(nr::FCHOWNAT, at.raw(), path.as_ptr(), uid, gid, flags) }.map(drop)
}

/// Sets permission bits.
pub(crate) fn chmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: takes no memory.
    unsafe { sys!(nr::FCHMOD, fd.as_raw_fd(), mode) }.map(drop)
}

/// Sets the mask of new files' permissions and returns the old one.
pub(crate) fn umask(mask: u32) -> u32 {
    // SAFETY: takes no memory and cannot fail.
    let old = unsafe { sys!(nr::UMASK, mask) }.unwrap_or(0o022);
    u32::try_from(old).unwrap_or(0o022)
}

/// Makes a directory the working directory.
pub(crate) fn fchdir(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: takes no memory.
    unsafe { sys!(nr::FCHDIR, fd.as_raw_fd()) }.map(drop)
}

/// What an open file is: kind, permissions, owner, device numbers.
pub(crate) fn stat(fd: BorrowedFd<'_>) -> Result<Statx> {
    stat_at(At::Fd(fd), "")
}

/// What a name is, not following it; an empty name means the directory itself.
pub(crate) fn stat_at(at: At<'_>, path: impl AsRef<[u8]>) -> Result<Statx> {
    const BASIC: u32 = 0x7ff;
    let path = c_text(path)?;
    let flags = AT_SYMLINK_NOFOLLOW | super::abi::AT_EMPTY_PATH;
    let mut out = Statx::default();
    // SAFETY: the path outlives the call and the structure is what statx fills in.
    unsafe {
        sys!(
            nr::STATX,
            at.raw(),
            path.as_ptr(),
            flags,
            BASIC,
            &raw mut out
        )
    }?;
    Ok(out)
}

/// The magic number of the file system an open file lies on.
pub(crate) fn file_system(fd: BorrowedFd<'_>) -> Result<i64> {
    let mut out = Statfs {
        kind: 0,
        rest: [0; 15],
    };
    // SAFETY: the structure is as large as the kernel's statfs.
    unsafe { sys!(nr::FSTATFS, fd.as_raw_fd(), &raw mut out) }?;
    Ok(out.kind)
}
