//! Files of a replica as a tar archive.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{self, Dir, FileType, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};
use unmoor_core::backend::FileKind;

use super::{IDS, View, kind_of, open, refused};
use crate::error::LocalError;

/// File systems that the kernel makes up; their files have no content to copy.
const MADE_UP: [u64; 5] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
];

/// Longest target of a link that a header holds as it is.
const LINK: usize = 100;

/// What is being archived.
struct Walk<'a, W: Write> {
    start: &'a OwnedFd,
    /// The name that every entry begins with.
    base: String,
    path: &'a str,
    id_base: u32,
    archive: Builder<W>,
}

impl View {
    /// Writes a path and what is beneath it as an archive.
    pub(crate) fn pack(&self, path: &str, to: impl Write) -> Result<(), LocalError> {
        let start = self.find(path, OFlags::PATH)?;
        let trimmed = path.trim_end_matches('/');
        let base = match trimmed.rsplit('/').next() {
            None | Some("" | "." | "..") => ".".to_owned(),
            Some(name) => name.to_owned(),
        };
        let mut walk = Walk {
            start: &start,
            base,
            path,
            id_base: self.base,
            archive: Builder::new(to),
        };
        let mut waiting = vec![String::new()];
        // Each is opened anew beneath the start: depth costs no descriptors.
        while let Some(inside) = waiting.pop() {
            waiting.extend(walk.add(&inside)?);
        }
        let ended = walk.archive.into_inner().and_then(|mut to| to.flush());
        ended.map_err(|error| LocalError::io("archive", path.as_ref(), error))
    }
}

impl<W: Write> Walk<'_, W> {
    fn failed(&self, inside: &str, error: impl Into<io::Error>) -> LocalError {
        let path = format!("{}/{inside}", self.path.trim_end_matches('/'));
        LocalError::io("archive", path.as_ref(), error)
    }

    /// Adds one entry; returns what is in it, last first.
    fn add(&mut self, inside: &str) -> Result<Vec<String>, LocalError> {
        let opened = match inside {
            "" => self.start.try_clone().map_err(|e| self.failed(inside, e))?,
            inside => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW;
                let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                // A link at the end is opened as such only without `NO_SYMLINKS`; its folders are
                // opened with it.
                match beneath(self.start, inside, flags, how) {
                    Ok(fd) => fd,
                    // It went away, or its folder became a link, since it was listed.
                    Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(Vec::new()),
                    Err(error) => return Err(self.failed(inside, error)),
                }
            }
        };
        let stat = fs::fstat(&opened).map_err(|error| self.failed(inside, error))?;
        let name = match inside {
            "" => self.base.clone(),
            inside => format!("{}/{inside}", self.base),
        };
        let mut header = self.header(&stat);
        let added = match kind_of(&stat) {
            FileKind::File => self.add_file(&opened, &mut header, &stat, &name),
            FileKind::Link => self.add_link(&opened, &mut header, &name),
            FileKind::Directory => {
                header.set_entry_type(EntryType::Directory);
                let added = self
                    .archive
                    .append_data(&mut header, format!("{name}/"), io::empty());
                added.map_err(|error| self.failed(inside, error))?;
                return self.children(&opened, inside);
            }
            FileKind::Other | _ => self.add_special(&mut header, &stat, &name),
        };
        added.map_err(|error| self.failed(inside, error))?;
        Ok(Vec::new())
    }

    fn header(&self, stat: &Stat) -> Header {
        let id = |id: u32| match id.checked_sub(self.id_base) {
            Some(id) if id < IDS => u64::from(id),
            _ => 65_534,
        };
        let mut header = Header::new_gnu();
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(id(stat.st_uid));
        header.set_gid(id(stat.st_gid));
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_size(0);
        header
    }

    fn add_file(
        &mut self,
        fd: &OwnedFd,
        header: &mut Header,
        stat: &Stat,
        name: &str,
    ) -> io::Result<()> {
        // The descriptor holds a regular file, so this opens just that and cannot block.
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(fs::open(path, flags, fs::Mode::empty())?);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        header.set_size(size);
        // It may shrink while it is read; the header has said how long it is.
        let content = file.take(size).chain(io::repeat(0)).take(size);
        self.archive.append_data(header, name, content)
    }

    fn add_link(&mut self, fd: &OwnedFd, header: &mut Header, name: &str) -> io::Result<()> {
        let target = fs::readlinkat(fd, "", Vec::new())?;
        header.set_entry_type(EntryType::Symlink);
        if target.as_bytes().len() > LINK {
            let target = target.to_string_lossy().into_owned();
            return self.archive.append_link(header, name, target);
        }
        // Literally: a link to `/` has no name in the eyes of the archive's author.
        header.set_link_name_literal(target.as_bytes())?;
        self.archive.append_data(header, name, io::empty())
    }

    /// Adds what has no content; a socket cannot stand in an archive.
    fn add_special(&mut self, header: &mut Header, stat: &Stat, name: &str) -> io::Result<()> {
        header.set_entry_type(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => EntryType::Fifo,
            FileType::CharacterDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            _ => return Ok(()),
        });
        header.set_device_major(fs::major(stat.st_rdev))?;
        header.set_device_minor(fs::minor(stat.st_rdev))?;
        self.archive.append_data(header, name, io::empty())
    }

    fn children(&self, fd: &OwnedFd, inside: &str) -> Result<Vec<String>, LocalError> {
        let failed = |error: Errno| refused("list", self.path, error);
        let kind = fs::fstatfs(fd).map_err(failed)?.f_type;
        if u64::try_from(kind).is_ok_and(|kind| MADE_UP.contains(&kind)) {
            return Ok(Vec::new());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = fs::openat(fd, ".", flags, fs::Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in Dir::new(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else {
                let text = format!("{}/{inside}: a name in it is not UTF-8", self.path);
                return Err(LocalError::Spec(text));
            };
            if name != "." && name != ".." {
                let prefix = if inside.is_empty() {
                    String::new()
                } else {
                    format!("{inside}/")
                };
                names.push(format!("{prefix}{name}"));
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }
}

/// Opens an entry by way of its folder, so that only its own name may be a link.
fn beneath(
    start: &OwnedFd,
    inside: &str,
    flags: OFlags,
    how: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    match inside.rsplit_once('/') {
        None => fs::openat(start, inside, flags | OFlags::CLOEXEC, fs::Mode::empty()),
        Some((folder, name)) => {
            let folder = open(start, folder, OFlags::PATH | OFlags::DIRECTORY, how)?;
            fs::openat(&folder, name, flags | OFlags::CLOEXEC, fs::Mode::empty())
        }
    }
}
