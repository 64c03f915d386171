//! One replica's log as lines in order, across its rotated files, again and again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use unmoor_core::backend::{Channel, LogLine};
use unmoor_core::name::ReplicaId;

use super::entry::{End, Entry};
use crate::error::LocalError;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;
/// The longest line that is put together from its parts; a longer one comes in pieces.
const LINE_MAX: usize = 1024 * 1024;
/// Most rotated files that are looked for.
pub(crate) const FILES_MAX: u32 = 100;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// Only the last so many of those that are there at first.
    pub(crate) tail: Option<usize>,
    /// None written before.
    pub(crate) since: Option<SystemTime>,
}

/// The log of one replica.
#[derive(Debug)]
pub(crate) struct Source {
    replica: ReplicaId,
    directory: PathBuf,
    wanted: Wanted,
    /// What a line ends with beyond the newline: a terminal's ends in a carriage return.
    terminal: bool,
    current: Option<File>,
    /// The end of what was read, which is not a whole entry yet.
    rest: Vec<u8>,
    /// Parts of lines that are not whole yet.
    begun: [Vec<u8>; 2],
    lines: VecDeque<LogLine>,
    started: bool,
}

impl Source {
    /// The log in a replica's directory.
    pub(crate) fn new(
        replica: ReplicaId,
        directory: PathBuf,
        wanted: Wanted,
        terminal: bool,
    ) -> Self {
        Self {
            replica,
            directory,
            wanted,
            terminal,
            current: None,
            rest: Vec::new(),
            begun: [Vec::new(), Vec::new()],
            lines: VecDeque::new(),
            started: false,
        }
    }

    /// The next line, if there is one by now; nothing at the end of what is written.
    pub(crate) fn next(&mut self) -> Result<Option<LogLine>, LocalError> {
        if !self.started {
            self.start()?;
        }
        while self.lines.is_empty() {
            if !self.read_more()? {
                break;
            }
        }
        Ok(self.lines.pop_front())
    }

    /// The time of the next line, for merging.
    pub(crate) fn peek(&mut self) -> Result<Option<SystemTime>, LocalError> {
        if let Some(line) = self.next()? {
            self.lines.push_front(line);
        }
        Ok(self.lines.front().map(|line| line.time))
    }

    fn start(&mut self) -> Result<(), LocalError> {
        self.started = true;
        self.current = match self.files()?.into_iter().next() {
            Some(path) => open(&path)?,
            None => None,
        };
        if let Some(tail) = self.wanted.tail {
            let mut last = VecDeque::with_capacity(tail.min(1024));
            while self.read_more()? {
                for line in self.lines.drain(..) {
                    last.push_back(line);
                    if last.len() > tail {
                        last.pop_front();
                    }
                }
            }
            self.lines = last;
        }
        Ok(())
    }

    /// Reads a piece; false if there is nothing more now.
    fn read_more(&mut self) -> Result<bool, LocalError> {
        loop {
            if self.current.is_none() && !self.advance(None)? {
                return Ok(false);
            }
            let Some(file) = &mut self.current else {
                return Ok(false);
            };
            let mut chunk = vec![0; CHUNK];
            let path = &self.directory;
            let count = file
                .read(&mut chunk)
                .map_err(|e| LocalError::io("read the log in", path, e))?;
            if count > 0 {
                chunk.truncate(count);
                self.take(&chunk);
                return Ok(true);
            }
            let inode = file
                .metadata()
                .map_err(|e| LocalError::io("look at the log in", path, e))?
                .ino();
            if !self.advance(Some(inode))? {
                return Ok(false);
            }
        }
    }

    /// Goes to the file after the one read so far; false if there is none.
    fn advance(&mut self, read: Option<u64>) -> Result<bool, LocalError> {
        let files = self.files()?;
        let at = read.and_then(|inode| {
            files.iter().position(|path| {
                std::fs::symlink_metadata(path).is_ok_and(|found| found.ino() == inode)
            })
        });
        // A file that is gone was the oldest: what follows is the oldest there is.
        let Some(next) = files.get(at.map_or(0, |at| at + 1)) else {
            return Ok(false);
        };
        self.current = open(next)?;
        Ok(self.current.is_some())
    }

    /// The files of the log, oldest first.
    fn files(&self) -> Result<Vec<PathBuf>, LocalError> {
        let mut files = Vec::new();
        for number in 0..FILES_MAX {
            let name = if number == 0 {
                "log".to_owned()
            } else {
                format!("log.{number}")
            };
            let path = self.directory.join(name);
            match std::fs::symlink_metadata(&path) {
                Ok(_) => files.push(path),
                // In the middle of a rotation `log` is absent for a moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(source) => return Err(LocalError::io("look at", &path, source)),
            }
        }
        files.reverse();
        Ok(files)
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut at = 0;
        while let Some(end) = rest[at..].iter().position(|byte| *byte == b'\n') {
            self.entry(&rest[at..at + end]);
            at += end + 1;
        }
        self.rest = rest[at..].to_vec();
        if self.rest.len() > LINE_MAX {
            // Not an entry of ours.
            self.rest.clear();
        }
    }

