//! The replica's log: one line of the container runtime interface's format per line of output.
//!
//! `2026-01-02T03:04:05.123456789Z stdout F text`; `P` instead of `F` marks a part of a line
//! that goes on in the next entry, `E` the end of a line that its program has left without one. Memory is bounded by the longest part; the disk by rotation.
//! When the disk is full output is dropped, counted, and the gap is marked once there is room.

use std::os::fd::{AsFd, OwnedFd};

use crate::fault::{Outcome, Step};
use crate::sys::fs::{self, At};
use crate::sys::{self, abi, poll};
use crate::wire::plan::LogLimits;

/// The longest text of one entry.
const PART_MAX: usize = 16 * 1024;
/// How long the beginning of a line may wait for its end.
const PATIENCE_MS: u64 = 500;
const NAME: &str = "log";

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Out => "stdout",
            Self::Err => "stderr",
        }
    }
}

/// The beginning of a line whose end has not come yet.
#[derive(Debug, Default)]
struct Begun {
    bytes: Vec<u8>,
    since_ms: u64,
    /// Parts of it have been written.
    open: bool,
}

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    dir: OwnedFd,
    file: OwnedFd,
    size: u64,
    limits: LogLimits,
    begun: [Begun; 2],
    lost: u64,
}

impl Log {
    /// Opens the log in the replica's directory, at its end.
    pub(super) fn open(dir: OwnedFd, limits: LogLimits) -> Outcome<Self> {
        let (file, size) = open_file(&dir).step("open log", NAME)?;
        Ok(Self {
            dir,
            file,
            size,
            limits,
            begun: Default::default(),
            lost: 0,
        })
    }

