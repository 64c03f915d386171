//! A tar archive into a directory of a replica.
//!
//! Each entry is made beside its place under a name of its own and then renamed to it: a reader
//! inside sees the former file or the new one, and nothing is ever written through a link.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};
use unmoor_core::backend::Ownership;

use super::{IDS, View, open, refused};
use crate::error::LocalError;
use crate::state::random_hex;

/// Where an entry goes.
struct Place {
    folder: OwnedFd,
    name: String,
    /// For messages.
    path: String,
}

/// The owner and mode of an entry.
struct Look {
    uid: u32,
    gid: u32,
    mode: u32,
    time: i64,
}

impl View {
    /// Unpacks an archive into a directory that is there.
    pub(crate) fn unpack(
        &self,
        directory: &str,
        from: impl Read,
        owner: Ownership,
    ) -> Result<(), LocalError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let inside = directory.trim_start_matches('/');
        let inside = if inside.is_empty() { "." } else { inside };
        open(&self.root, inside, flags, ResolveFlags::IN_ROOT)
            .map_err(|error| refused("open", directory, error))?;
        let mut archive = Archive::new(from);
        for entry in archive.entries().map_err(broken)? {
            self.unpack_entry(directory, &mut entry.map_err(broken)?, owner)?;
        }
        Ok(())
    }

    fn unpack_entry<R: Read>(
        &self,
        directory: &str,
        entry: &mut Entry<'_, R>,
        owner: Ownership,
    ) -> Result<(), LocalError> {
        let name = text(&entry.path_bytes())?;
        let Some(place) = self.place(directory, &name)? else {
            return Ok(());
        };
        let look = self.look(entry, owner, &name)?;
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                place.put(|name| put_file(&place.folder, name, entry, &look))
            }
            EntryType::Directory => place.make_folder(&look),
            EntryType::Symlink => {
                let target = text(&entry.link_name_bytes().unwrap_or_default())?;
                place.put(|name| put_link(&place.folder, name, &target, &look))
            }
            EntryType::Link => {
                let target = text(&entry.link_name_bytes().unwrap_or_default())?;
                let from = self.place(directory, &target)?;
                let from = from.ok_or_else(|| bad(&name, "links to a directory"))?;
                place.put(|name| {
                    let none = AtFlags::empty();
                    Ok(fs::linkat(
                        &from.folder,
                        &from.name,
                        &place.folder,
                        name,
                        none,
                    )?)
                })
            }
            EntryType::XGlobalHeader => Ok(()),
            _ => Err(bad(&name, "is neither a file nor a directory nor a link")),
        }
    }

    /// Where an entry goes; nothing for the directory itself. Folders that are missing are made.
    fn place(&self, directory: &str, entry: &str) -> Result<Option<Place>, LocalError> {
        let parts = entry.split('/').filter(|part| !matches!(*part, "" | "."));
        let parts: Vec<&str> = parts.collect();
        if parts.contains(&"..") {
            return Err(bad(entry, "leads out of the directory"));
        }
        let Some((name, folders)) = parts.split_last() else {
            return Ok(None);
        };
        let mut path = directory.trim_matches('/').to_owned();
        let mut folder = self.folder(&path, None)?;
        for part in folders {
            path = format!("{path}/{part}");
            folder = self.folder(&path, Some((&folder, part)))?;
        }
        Ok(Some(Place {
            folder,
            name: (*name).to_owned(),
            path: format!("/{}/{name}", path.trim_start_matches('/')),
        }))
    }

    /// Opens a folder, links on the way followed inside; made in its parent if it is missing.
    fn folder(&self, path: &str, make: Option<(&OwnedFd, &str)>) -> Result<OwnedFd, LocalError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let inside = path.trim_start_matches('/');
        let inside = if inside.is_empty() { "." } else { inside };
        let first = open(&self.root, inside, flags, ResolveFlags::IN_ROOT);
        let opened = match (first, make) {
            (Err(Errno::NOENT), Some((parent, name))) => {
                let made = fs::mkdirat(parent, name, Mode::from_raw_mode(0o755));
                made.and_then(|()| open(&self.root, inside, flags, ResolveFlags::IN_ROOT))
            }
            (first, _) => first,
        };
        opened.map_err(|error| refused("open", &format!("/{inside}"), error))
    }

    fn look<R: Read>(
        &self,
        entry: &Entry<'_, R>,
        owner: Ownership,
        name: &str,
    ) -> Result<Look, LocalError> {
        let header = entry.header();
        let host = |id: u64| match u32::try_from(id) {
            Ok(id) if id < IDS => Ok(self.base + id),
            _ => Err(bad(name, &format!("belongs to {id}, which no replica has"))),
        };
        let (uid, gid) = match owner {
            Ownership::Root => (0, 0),
            Ownership::Archive => (header.uid().map_err(broken)?, header.gid().map_err(broken)?),
        };
        let time = header.mtime().map_err(broken)?;
        Ok(Look {
            uid: host(uid)?,
            gid: host(gid)?,
            mode: header.mode().map_err(broken)? & 0o7777,
            time: i64::try_from(time).unwrap_or(0),
        })
    }
}

