//! Root file systems out of installed programs: each with its libraries, and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use tar::{Builder, EntryType, Header};

/// Directories at the top that are links into `/usr`, as on every Debian since 12.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Why a root file system cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file of this machine cannot be read.
    #[error("read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The libraries of a program cannot be listed.
    #[error("list the libraries of {path}: {why}")]
    Libraries {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The archive cannot be written.
    #[error("write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Debug, Clone)]
enum Content {
    Directory,
    Link(PathBuf),
    Bytes(Vec<u8>),
    /// A file of this machine, read when the archive is written.
    Here(PathBuf),
}

#[derive(Debug, Clone)]
struct Entry {
    content: Content,
    mode: u32,
    owner: (u64, u64),
}

/// A root file system in the making.
#[derive(Debug, Clone)]
pub struct Rootfs {
    entries: BTreeMap<PathBuf, Entry>,
    users: Vec<String>,
    groups: Vec<String>,
}

impl Default for Rootfs {
    fn default() -> Self {
        Self::new()
    }
}

impl Rootfs {
    /// Directories every program expects, and the users root and nobody.
    #[must_use]
    pub fn new() -> Self {
        let mut rootfs = Self {
            entries: BTreeMap::new(),
            users: Vec::new(),
            groups: Vec::new(),
        };
        for (path, mode) in [
            ("etc", 0o755),
            ("root", 0o700),
            ("run", 0o755),
            ("tmp", 0o1777),
            ("usr/bin", 0o755),
            ("usr/lib", 0o755),
            ("usr/lib64", 0o755),
            ("usr/sbin", 0o755),
            ("var/tmp", 0o1777),
        ] {
            rootfs = rootfs.directory(path, mode, 0);
        }
        for name in MERGED {
            rootfs = rootfs.link(name, format!("usr/{name}"));
        }
        rootfs.user("root", 0, "/root").user("nobody", 65534, "/")
    }

    /// Adds a user with a group of the same name and number.
    #[must_use]
    pub fn user(mut self, name: &str, id: u32, home: &str) -> Self {
        self.users
            .push(format!("{name}:x:{id}:{id}:{name}:{home}:/bin/sh"));
        self.groups.push(format!("{name}:x:{id}:"));
        self
    }

    /// Adds a directory that belongs to the user of this number, with the missing ones above it.
    #[must_use]
    pub fn directory(mut self, path: &str, mode: u32, owner: u32) -> Self {
        let entry = Entry {
            content: Content::Directory,
            mode,
            owner: (u64::from(owner), u64::from(owner)),
        };
        self.insert(Path::new(path), entry);
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: impl Into<PathBuf>) -> Self {
        self.add(Path::new(path), Content::Link(target.into()), 0o777);
        self
    }

    /// Adds a file with this text.
    #[must_use]
    pub fn file(mut self, path: &str, text: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.add(Path::new(path), Content::Bytes(text.into()), mode);
        self
    }

    /// Adds an installed program, or shared object, at its own path, with all its libraries.
    ///
    /// # Errors
    /// If it or a library of it is not there.
    pub fn program(mut self, path: impl AsRef<Path>) -> Result<Self, PackError> {
        let path = path.as_ref();
        self.add(path, Content::Here(real(path)?), 0o755);
        for library in libraries(path)? {
            self.add(&library, Content::Here(real(&library)?), 0o755);
        }
        Ok(self)
    }

    /// Adds an installed file at its own path.
    ///
    /// # Errors
    /// If it is not there.
    pub fn copy(mut self, path: impl AsRef<Path>) -> Result<Self, PackError> {
        let path = path.as_ref();
        let mode = mode_of(path)?;
        self.add(path, Content::Here(real(path)?), mode);
        Ok(self)
    }

    /// Adds an installed directory with what is in it; links become what they lead to, and links
    /// that lead nowhere are left out.
    ///
    /// # Errors
    /// If something in it cannot be read.
    pub fn tree(mut self, directory: impl AsRef<Path>) -> Result<Self, PackError> {
        let mut waiting = vec![directory.as_ref().to_owned()];
        while let Some(directory) = waiting.pop() {
            let list = fs::read_dir(&directory).map_err(|source| read(&directory, source))?;
            for entry in list {
                let path = entry.map_err(|source| read(&directory, source))?.path();
                let Ok(meta) = fs::metadata(&path) else {
                    continue;
                };
                if meta.is_dir() {
                    waiting.push(path);
                } else if meta.is_file() {
                    self = self.copy(path)?;
                }
            }
        }
        Ok(self)
    }

    /// Adds busybox with links for these of its programs.
    ///
    /// # Errors
    /// If busybox is not installed.
    pub fn busybox(self, names: &[&str]) -> Result<Self, PackError> {
        let with = self.program("/usr/bin/busybox")?;
        let link = |rootfs: Self, name: &&str| rootfs.link(&format!("usr/bin/{name}"), "busybox");
        Ok(names.iter().fold(with, link))
    }

    fn add(&mut self, path: &Path, content: Content, mode: u32) {
        let owner = (0, 0);
        self.insert(
            path,
            Entry {
                content,
                mode,
                owner,
            },
        );
    }

    fn insert(&mut self, path: &Path, entry: Entry) {
        let path = inside(path);
        for parent in path
            .ancestors()
            .skip(1)
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            self.entries
                .entry(parent.to_owned())
                .or_insert_with(|| Entry {
                    content: Content::Directory,
                    mode: 0o755,
                    owner: (0, 0),
                });
        }
        self.entries.insert(path, entry);
    }

    /// Writes it as a tar file; the same content gives the same bytes.
    ///
    /// # Errors
    /// If a file cannot be read or the archive cannot be written.
    pub fn write(&self, archive: &Path) -> Result<(), PackError> {
        let failed = |source| PackError::Write {
            path: archive.to_owned(),
            source,
        };
        let mut whole = self.clone();
        for (path, lines) in [("etc/passwd", &self.users), ("etc/group", &self.groups)] {
            whole = whole.file(path, format!("{}\n", lines.join("\n")), 0o644);
        }
        let mut builder = Builder::new(File::create(archive).map_err(failed)?);
        for (path, entry) in &whole.entries {
            append(&mut builder, path, entry)?.map_err(failed)?;
        }
        builder.into_inner().map(drop).map_err(failed)
    }
}