    fn entry(&mut self, line: &[u8]) {
        let Some(entry) = Entry::parse(line) else {
            return;
        };
        let begun = &mut self.begun[usize::from(entry.channel == Channel::Stderr)];
        begun.extend_from_slice(entry.text);
        if entry.end == End::Part && begun.len() < LINE_MAX {
            return;
        }
        let mut text = std::mem::take(begun);
        let mut exact = text.clone();
        if entry.end == End::Line {
            exact.push(b'\n');
        }
        if self.terminal && text.last() == Some(&b'\r') {
            text.pop();
        }
        if self.wanted.since.is_some_and(|since| entry.time < since) {
            return;
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let is_all = exact.strip_suffix(b"\n") == Some(text.as_bytes());
        self.lines.push_back(LogLine {
            replica: self.replica.clone(),
            time: entry.time,
            channel: entry.channel,
            text,
            exact: (!is_all).then_some(exact),
        });
    }
}

/// Opens a regular file of ours; a link that somebody put there is not followed.
fn open(path: &Path) -> Result<Option<File>, LocalError> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => match file.metadata() {
            Ok(found) if found.is_file() => Ok(Some(file)),
            _ => Err(LocalError::Corrupt {
                what: path.display().to_string(),
                problem: "it is not a regular file".to_owned(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LocalError::io("open", path, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(dir: &Path, wanted: Wanted) -> Source {
        let id = ReplicaId::new("s".parse().unwrap(), "a".parse().unwrap(), 1);
        Source::new(id, dir.to_owned(), wanted, false)
    }

    fn texts(source: &mut Source) -> Vec<String> {
        std::iter::from_fn(|| source.next().expect("readable"))
            .map(|line| line.text)
            .collect()
    }

    fn line(second: u32, text: &str) -> String {
        format!("2026-01-02T03:04:{second:02}Z stdout F {text}\n")
    }

    #[test]
    fn a_line_that_its_program_has_left_is_a_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut bytes =
            b"2026-01-02T03:04:02Z stdout P fa\n2026-01-02T03:04:02Z stdout E tal\n".to_vec();
        bytes.extend(b"2026-01-02T03:04:03Z stdout F \xff\n");
        bytes.extend(line(4, "next").bytes());
        std::fs::write(dir.path().join("log"), bytes).expect("written");
        let mut source = source(dir.path(), Wanted::default());
        let lines: Vec<_> = std::iter::from_fn(|| source.next().expect("readable")).collect();
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line.text.as_str(), line.exact.as_deref()))
            .collect();
        let wanted = [
            ("fatal", Some(&b"fatal"[..])),
            ("\u{fffd}", Some(b"\xff\n")),
            ("next", None),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn rotated_files_come_oldest_first_and_parts_are_joined() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("log.1"), line(1, "one")).expect("written");
        let parts = "2026-01-02T03:04:02Z stdout P tw\n2026-01-02T03:04:02Z stdout F o\n";
        std::fs::write(dir.path().join("log"), parts).expect("written");
        assert_eq!(
            texts(&mut source(dir.path(), Wanted::default())),
            ["one", "two"]
        );
        let tail = Wanted {
            tail: Some(1),
            since: None,
        };
        assert_eq!(texts(&mut source(dir.path(), tail)), ["two"]);
    }

    #[test]
    fn following_survives_two_rotations_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let mut source = source(dir.path(), Wanted::default());
        assert!(texts(&mut source).is_empty(), "nothing is written yet");
        std::fs::write(path("log"), line(1, "a")).expect("written");
        assert_eq!(texts(&mut source), ["a"]);
        let append = |text: String| {
            let mut file = File::options()
                .append(true)
                .open(path("log"))
                .expect("open");
            io::Write::write_all(&mut file, text.as_bytes()).expect("written");
        };
        append(line(2, "b"));
        std::fs::rename(path("log"), path("log.2")).expect("rotated");
        std::fs::write(path("log.1"), line(3, "c")).expect("written");
        std::fs::write(path("log"), line(4, "d")).expect("written");
        append("2026-01-02T03:04:05Z stdout F half".to_owned());
        assert_eq!(texts(&mut source), ["b", "c", "d"]);
        append(" done\n".to_owned());
        assert_eq!(texts(&mut source), ["half done"]);
    }

    #[test]
    fn a_link_in_place_of_the_log_is_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("log")).expect("linked");
        assert!(source(dir.path(), Wanted::default()).next().is_err());
    }
}
