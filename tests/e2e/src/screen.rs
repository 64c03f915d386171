//! Terminals: both ends of one, and what is to be seen on it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::stage::PATIENCE;

/// Both ends of a terminal of 100 columns and 30 rows.
///
/// # Panics
/// If the system gives none.
#[must_use]
pub fn terminal() -> (OwnedFd, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).expect("a terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new())
        .expect("a name")
        .into_string()
        .expect("text");
    let slave = File::options()
        .read(true)
        .write(true)
        .open(name)
        .expect("the other end");
    tcsetwinsize(&master, size(100, 30)).expect("a size");
    (master, slave)
}

/// A terminal's size.
#[must_use]
pub fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_col: columns,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// What the terminal shows.
#[derive(Debug)]
pub struct Screen {
    pieces: Receiver<String>,
    seen: String,
}

impl Screen {
    /// Reads what is written to the other end.
    ///
    /// # Panics
    /// If the descriptor cannot be shared.
    #[must_use]
    pub fn of(master: &OwnedFd) -> Self {
        let mut master = File::from(master.try_clone().expect("another descriptor"));
        let (sender, pieces) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            let mut begun = Vec::new();
            while let Ok(count) = master.read(&mut buffer) {
                begun.extend_from_slice(&buffer[..count]);
                // A character may be cut in two by what is read at a time.
                let whole = match std::str::from_utf8(&begun) {
                    Ok(text) => text.len(),
                    Err(error) if error.error_len().is_none() => error.valid_up_to(),
                    Err(_) => begun.len(),
                };
                let piece = String::from_utf8_lossy(&begun[..whole]).into_owned();
                begun.drain(..whole);
                if count == 0 || sender.send(piece).is_err() {
                    break;
                }
            }
        });
        Self {
            pieces,
            seen: String::new(),
        }
    }

    /// Returns once this is shown, and forgets what was shown up to it.
    ///
    /// # Panics
    /// If it is not shown in time.
    pub fn shows(&mut self, wanted: &str) {
        let at = self.waits_for(wanted);
        self.seen.drain(..at + wanted.len());
    }

    /// Returns once this is shown, with where it stands.
    ///
    /// # Panics
    /// If it is not shown in time.
    pub fn waits_for(&mut self, wanted: &str) -> usize {
        loop {
            if let Some(at) = self.seen.find(wanted) {
                return at;
            }
            let piece = self.pieces.recv_timeout(PATIENCE);
            self.seen += &piece.unwrap_or_else(|_| panic!("no {wanted:?} in {:?}", self.seen));
        }
    }

    /// All that is shown until the terminal is closed.
    #[must_use]
    pub fn rest(self) -> String {
        let pieces = std::iter::from_fn(|| self.pieces.recv_timeout(PATIENCE).ok());
        self.seen.clone() + &pieces.collect::<String>()
    }
}

/// What is left to be seen once all of this was written to a terminal that is tall enough.
///
/// It knows what our own progress uses: lines, the way up, and the erasing of a line or of the rest.
#[must_use]
pub fn rendered(written: &str) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    let mut row = 0;
    let mut rest = written;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\r' => {}
            '\n' => {
                row += 1;
                if row == lines.len() {
                    lines.push(String::new());
                }
            }
            '\u{1b}' => rest = obey(rest, &mut lines, &mut row),
            c => lines[row].push(c),
        }
    }
    let text = lines.join("\n");
    text.trim_end().to_owned() + "\n"
}

/// Carries out one sequence, of which the escape was taken; gives what follows it.
fn obey<'t>(text: &'t str, lines: &mut Vec<String>, row: &mut usize) -> &'t str {
    let Some(sequence) = text.strip_prefix('[') else {
        return text;
    };
    let end = sequence.find(|c: char| c.is_ascii_alphabetic());
    let Some(end) = end else { return "" };
    let (number, rest) = sequence.split_at(end);
    let number: usize = number.parse().unwrap_or(1);
    match &rest[..1] {
        "A" => *row = row.saturating_sub(number),
        "K" => lines[*row].clear(),
        "J" => {
            lines.truncate(*row);
            lines.push(String::new());
        }
        _ => {}
    }
    &rest[1..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_over_is_not_seen() {
        let written = "\u{1b}[2Khead 0\r\n\u{1b}[2Kone\r\n\u{1b}[J\u{1b}[2A\u{1b}[2Khead 1\r\n\
            \u{1b}[2K\u{1b}[32mdone\u{1b}[0m\r\n\u{1b}[Jafter\r\n";
        assert_eq!(rendered(written), "head 1\ndone\nafter\n");
    }
}
