//! The line of a file where something is wrong, with a mark under the column.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};

use unmoor::Place;

use crate::output::{Style, clean};

/// As far into a file a line is looked for; what is beyond is shown without its line.
const REACH: u64 = 4 << 20;
/// Longer lines are shown as far as this.
const WIDTH: usize = 160;

/// The line and the mark, each indented and ended; nothing if the file cannot be read (any more).
pub(crate) fn snippet(place: &Place, style: Style) -> String {
    let Some(line) = line_of(place) else {
        return String::new();
    };
    let number = place.line.to_string();
    let bar = style.blue("|");
    let blank = " ".repeat(number.len());
    // Tabs and wide characters before the mark are as wide there as they are in the line.
    let before: String = line
        .chars()
        .take(place.column.saturating_sub(1).min(WIDTH))
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let shown: String = line.chars().take(WIDTH).collect();
    let shown: String = shown.split('\t').map(clean).collect::<Vec<_>>().join("\t");
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