    /// Adds output.
    pub(super) fn add(&mut self, stream: Stream, bytes: &[u8]) {
        let stamp = Stamp::now();
        let mut entries = Vec::with_capacity(bytes.len() + 64);
        let begun = &mut self.begun[stream as usize];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            if begun.bytes.is_empty() {
                begun.since_ms = stamp.monotonic_ms;
            }
            add_text(&mut entries, &stamp, stream, begun, text);
            if ends {
                entry(&mut entries, &stamp, stream, 'F', &begun.bytes);
                begun.bytes.clear();
                begun.open = false;
            }
        }
        if begun.bytes.is_empty() {
            begun.bytes = Vec::new();
        }
        self.write(&entries);
    }

    /// When the beginning of a line has waited long enough.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let waiting = self.begun.iter().filter(|begun| !begun.bytes.is_empty());
        waiting.map(|begun| begun.since_ms + PATIENCE_MS).min()
    }

    /// Writes beginnings of lines that have waited long enough.
    pub(super) fn flush(&mut self) {
        let stamp = Stamp::now();
        let mut entries = Vec::new();
        for (stream, begun) in [Stream::Out, Stream::Err].into_iter().zip(&mut self.begun) {
            let due = begun.since_ms + PATIENCE_MS <= stamp.monotonic_ms;
            if due && !begun.bytes.is_empty() {
                entry(&mut entries, &stamp, stream, 'P', &begun.bytes);
                begun.bytes = Vec::new();
                begun.open = true;
            }
        }
        self.write(&entries);
    }

    /// Ends lines that nobody goes on with: the program has ended.
    pub(super) fn end(&mut self) {
        let stamp = Stamp::now();
        let mut entries = Vec::new();
        for (stream, begun) in [Stream::Out, Stream::Err].into_iter().zip(&mut self.begun) {
            if begun.open || !begun.bytes.is_empty() {
                entry(&mut entries, &stamp, stream, 'E', &begun.bytes);
            }
            *begun = Begun::default();
        }
        self.write(&entries);
    }

    fn write(&mut self, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        let max = self.limits.max_bytes;
        if max > 0 && self.size > 0 && self.size + entries.len() as u64 > max {
            self.rotate();
        }
        if self.lost > 0 && !self.mark_gap() {
            self.lost += entries.len() as u64;
            return;
        }
        self.append(entries);
    }

    fn append(&mut self, entries: &[u8]) -> bool {
        let mut rest = entries;
        while !rest.is_empty() {
            match fs::write(self.file.as_fd(), rest) {
                Ok(written) if written > 0 => {
                    self.size += written as u64;
                    rest = &rest[written..];
                }
                _ => break,
            }
        }
        self.lost += rest.len() as u64;
        rest.is_empty()
    }

    /// Says how much is missing; false while there is still no room.
    fn mark_gap(&mut self) -> bool {
        let lost = std::mem::take(&mut self.lost);
        let text = format!("unmoor: {lost} bytes of the log could not be written here");
        let mut line = b"\n".to_vec();
        entry(&mut line, &Stamp::now(), Stream::Err, 'F', text.as_bytes());
        let done = self.append(&line);
        if !done {
            self.lost = lost;
        }
        done
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`, the last one goes.
    fn rotate(&mut self) {
        let dir = At::from(&self.dir);
        let name = |number: u32| {
            if number == 0 {
                NAME.to_owned()
            } else {
                format!("{NAME}.{number}")
            }
        };
        let last = self.limits.files.max(1) - 1;
        let _ = fs::unlink(dir, name(last));
        for number in (0..last).rev() {
            let _ = fs::rename(dir, name(number), name(number + 1));
        }
        // Without a new file the old one, though renamed, goes on taking output.
        if let Ok((file, size)) = open_file(&self.dir) {
            (self.file, self.size) = (file, size);
        }
    }
}

fn open_file(dir: &OwnedFd) -> sys::Result<(OwnedFd, u64)> {
    let flags = abi::O_CREAT | abi::O_WRONLY | abi::O_APPEND | abi::O_NOFOLLOW;
    let file = fs::open(At::from(dir), NAME, flags, 0o600)?;
    let size = fs::stat(file.as_fd())?.size;
    Ok((file, size))
}

/// Adds to the begun line, writing parts of a line that grows too long.
fn add_text(out: &mut Vec<u8>, stamp: &Stamp, stream: Stream, begun: &mut Begun, text: &[u8]) {
    let mut text = text;
    while begun.bytes.len() + text.len() > PART_MAX {
        let (now, later) = text.split_at(PART_MAX - begun.bytes.len());
        begun.bytes.extend_from_slice(now);
        entry(out, stamp, stream, 'P', &begun.bytes);
        begun.bytes.clear();
        begun.open = true;
        text = later;
    }
    begun.bytes.extend_from_slice(text);
}

fn entry(out: &mut Vec<u8>, stamp: &Stamp, stream: Stream, tag: char, text: &[u8]) {
    out.extend_from_slice(stamp.text.as_bytes());
    out.push(b' ');
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(&[b' ', tag as u8, b' ']);
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// The time of an entry.
#[derive(Debug)]
struct Stamp {
    text: String,
    monotonic_ms: u64,
}

impl Stamp {
    fn now() -> Self {
        Self {
            text: time_text(poll::wall_ns()),
            monotonic_ms: poll::monotonic_ms(),
        }
    }
}

/// Nanoseconds since 1970 as RFC 3339 in UTC.
fn time_text(wall_ns: u64) -> String {
    let (seconds, nanos) = (wall_ns / 1_000_000_000, wall_ns % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // Days since 0000-03-01, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leaps = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_everybody_reads_them() {
        assert_eq!(time_text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            time_text(951_782_400_000_000_001),
            "2000-02-29T00:00:00.000000001Z"
        );
        assert_eq!(
            time_text(1_767_323_045_123_456_789),
            "2026-01-02T03:04:05.123456789Z"
        );
        assert_eq!(
            time_text(4_107_542_399_000_000_000),
            "2100-02-28T23:59:59.000000000Z"
        );
    }

    fn log_in(name: &str, limits: LogLimits) -> (std::path::PathBuf, Log) {
        let path = std::env::temp_dir().join(format!("shim-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("temporary directory");
        let dir = std::fs::File::open(&path).expect("open it");
        (path, Log::open(dir.into(), limits).expect("open log"))
    }

    fn texts(path: &std::path::Path) -> Vec<String> {
        let text = std::fs::read_to_string(path.join("log")).expect("read log");
        text.lines().map(|line| line[31..].to_owned()).collect()
    }

    #[test]
    fn lines_are_joined_split_and_flushed() {
        let (path, mut log) = log_in(
            "lines",
            LogLimits {
                max_bytes: 0,
                files: 1,
            },
        );
        log.add(Stream::Out, b"one\ntw");
        log.add(Stream::Err, b"oops\n");
        log.add(Stream::Out, b"o\n\nrest");
        assert!(log.due_ms().is_some());
        log.end();
        assert!(log.due_ms().is_none());
        log.add(Stream::Out, b"again\n");
        log.end();
        let expected = [
            "stdout F one",
            "stderr F oops",
            "stdout F two",
            "stdout F ",
            "stdout E rest",
            "stdout F again",
        ];
        assert_eq!(texts(&path), expected);
        std::fs::remove_dir_all(path).expect("clean up");
    }

    #[test]
    fn a_line_without_end_is_written_in_parts() {
        let (path, mut log) = log_in(
            "parts",
            LogLimits {
                max_bytes: 0,
                files: 1,
            },
        );
        let mut long = vec![b'x'; PART_MAX + 5];
        long.push(b'\n');
        log.add(Stream::Out, &long);
        let texts = texts(&path);
        assert_eq!(texts.len(), 2);
        assert_eq!(texts[0].len(), "stdout P ".len() + PART_MAX);
        assert_eq!(texts[1], "stdout F xxxxx");
        std::fs::remove_dir_all(path).expect("clean up");
    }

    #[test]
    fn the_oldest_file_goes_when_the_log_turns_over() {
        let (path, mut log) = log_in(
            "rotate",
            LogLimits {
                max_bytes: 100,
                files: 3,
            },
        );
        for number in 0..10 {
            log.add(Stream::Out, format!("line {number}\n").as_bytes());
        }
        let count = std::fs::read_dir(&path).expect("list").count();
        assert_eq!(count, 3);
        assert!(texts(&path).iter().any(|line| line.ends_with("line 9")));
        let oldest = std::fs::read_to_string(path.join("log.2")).expect("oldest");
        assert!(oldest.contains("line 4"), "{oldest}");
        std::fs::remove_dir_all(path).expect("clean up");
    }
}
