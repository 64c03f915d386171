//! The line of a file where something is wrong, with a mark under the column.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};

use unmoor::Place;

use crate::output::{Style, clean};

/// As far into a file a line is looked for; what is beyond is shown without its line.
const REACH: u64 = 4 << 20;
/// Of longer lines this much is shown, around the column.
const WIDTH: usize = 160;

/// The part of a line that is shown.
struct Window {
    start: usize,
    is_cut_behind: bool,
}

impl Window {
    fn at(column: usize, length: usize) -> Self {
        let last = length.saturating_sub(WIDTH);
        // A line that shows the column is shown from its beginning.
        let start = if column <= WIDTH {
            0
        } else {
            column.saturating_sub(WIDTH / 2).min(last)
        };
        Self {
            start,
            is_cut_behind: start + WIDTH < length,
        }
    }

    /// The part with dots where the line goes on, and what stands before the mark.
    fn framed(&self, shown: &str, before: &str) -> (String, String) {
        let (front, gap) = if self.start > 0 {
            ("…", " ")
        } else {
            ("", "")
        };
        let behind = if self.is_cut_behind { "…" } else { "" };
        (format!("{front}{shown}{behind}"), format!("{gap}{before}"))
    }
}

/// The line and the mark, each indented and ended; nothing if the file cannot be read (any more).
pub(crate) fn snippet(place: &Place, style: Style) -> String {
    let Some(line) = line_of(place) else {
        return String::new();
    };
    let number = place.line.to_string();
    let window = Window::at(place.column, line.chars().count());
    let line: String = line.chars().skip(window.start).collect();
    let bar = style.blue("|");
    let blank = " ".repeat(number.len());
    // Tabs and wide characters before the mark are as wide there as they are in the line.
    let before: String = line
        .chars()
        .take(place.column.saturating_sub(1 + window.start).min(WIDTH))
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let shown: String = line.chars().take(WIDTH).collect();
    let shown: String = shown.split('\t').map(clean).collect::<Vec<_>>().join("\t");
    let (shown, before) = window.framed(&shown, &before);
    let number = style.blue(&number);
    let mark = style.red("^");
    format!("  {blank} {bar}\n  {number} {bar} {shown}\n  {blank} {bar} {before}{mark}\n")
}

fn line_of(place: &Place) -> Option<String> {
    // A pipe given as a file was read to its end already; opening it again would wait for ever.
    if !fs::metadata(&place.file).ok()?.is_file() {
        return None;
    }
    let file = File::open(&place.file).ok()?;
    let reader = BufReader::new(file.take(REACH));
    let line = reader.split(b'\n').nth(place.line.checked_sub(1)?)?.ok()?;
    let line = String::from_utf8_lossy(&line);
    Some(line.trim_end_matches('\r').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{WIDTH, Window};

    /// The character that the mark points at.
    fn marked(line: &str, column: usize) -> Option<char> {
        let window = Window::at(column, line.chars().count());
        let shown: String = line.chars().skip(window.start).take(WIDTH).collect();
        let before = " ".repeat(column - 1 - window.start);
        let (shown, before) = window.framed(&shown, &before);
        assert!(shown.chars().count() <= WIDTH + 2, "{shown}");
        shown.chars().nth(before.chars().count())
    }

    #[test]
    fn the_mark_is_under_the_column_wherever_that_is() {
        for length in [1, 159, 160, 161, 335, 1000] {
            for column in 1..=length {
                let mut line = vec!['-'; length];
                line[column - 1] = 'x';
                let line: String = line.into_iter().collect();
                assert_eq!(marked(&line, column), Some('x'), "{column} of {length}");
            }
        }
    }
}
