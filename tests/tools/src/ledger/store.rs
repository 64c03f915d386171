//! Ledgers in a file: one entry a line, `section`, count and entry with a tab between.

use std::fs;
use std::path::Path;

use super::{Ledger, LedgerError, Section};

impl Ledger {
    /// Writes the ledger to a file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), LedgerError> {
        fs::write(path, self.to_text()).map_err(|source| LedgerError::write(path, source))
    }

    /// Reads a ledger that [`Ledger::save`] wrote.
    ///
    /// # Errors
    /// When the file cannot be read or is not a ledger.
    pub fn load(path: &Path) -> Result<Self, LedgerError> {
        let text = fs::read_to_string(path).map_err(|source| LedgerError::read(path, source))?;
        Self::from_text(&text).map_err(|line| LedgerError::Format {
            path: path.to_owned(),
            line,
        })
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for ((section, entry), count) in &self.entries {
            let entry = entry.escape_default();
            text.push_str(&format!("{}\t{count}\t{entry}\n", section.name()));
        }
        for note in &self.notes {
            text.push_str(&format!("note\t1\t{}\n", note.escape_default()));
        }
        text
    }

    /// The error is the number of the first line that is not one of a ledger.
    fn from_text(text: &str) -> Result<Self, usize> {
        let mut ledger = Self::default();
        for (index, line) in text.lines().enumerate() {
            let bad = index + 1;
            let mut fields = line.splitn(3, '\t');
            let (Some(name), Some(count), Some(entry)) =
                (fields.next(), fields.next(), fields.next())
            else {
                return Err(bad);
            };
            let entry = unescape(entry).ok_or(bad)?;
            if name == "note" {
                ledger.notes.push(entry);
                continue;
            }
            let section = Section::ALL
                .iter()
                .find(|(_, known)| *known == name)
                .ok_or(bad)?
                .0;
            let count = count.parse().map_err(|_| bad)?;
            ledger.entries.insert((section, entry), count);
        }
        Ok(ledger)
    }
}

/// The inverse of `str::escape_default`.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        plain.push(match chars.next()? {
            't' => '\t',
            'r' => '\r',
            'n' => '\n',
            'u' => {
                let code: String = chars
                    .by_ref()
                    .skip(1)
                    .take_while(|char| *char != '}')
                    .collect();
                char::from_u32(u32::from_str_radix(&code, 16).ok()?)?
            }
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded() {
        let mut ledger = Ledger::default();
        ledger.add(Section::Mount, "/a b\tc\n\\ é 'x'");
        ledger.add(Section::Mount, "/a b\tc\n\\ é 'x'");
        ledger.add(Section::Link, "lo");
        ledger.notes.push("no nft".to_owned());
        let again = Ledger::from_text(&ledger.to_text()).expect("a ledger");
        assert!(ledger.diff(&again).is_empty());
        assert_eq!(ledger.notes, again.notes);
    }

    #[test]
    fn a_foreign_line_is_refused_by_its_number() {
        assert_eq!(Ledger::from_text("link\t1\tlo\nfoo\n").err(), Some(2));
        assert_eq!(Ledger::from_text("planet\t1\tlo\n").err(), Some(1));
    }
}