impl Place {
    fn failed(&self, error: Errno) -> LocalError {
        refused("write", &self.path, error)
    }

    /// Makes something under another name and moves it here.
    fn put(&self, make: impl FnOnce(&str) -> io::Result<()>) -> Result<(), LocalError> {
        match fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {
                return Err(self.failed(Errno::ISDIR));
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(self.failed(error)),
        }
        let name = format!(".unmoor-{}", random_hex(8)?);
        let moved = make(&name)
            .and_then(|()| Ok(fs::renameat(&self.folder, &name, &self.folder, &self.name)?));
        // Two names of one file are not renamed to one another: the first may be left.
        let _ = fs::unlinkat(&self.folder, &name, AtFlags::empty());
        moved.map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => self.failed(errno),
            None => broken(error),
        })
    }

    fn make_folder(&self, look: &Look) -> Result<(), LocalError> {
        match fs::mkdirat(&self.folder, &self.name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
                let there = there.map_err(|error| self.failed(error))?;
                return match FileType::from_raw_mode(there.st_mode).is_dir() {
                    true => Ok(()),
                    false => Err(self.failed(Errno::NOTDIR)),
                };
            }
            Err(error) => return Err(self.failed(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = fs::openat(&self.folder, &self.name, flags, Mode::empty());
        let settled = made.and_then(|made| {
            fs::fchown(
                &made,
                Some(Uid::from_raw(look.uid)),
                Some(Gid::from_raw(look.gid)),
            )?;
            fs::fchmod(&made, Mode::from_raw_mode(look.mode))
        });
        settled.map_err(|error| self.failed(error))
    }
}

fn put_file<R: Read>(
    folder: &OwnedFd,
    name: &str,
    entry: &mut Entry<'_, R>,
    look: &Look,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let mut file = File::from(fs::openat(folder, name, flags, mode)?);
    let size = entry.size();
    let copied = io::copy(entry, &mut file)?;
    if copied != size {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it ends in the middle of a file",
        ));
    }
    // In this order: a new owner takes set-user-id bits away.
    fs::fchown(
        &file,
        Some(Uid::from_raw(look.uid)),
        Some(Gid::from_raw(look.gid)),
    )?;
    fs::fchmod(&file, Mode::from_raw_mode(look.mode))?;
    let time = Timespec {
        tv_sec: look.time,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(fs::futimens(&file, &times)?)
}

fn put_link(folder: &OwnedFd, name: &str, target: &str, look: &Look) -> io::Result<()> {
    fs::symlinkat(target, folder, name)?;
    let (uid, gid) = (Uid::from_raw(look.uid), Gid::from_raw(look.gid));
    Ok(fs::chownat(
        folder,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn text(bytes: &[u8]) -> Result<String, LocalError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(bad(&String::from_utf8_lossy(bytes), "is no name in UTF-8")),
    }
}

fn bad(entry: &str, why: &str) -> LocalError {
    let shown: String = entry
        .chars()
        .take(80)
        .flat_map(char::escape_default)
        .collect();
    LocalError::Spec(format!("the archive's entry {shown} {why}"))
}

fn broken(error: io::Error) -> LocalError {
    LocalError::Spec(format!("read the archive: {error}"))
}
