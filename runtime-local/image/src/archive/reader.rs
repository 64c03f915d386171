//! Random access to the files of an archive, whether it is a directory or a tar file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use serde_json::{Map, Value};

use crate::error::{ImageError, IoContext, LayerProblem};
use crate::extract::decode::{Compression, decoder};
use crate::extract::path::TreePath;
use crate::extract::tar::{Kind, TarReader, TarSource};
use crate::limits::Limits;
use crate::manifest::json;
use crate::store::Store;

const MOST_FILES: usize = 100_000;
const MOST_LINKS: usize = 8;

/// An archive whose files can be read in any order.
#[derive(Debug)]
pub(super) struct ArchiveReader {
    path: PathBuf,
    limits: Limits,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Directory(OwnedFd),
    Tar {
        file: Arc<File>,
        places: HashMap<Vec<u8>, Place>,
    },
}

#[derive(Debug, Clone)]
enum Place {
    At { offset: u64, size: u64 },
    Link(TreePath),
}

/// A file of an archive.
pub(super) struct Member {
    pub(super) content: Box<dyn Read + Send>,
    pub(super) size: u64,
}

impl ArchiveReader {
    pub(super) fn open(store: &Store, path: &Path) -> Result<Self, ImageError> {
        let limits = store.limits().clone();
        let known = fs::metadata(path).at("open", path)?;
        let source = if known.is_dir() {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            Source::Directory(rustix::fs::open(path, flags, Mode::empty()).at("open", path)?)
        } else {
            let file = plain(store, path)?;
            let places = places(&file, &limits).map_err(|problem| bad(path, &problem))?;
            Source::Tar {
                file: Arc::new(file),
                places,
            }
        };
        Ok(Self {
            path: path.to_owned(),
            limits,
            source,
        })
    }

