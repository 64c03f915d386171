//! Makes an image of one layer from a root file system: a tar file or a directory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use unmoor_core::image::{Digest, ImageRef, Platform};

use crate::build::put_image;
use crate::build::tar_write::{Header, TarWriter};
use crate::error::{ImageError, IoContext};
use crate::extract::Expected;
use crate::extract::decode::Compression;
use crate::extract::op::{Meta, Xattrs};
use crate::extract::tar::Kind;
use crate::manifest::config::ImageConfig;
use crate::manifest::{Descriptor, change, media};
use crate::store::{Replace, Store, StoredImage};

/// How to make an image from a root file system.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Lines as in `docker import --change`, for example `CMD ["/bin/sh"]`.
    pub changes: Vec<String>,
    /// What the files were built for.
    pub platform: Platform,
    /// Whether the name may move away from an image that has it.
    pub replace: Replace,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            changes: Vec::new(),
            platform: Platform::linux_here(),
            replace: Replace::No,
        }
    }
}

/// Imports a root file system as an image of one layer.
///
/// A tar file is kept as it is, compressed or not. A directory is read sorted, with owners,
/// modes and times, so that the same tree gives the same digest; sockets and devices are left
/// out, and other file systems mounted in it are not entered.
pub fn import(
    store: &Store,
    path: impl AsRef<Path>,
    name: &ImageRef,
    options: &ImportOptions,
) -> Result<StoredImage, ImageError> {
    super::whole_or_nothing(store, || import_held(store, path.as_ref(), name, options))
}

fn import_held(
    store: &Store,
    path: &Path,
    name: &ImageRef,
    options: &ImportOptions,
) -> Result<StoredImage, ImageError> {
    let mut config = ImageConfig::new(options.platform.clone());
    for line in &options.changes {
        change::apply(&mut config, line).map_err(ImageError::Build)?;
    }
    let (kind, digest, size) = if std::fs::metadata(path).at("open", path)?.is_dir() {
        let (digest, size) = store.put_with(|target| directory(path, target, store))?;
        (media::OCI_TAR, digest, size)
    } else {
        tar_file(store, path)?
    };
    // Unpacked now, so that what is not an archive at all is found here and not at a start.
    let diff_id = match kind {
        media::OCI_TAR => {
            let diff_id = digest.clone();
            store.unpack_layer(&Expected {
                digest: digest.clone(),
                size,
                diff_id,
            })?;
            digest.clone()
        }
        _ => store.unpack_new(&digest, size)?,
    };
    config.diff_ids.push(diff_id);
    let layer = Descriptor::new(kind, digest, size);
    put_image(store, name, &config, vec![layer], options.replace)
}

/// Stores the file as it is; answers what kind of layer it makes.
fn tar_file(store: &Store, path: &Path) -> Result<(&'static str, Digest, u64), ImageError> {
    let mut file = File::open(path).at("open", path)?;
    let (digest, size) = store.put(&mut file)?;
    if size == 0 {
        let problem = "it is empty".to_owned();
        return Err(ImageError::Archive {
            path: path.to_owned(),
            problem,
        });
    }
    let mut start = Vec::new();
    let blob = store.open_blob(&digest, "an import")?;
    blob.take(4).read_to_end(&mut start).at("read", path)?;
    let kind = match Compression::of(&start) {
        Compression::None => media::OCI_TAR,
        Compression::Gzip => media::OCI_TAR_GZIP,
        Compression::Zstd => media::OCI_TAR_ZSTD,
    };
    Ok((kind, digest, size))
}

/// A directory being written as a tar archive.
struct Walk<'a, W: Write> {
    archive: TarWriter<W>,
    shown: &'a Path,
    device: u64,
    depth: usize,
    links: HashMap<u64, Vec<u8>>,
}

fn directory(path: &Path, target: &mut dyn Write, store: &Store) -> Result<(), ImageError> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let root = fs::open(path, flags, Mode::empty()).at("open", path)?;
    let stat = fs::fstat(&root).at("look at", path)?;
    let mut walk = Walk {
        archive: TarWriter::new(target),
        shown: path,
        device: stat.st_dev,
        depth: store.limits().path_depth,
        links: HashMap::new(),
    };
    walk.write(
        b"./",
        Kind::Directory,
        b"",
        (&stat, xattrs(&root)),
        &mut io::empty(),
    )?;
    walk.dir(&root, b"", 1)?;
    walk.archive.finish().at("write", path)?;
    Ok(())
}

