//! An input: files and flags, kept as one text that can be read and edited by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const FILE: &str = "%% file ";
const FLAG: &str = "%% flag ";

/// No input grows beyond it.
pub(crate) const LARGEST: usize = 32 << 10;

/// Files by name, and flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) flags: BTreeSet<String>,
    pub(crate) files: BTreeMap<String, String>,
}

impl Input {
    /// Reads what [`to_text`](Self::to_text) wrote. What stands before the first file is none.
    pub(crate) fn parse(text: &str) -> Self {
        let mut input = Self::default();
        let mut name = None;
        for line in text.split_inclusive('\n') {
            let bare = line.trim_end_matches('\n');
            if let Some(flag) = bare.strip_prefix(FLAG) {
                input.flags.insert(flag.to_owned());
            } else if let Some(file) = bare.strip_prefix(FILE) {
                input.files.insert(file.to_owned(), String::new());
                name = Some(file.to_owned());
            } else if let Some(name) = &name
                && let Some(content) = input.files.get_mut(name)
            {
                content.push_str(line);
            }
        }
        input
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for flag in &self.flags {
            writeln!(text, "{FLAG}{flag}").expect("a string takes any text");
        }
        for (name, content) in &self.files {
            writeln!(text, "{FILE}{name}").expect("a string takes any text");
            text.push_str(content);
            if !content.ends_with('\n') {
                text.push('\n');
            }
        }
        text
    }

    /// Cuts what is too long.
    pub(crate) fn bound(&mut self) {
        let share = LARGEST / self.files.len().max(1);
        for content in self.files.values_mut() {
            if content.len() > share {
                content.truncate(content.floor_char_boundary(share));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let text = "%% flag strict\n%% file a.yaml\nx: 1\n%% file b/c.env\nA=b\n\n";
        let input = Input::parse(text);
        assert_eq!(input.to_text(), text);
        assert_eq!(input.files["b/c.env"], "A=b\n\n");
    }

    #[test]
    fn a_long_one_is_cut_between_characters() {
        let mut input = Input::parse("%% file a\n");
        input.files.insert("a".to_owned(), "é".repeat(LARGEST));
        input.bound();
        assert!(input.to_text().len() <= LARGEST + 20);
    }
}