    pub(super) fn bad(&self, problem: &str) -> ImageError {
        ImageError::Archive {
            path: self.path.clone(),
            problem: problem.to_owned(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn has(&self, name: &[u8]) -> bool {
        matches!(self.find(name), Ok(Some(_)))
    }

    /// Opens a file of the archive.
    pub(super) fn get(&self, name: &[u8]) -> Result<Member, ImageError> {
        let shown = crate::error::shown(name);
        self.find(name)?
            .ok_or_else(|| self.bad(&format!("it has no file {shown}")))
    }

    fn find(&self, name: &[u8]) -> Result<Option<Member>, ImageError> {
        let shown = || crate::error::shown(name);
        let path = TreePath::parse(name, &self.limits)
            .map_err(|problem| self.bad(&format!("file {}: {problem}", shown())))?;
        match &self.source {
            Source::Directory(dir) => {
                // Links may lead anywhere within the layout, and nowhere else.
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = match openat2(dir, path.as_bytes(), flags, Mode::empty(), resolve) {
                    Ok(file) => File::from(file),
                    Err(Errno::NOENT) => return Ok(None),
                    Err(Errno::XDEV) => {
                        let why = "is a link that leads out of the archive; copy the file there";
                        return Err(self.bad(&format!("{} {why}", shown())));
                    }
                    Err(error) => return Err(error).at("open", self.path.join(shown())),
                };
                let known = file.metadata().at("look at", self.path.join(shown()))?;
                if !known.is_file() {
                    return Err(self.bad(&format!("{} is not a regular file", shown())));
                }
                Ok(Some(Member {
                    content: Box::new(file),
                    size: known.len(),
                }))
            }
            Source::Tar { file, places } => {
                let mut path = path;
                for _ in 0..MOST_LINKS {
                    match places.get(path.as_bytes()) {
                        None => return Ok(None),
                        Some(Place::Link(target)) => path = target.clone(),
                        Some(Place::At { offset, size }) => {
                            let section = Section {
                                file: Arc::clone(file),
                                position: *offset,
                                end: offset + size,
                            };
                            return Ok(Some(Member {
                                content: Box::new(section),
                                size: *size,
                            }));
                        }
                    }
                }
                Err(self.bad(&format!("links at {} go round in a circle", shown())))
            }
        }
    }

    /// Reads a small file whole.
    pub(super) fn document(&self, name: &[u8]) -> Result<Vec<u8>, ImageError> {
        let member = self.get(name)?;
        let most = self.limits.document_bytes;
        if member.size > most {
            let name = crate::error::shown(name);
            return Err(self.bad(&format!("{name} has more than {most} bytes")));
        }
        let mut content = Vec::new();
        member
            .content
            .take(most)
            .read_to_end(&mut content)
            .at("read", &self.path)?;
        Ok(content)
    }

    /// Reads a JSON list of objects.
    pub(super) fn objects(&self, name: &[u8]) -> Result<Vec<Map<String, Value>>, ImageError> {
        let what = format!("{} of {}", crate::error::shown(name), self.path.display());
        let list = json::list(&self.document(name)?, &what, self.limits.document_bytes)?;
        let objects = list.into_iter().map(|item| match item {
            Value::Object(map) => Ok(map),
            _ => Err(ImageError::document(&*what, "it is not a list of objects")),
        });
        objects.collect()
    }
}

fn bad(path: &Path, problem: &LayerProblem) -> ImageError {
    ImageError::Archive {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

/// The tar file, unpacked into a nameless file of the store if it is compressed.
fn plain(store: &Store, path: &Path) -> Result<File, ImageError> {
    let mut file = File::open(path).at("open", path)?;
    let mut start = [0; 4];
    let known = file.read(&mut start).at("read", path)?;
    let seekable = file.seek(SeekFrom::Start(0)).is_ok();
    let compression = Compression::of(&start[..known]);
    if seekable && compression == Compression::None {
        return Ok(file);
    }
    let input = io::Cursor::new(if seekable {
        Vec::new()
    } else {
        start[..known].to_vec()
    });
    let mut decoder = decoder(input.chain(file)).at("read", path)?;
    let mut target = store.nameless_file()?;
    let most = store.limits().layer_bytes;
    let mut limited = (&mut decoder).take(most + 1);
    if io::copy(&mut limited, &mut target).at("unpack", path)? > most {
        let problem = format!("it unpacks to more than {most} bytes");
        return Err(ImageError::Archive {
            path: path.to_owned(),
            problem,
        });
    }
    Ok(target)
}

fn places(file: &File, limits: &Limits) -> Result<HashMap<Vec<u8>, Place>, LayerProblem> {
    let mut file = file.try_clone().map_err(LayerProblem::Stream)?;
    file.seek(SeekFrom::Start(0))
        .map_err(LayerProblem::Stream)?;
    let mut archive = TarReader::new(Seekable(BufReader::new(file)), limits.clone());
    let mut places = HashMap::new();
    while let Some(entry) = archive.next_entry()? {
        let path = TreePath::parse(&entry.name, limits)?;
        let place = match entry.kind {
            Kind::File => Place::At {
                offset: archive.position(),
                size: entry.size,
            },
            Kind::Hardlink => Place::Link(TreePath::parse(&entry.link, limits)?),
            // Old versions of docker save write equal layers once and link to them.
            Kind::Symlink => Place::Link(beside(&path, &entry.link, limits)?),
            _ => continue,
        };
        if places.len() >= MOST_FILES {
            return Err(LayerProblem::limit(format!(
                "it has more than {MOST_FILES} files"
            )));
        }
        if places.insert(path.as_bytes().to_vec(), place).is_some() {
            let path = crate::error::shown(path.as_bytes());
            return Err(LayerProblem::refused(format!("it has two files {path}")));
        }
    }
    Ok(places)
}

/// Where a link next to `path` leads within the archive.
fn beside(path: &TreePath, link: &[u8], limits: &Limits) -> Result<TreePath, LayerProblem> {
    let above = path.parent();
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in above
        .as_bytes()
        .split(|b| *b == b'/')
        .chain(link.split(|b| *b == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." if parts.pop().is_none() => {
                return Err(LayerProblem::refused("a link leads out of the archive"));
            }
            b".." => {}
            part => parts.push(part),
        }
    }
    TreePath::parse(&parts.join(&b'/'), limits)
}

/// Skips content by seeking over it.
#[derive(Debug)]
struct Seekable(BufReader<File>);

impl Read for Seekable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::BufRead for Seekable {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.0.consume(count);
    }
}

impl TarSource for Seekable {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let step = i64::try_from(count).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.0.seek_relative(step)
    }
}

/// A part of a file, with a position of its own.
#[derive(Debug)]
struct Section {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..most], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