impl<W: Write> Walk<'_, W> {
    fn dir(&mut self, dir: &OwnedFd, above: &[u8], depth: usize) -> Result<(), ImageError> {
        if depth > self.depth {
            let problem = format!("it is more than {} directories deep", self.depth);
            return Err(ImageError::Archive {
                path: self.shown.to_owned(),
                problem,
            });
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(dir).at("list", self.shown)? {
            let name = entry
                .at("list", self.shown)?
                .file_name()
                .to_bytes()
                .to_vec();
            if !matches!(name.as_slice(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let path = if above.is_empty() {
                name.clone()
            } else {
                [above, b"/", &name].concat()
            };
            self.child(dir, &name, path, depth)?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: Vec<u8>,
        depth: usize,
    ) -> Result<(), ImageError> {
        let shown = self.shown.join(crate::error::shown(&path));
        let stat = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).at("look at", &shown)?;
        let open = |flags| {
            let flags = flags | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
            fs::openat(dir, name, flags, Mode::empty()).at("open", &shown)
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let child = open(OFlags::DIRECTORY)?;
                let slashed = [path.as_slice(), b"/"].concat();
                let about = (&stat, xattrs(&child));
                self.write(&slashed, Kind::Directory, b"", about, &mut io::empty())?;
                if stat.st_dev == self.device {
                    self.dir(&child, &path, depth + 1)?;
                }
                Ok(())
            }
            FileType::RegularFile => {
                if stat.st_nlink > 1 {
                    if let Some(first) = self.links.get(&stat.st_ino) {
                        let first = first.clone();
                        let about = (&stat, Vec::new());
                        return self.write(&path, Kind::Hardlink, &first, about, &mut io::empty());
                    }
                    self.links.insert(stat.st_ino, path.clone());
                }
                let file = open(OFlags::NONBLOCK)?;
                let about = (&stat, xattrs(&file));
                self.write(&path, Kind::File, b"", about, &mut File::from(file))
            }
            FileType::Symlink => {
                let target = fs::readlinkat(dir, name, Vec::new()).at("read", &shown)?;
                let about = (&stat, Vec::new());
                self.write(
                    &path,
                    Kind::Symlink,
                    target.as_bytes(),
                    about,
                    &mut io::empty(),
                )
            }
            FileType::Fifo => self.write(
                &path,
                Kind::Fifo,
                b"",
                (&stat, Vec::new()),
                &mut io::empty(),
            ),
            _ => Ok(()),
        }
    }

    fn write(
        &mut self,
        name: &[u8],
        kind: Kind,
        link: &[u8],
        (stat, xattrs): (&Stat, Xattrs),
        content: &mut dyn Read,
    ) -> Result<(), ImageError> {
        let meta = Meta {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime_s: stat.st_mtime,
            mtime_ns: stat.st_mtime_nsec as u32,
            xattrs,
        };
        let size = if kind == Kind::File {
            stat.st_size as u64
        } else {
            0
        };
        let header = Header {
            name,
            kind,
            link,
            size,
            meta: &meta,
        };
        let shown = self.shown.join(crate::error::shown(name));
        self.archive.entry(&header, content).at("copy", shown)
    }
}

/// The attributes an image may have; see the rules for unpacking.
fn xattrs(file: &impl AsFd) -> Xattrs {
    let mut names = vec![0_u8; 64 << 10];
    let Ok(length) = fs::flistxattr(file, names.as_mut_slice()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for name in names[..length].split(|b| *b == 0) {
        let of_overlay = name.starts_with(b"user.overlay.");
        if name != b"security.capability" && (!name.starts_with(b"user.") || of_overlay) {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        if let Ok(length) = fs::fgetxattr(file, name, value.as_mut_slice()) {
            value.truncate(length);
            found.push((name.to_vec(), value));
        }
    }
    found.sort();
    found
}
