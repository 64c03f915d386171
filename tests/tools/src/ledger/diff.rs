//! What changed between two ledgers, in lines a person can act on.

use std::collections::BTreeSet;
use std::fmt;

use super::{Ledger, Section};

/// One entry that is there more or less often than before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// What kind of thing it is.
    pub section: Section,
    /// The thing itself.
    pub entry: String,
    /// How often it was there before.
    pub before: u32,
    /// How often it is there after.
    pub after: u32,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.after > self.before {
            "+ left behind"
        } else {
            "- lost"
        };
        write!(f, "{sign}: {} {}", self.section.name(), self.entry)?;
        if self.before.abs_diff(self.after) > 1 || self.before.min(self.after) > 0 {
            write!(f, " ({} before, {} after)", self.before, self.after)?;
        }
        Ok(())
    }
}

/// All changes between two ledgers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    changes: Vec<Change>,
    notes: Vec<String>,
}

impl Diff {
    pub(crate) fn between(before: &Ledger, after: &Ledger) -> Self {
        let keys: BTreeSet<_> = before.entries.keys().chain(after.entries.keys()).collect();
        let count = |ledger: &Ledger, key| ledger.entries.get(key).copied().unwrap_or(0);
        let changes = keys
            .into_iter()
            .map(|key| Change {
                section: key.0,
                entry: key.1.clone(),
                before: count(before, key),
                after: count(after, key),
            })
            .filter(|change| change.before != change.after)
            .collect();
        let notes: BTreeSet<_> = before.notes.iter().chain(&after.notes).cloned().collect();
        Self {
            changes,
            notes: notes.into_iter().collect(),
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes, by section and entry.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The same difference with only the changes that `keep` accepts.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(&Change) -> bool) -> Self {
        self.changes.retain(keep);
        self
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            writeln!(f, "ledger: nothing differs")?;
        } else {
            writeln!(f, "ledger: {} difference(s)", self.changes.len())?;
        }
        for change in &self.changes {
            writeln!(f, "  {change}")?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(entries: &[(Section, &str)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (section, entry) in entries {
            ledger.add(*section, *entry);
        }
        ledger
    }

    #[test]
    fn equal_ledgers_differ_in_nothing() {
        let one = ledger(&[(Section::Mount, "/a"), (Section::Link, "lo")]);
        assert!(one.diff(&one.clone()).is_empty());
    }

    #[test]
    fn a_new_entry_is_left_behind_and_a_missing_one_is_lost() {
        let before = ledger(&[(Section::Mount, "/gone")]);
        let after = ledger(&[(Section::Link, "br0")]);
        let text = before.diff(&after).to_string();
        assert!(text.contains("- lost: mount /gone"), "{text}");
        assert!(text.contains("+ left behind: link br0"), "{text}");
    }

    #[test]
    fn a_second_mount_on_the_same_place_is_seen() {
        let before = ledger(&[(Section::Mount, "/a")]);
        let after = ledger(&[(Section::Mount, "/a"), (Section::Mount, "/a")]);
        let diff = before.diff(&after);
        assert_eq!(diff.changes()[0].after, 2);
        assert!(diff.to_string().contains("(1 before, 2 after)"), "{diff}");
    }
}
