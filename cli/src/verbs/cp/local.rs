//! What comes out of a replica, placed on this machine.

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use unmoor::backend::Stream;

use super::pack::ROOM;
use crate::app::App;
use crate::exit::Failure;

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

/// Unpacks what came out of a replica, as `docker cp` places it.
///
/// Nothing in it is believed: names that lead out of the destination are refused.
pub(super) async fn unpack(
    app: &App,
    mut archive: Stream<Vec<u8>>,
    (is_directory, contents): (bool, bool),
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
    let placed = work
        .await
        .map_err(|error| failed(io::Error::other(error)))?;
    for left in placed.map_err(failed)? {
        let text = format!("{left} stays there: it is a pipe or a device, without any content");
        app.ui.warn(&text);
    }
    Ok(())
}

/// Places what comes; gives what has no content to be placed.
fn place(source: Source, is_directory: bool, contents: bool, to: &Path) -> io::Result<Vec<String>> {
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
    let mut left = Vec::new();
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
        let kind = entry.header().entry_type();
        if kind.is_block_special() || kind.is_character_special() || kind.is_fifo() {
            left.push(path.display().to_string());
            continue;
        }
        unpack_one(&mut entry, &folder, &path)?;
    }
    Ok(left)
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
