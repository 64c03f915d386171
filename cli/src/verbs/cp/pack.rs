//! Files of this machine as an archive, on their way into a replica.

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use unmoor::backend::Stream;
use unmoor::{Error, ErrorKind};

/// Pieces on their way between a thread and a stream.
pub(super) const ROOM: usize = 8;
const PIECE: usize = 64 << 10;
/// Longest target of a link that a header holds as it is.
const LINK: usize = 100;

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

/// What was left out of an archive, because it has no content.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftOut(Arc<Mutex<Vec<PathBuf>>>);

impl LeftOut {
    fn add(&self, path: PathBuf) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path);
    }

    /// All of it, once.
    pub(super) fn take(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A file or directory as an archive whose entries begin with `name`.
pub(super) fn pack(path: PathBuf, name: String, follow: bool, left: LeftOut) -> Stream<Vec<u8>> {
    archive_of(format!("read {}", path.display()), move |sink| {
        let mut archive = tar::Builder::new(sink);
        archive.follow_symlinks(false);
        let path = if follow {
            fs::canonicalize(&path)?
        } else {
            path
        };
        let mut waiting = vec![(path, PathBuf::from(name))];
        while let Some((path, name)) = waiting.pop() {
            let kind = fs::symlink_metadata(&path)?.file_type();
            if kind.is_dir() {
                archive.append_dir(&name, &path)?;
                let mut within: Vec<_> = fs::read_dir(&path)?.collect::<io::Result<_>>()?;
                within.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
                let within = within
                    .iter()
                    .map(|entry| (entry.path(), name.join(entry.file_name())));
                waiting.extend(within);
            } else if kind.is_symlink() {
                append_link(&mut archive, &name, &path)?;
            } else if kind.is_file() {
                archive.append_path_with_name(&path, &name)?;
            } else {
                left.add(path);
            }
        }
        archive.finish()
    })
}

/// Adds a symbolic link, which leads where it leads: also to `/`, and with every slash.
pub(crate) fn append_link<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &Path,
    path: &Path,
) -> io::Result<()> {
    let target = fs::read_link(path)?;
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&fs::symlink_metadata(path)?);
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    let bytes = target.as_os_str().as_bytes();
    if bytes.len() > LINK {
        return archive.append_link(&mut header, name, &target);
    }
    header.set_link_name_literal(bytes)?;
    archive.append_data(&mut header, name, io::empty())
}

/// What comes in on standard input.
pub(super) fn standard_input() -> Stream<Vec<u8>> {
    archive_of("read standard input".to_owned(), |sink| {
        io::copy(&mut io::stdin().lock(), sink).map(drop)
    })
}
