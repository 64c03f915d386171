//! The side of a copy that is on this machine.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use unmoor::backend::Stream;
use unmoor::{Error, ErrorKind};

use crate::exit::Failure;

/// Pieces on their way between a thread and a stream.
const ROOM: usize = 8;
const PIECE: usize = 64 << 10;

/// A thread's way into a stream.
struct Sink(mpsc::Sender<unmoor::Result<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(bytes.to_vec()));
        sent.map(|()| bytes.len())
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream's way into a thread.
struct Source {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}

/// What a thread writes, as a stream; `what` is said if it fails.
pub(crate) fn archive_of(
    what: String,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Stream<Vec<u8>> {
    let (sender, mut pieces) = mpsc::channel(ROOM);
    std::thread::spawn(move || {
        let mut sink = io::BufWriter::with_capacity(PIECE, Sink(sender.clone()));
        let filled = fill(&mut sink).and_then(|()| sink.flush());
        if let Err(error) = filled {
            // Nobody listens any more if this fails.
            let error = Error::new(ErrorKind::InvalidSpec, what).because(error);
            let _ = sender.blocking_send(Err(error));
        }
    });
    futures_util::stream::poll_fn(move |context| pieces.poll_recv(context)).boxed()
}

/// A file or directory as an archive whose entries begin with `name`.
pub(super) fn pack(path: PathBuf, name: String, follow: bool) -> Stream<Vec<u8>> {
    archive_of(format!("read {}", path.display()), move |sink| {
        let mut archive = tar::Builder::new(sink);
        archive.follow_symlinks(false);
        let path = if follow {
            fs::canonicalize(&path)?
        } else {
            path
        };
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            archive.append_dir_all(&name, &path)?;
        } else {
            archive.append_path_with_name(&path, &name)?;
        }
        archive.finish()
    })
}

/// What comes in on standard input.
pub(super) fn standard_input() -> Stream<Vec<u8>> {
    archive_of("read standard input".to_owned(), |sink| {
        io::copy(&mut io::stdin().lock(), sink).map(drop)
    })
}

/// Unpacks what came out of a replica, as `docker cp` places it.
///
/// Nothing in it is believed: names that lead out of the destination are refused.
pub(super) async fn unpack(
    mut archive: Stream<Vec<u8>>,
    is_directory: bool,
    contents: bool,
    to: &Path,
) -> Result<(), Failure> {
    let (sender, pieces) = mpsc::channel(ROOM);
    let source = Source {
        pieces,
        piece: io::Cursor::default(),
    };
    let to = to.to_owned();
    let work = tokio::task::spawn_blocking(move || place(source, is_directory, contents, &to));
    while let Some(piece) = archive.next().await {
        if sender.send(piece?).await.is_err() {
            break;
        }
    }
    drop(sender);
    let failed = |error| Failure::System("write the copy", error);
    work.await
        .map_err(|error| failed(io::Error::other(error)))?
        .map_err(failed)
}

fn place(source: Source, is_directory: bool, contents: bool, to: &Path) -> io::Result<()> {
    let there = fs::metadata(to);
    let to_directory = there.as_ref().is_ok_and(fs::Metadata::is_dir);
    let text = to.as_os_str().to_string_lossy();
    if !is_directory && !to_directory && text.ends_with('/') {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{text}: no such directory"),
        ));
    }
    if is_directory && there.is_ok() && !to_directory {
        let text = format!("{text} is a file, and the source a directory");
        return Err(io::Error::new(io::ErrorKind::NotADirectory, text));
    }
    // With a directory there the source goes into it under its own name; else it is renamed.
    let (folder, name) = match (to_directory, contents) {
        (true, false) => (to.to_owned(), None),
        (true, true) => (to.to_owned(), Some(PathBuf::new())),
        (false, _) => {
            let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
            let name = to
                .file_name()
                .ok_or_else(|| io::Error::other("it has no name"))?;
            (
                parent.unwrap_or(Path::new(".")).to_owned(),
                Some(PathBuf::from(name)),
            )
        }
    };
    let mut archive = tar::Archive::new(source);
    archive.set_preserve_permissions(true);
    archive.set_overwrite(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let path = renamed(&path, name.as_deref())?;
        if path.as_os_str().is_empty() {
            continue;
        }
        unpack_one(&mut entry, &folder, &path)?;
    }
    Ok(())
}

/// Makes one entry beneath the folder, without going through any link that is there.
fn unpack_one<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    folder: &Path,
    path: &Path,
) -> io::Result<()> {
    let target = folder.join(path);
    let root = fs::canonicalize(folder)?;
    let parent = fs::canonicalize(target.parent().unwrap_or(folder))?;
    if !parent.starts_with(&root) {
        let text = format!(
            "{} would be outside of {}",
            path.display(),
            folder.display()
        );
        return Err(io::Error::other(text));
    }
    let there = fs::symlink_metadata(&target).ok();
    let kind = entry.header().entry_type();
    if kind.is_dir() {
        return match there {
            Some(meta) if meta.is_dir() => Ok(()),
            Some(_) => Err(io::Error::other(format!(
                "{} is no directory",
                target.display()
            ))),
            None => fs::create_dir(&target),
        };
    }
    if !(kind.is_file() || kind.is_symlink()) {
        let text = format!(
            "{} is neither a file nor a directory nor a link",
            path.display()
        );
        return Err(io::Error::other(text));
    }
    if there.is_some_and(|meta| !meta.is_dir()) {
        // Never written through: what has the name may be a link to anywhere.
        fs::remove_file(&target)?;
    }
    entry.unpack(&target).map(drop)
}

/// The entry's path with its first name replaced; nothing in it may lead upwards.
fn renamed(path: &Path, name: Option<&Path>) -> io::Result<PathBuf> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            _ => {
                let text = format!("{} leads out of the copy", path.display());
                return Err(io::Error::other(text));
            }
        }
    }
    match name {
        None => Ok(parts.iter().collect()),
        Some(name) => {
            let rest: PathBuf = parts.iter().skip(1).collect();
            Ok(if rest.as_os_str().is_empty() {
                name.to_owned()
            } else {
                name.join(rest)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_renamed_and_never_lead_upwards() {
        let to =
            |path: &str, name: Option<&str>| renamed(Path::new(path), name.map(Path::new)).ok();
        assert_eq!(to("etc/x", None), Some(PathBuf::from("etc/x")));
        assert_eq!(to("etc/x", Some("copy")), Some(PathBuf::from("copy/x")));
        assert_eq!(to("etc/", Some("copy")), Some(PathBuf::from("copy")));
        assert_eq!(to("./etc/x", Some("")), Some(PathBuf::from("x")));
        for bad in ["../x", "/etc/x", "etc/../../x"] {
            assert_eq!(to(bad, None), None, "{bad}");
        }
    }
}