/// Outer result: what is packed cannot be read. Inner result: the archive cannot be written.
fn append(
    builder: &mut Builder<File>,
    path: &Path,
    entry: &Entry,
) -> Result<io::Result<()>, PackError> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.0);
    header.set_gid(entry.owner.1);
    header.set_mtime(0);
    Ok(match &entry.content {
        Content::Directory => {
            header.set_entry_type(EntryType::Directory);
            header.set_size(0);
            builder.append_data(&mut header, path, io::empty())
        }
        Content::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, path, target)
        }
        Content::Bytes(bytes) => {
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())
        }
        Content::Here(here) => {
            let file = File::open(here).map_err(|source| read(here, source))?;
            let size = file.metadata().map_err(|source| read(here, source))?.len();
            header.set_size(size);
            builder.append_data(&mut header, path, file)
        }
    })
}

fn read(path: &Path, source: io::Error) -> PackError {
    PackError::Read {
        path: path.to_owned(),
        source,
    }
}

fn real(path: &Path) -> Result<PathBuf, PackError> {
    fs::canonicalize(path).map_err(|source| read(path, source))
}

fn mode_of(path: &Path) -> Result<u32, PackError> {
    let meta = fs::metadata(path).map_err(|source| read(path, source))?;
    Ok(meta.permissions().mode() & 0o755)
}

/// Where a path of this machine stands in the root file system: relative, below `usr`.
fn inside(path: &Path) -> PathBuf {
    let parts: PathBuf = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect();
    let merged = MERGED
        .iter()
        .any(|top| parts.starts_with(top) && parts != Path::new(top));
    if merged {
        Path::new("usr").join(parts)
    } else {
        parts
    }
}

/// What the dynamic loader would load with it, and the loader.
fn libraries(path: &Path) -> Result<Vec<PathBuf>, PackError> {
    let failed = |why: String| PackError::Libraries {
        path: path.to_owned(),
        why,
    };
    let mut command = Command::new("ldd");
    let output = command
        .arg(path)
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| failed(format!("run ldd: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    if text.contains("not a dynamic executable") || error.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        return Err(failed(error.trim().to_owned()));
    }
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        return Err(failed(line.trim().to_owned()));
    }
    Ok(text.lines().filter_map(library).collect())
}

/// The path in `libc.so.6 => /lib/…/libc.so.6 (0x…)` and in `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn library(line: &str) -> Option<PathBuf> {
    let line = line.trim();
    let path = line.split_once(" => ").map_or(line, |(_, path)| path);
    let path = path.split_once(" (").map_or(path, |(path, _)| path);
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_where_the_links_at_the_top_lead() {
        assert_eq!(
            inside(Path::new("/lib64/ld.so")),
            Path::new("usr/lib64/ld.so")
        );
        assert_eq!(
            inside(Path::new("/usr/sbin/nginx")),
            Path::new("usr/sbin/nginx")
        );
        assert_eq!(inside(Path::new("bin")), Path::new("bin"));
        assert_eq!(inside(Path::new("/etc/passwd")), Path::new("etc/passwd"));
    }

    #[test]
    fn lines_of_ldd_are_read() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(
            library("\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)"),
            path("/lib/x/libc.so.6")
        );
        assert_eq!(
            library("\t/lib64/ld-linux-x86-64.so.2 (0x7f)"),
            path("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(library("\tlinux-vdso.so.1 (0x7f)"), None);
    }
}
