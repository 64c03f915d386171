//! Every operation, and the ways in which each is tried: a table that has no empty place.
//!
//! A place names the cases that try an operation in a way, or says why there is nothing to try.
//! Reports show it; its tests fail for a place that has neither, and for a case that is nowhere.

mod changes;
mod rest;

use std::fmt;

use crate::report::Report;

/// A way in which an operation is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It does what it is for.
    Happy,
    /// It is done again where it is done already.
    Repeated,
    /// Somebody else does something at the same time.
    Concurrent,
    /// Its caller gives up in the middle.
    Cancelled,
    /// Its caller, or what it is about, is gone in the middle; a stranger goes on.
    Crashed,
    /// It is asked for what cannot be.
    WrongInput,
    /// Names and numbers are at their limits.
    Limits,
    /// Twenty callers do it at once.
    Crowd,
    /// Visitors come all the time.
    Traffic,
    /// Secrets are about.
    Secrets,
}

impl Kind {
    /// Every way.
    pub const ALL: [Self; 10] = [
        Self::Happy,
        Self::Repeated,
        Self::Concurrent,
        Self::Cancelled,
        Self::Crashed,
        Self::WrongInput,
        Self::Limits,
        Self::Crowd,
        Self::Traffic,
        Self::Secrets,
    ];

    /// The way in a word or two.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Happy => "happy path",
            Self::Repeated => "repeated",
            Self::Concurrent => "concurrent",
            Self::Cancelled => "cancelled",
            Self::Crashed => "after a crash",
            Self::WrongInput => "wrong input",
            Self::Limits => "limits",
            Self::Crowd => "20 at once",
            Self::Traffic => "traffic",
            Self::Secrets => "secrets",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One place of the table.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// These cases try it.
    By(&'static [&'static str]),
    /// There is nothing to try, because of this.
    Nothing(&'static str),
}

/// An operation with a place for each way, in the order of [`Kind::ALL`].
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What is done.
    pub operation: &'static str,
    /// One place for each way.
    pub places: [Place; Kind::ALL.len()],
}

/// Every operation with the ways in which it is tried.
#[must_use]
pub fn grid() -> Vec<&'static Row> {
    changes::ROWS.iter().chain(rest::ROWS).collect()
}

/// What became of a place in a run: counts of its cases, or the reason why there are none.
pub(crate) fn outcome_of(place: &Place, report: &Report) -> (&'static str, String) {
    let names = match place {
        Place::By(names) => names,
        Place::Nothing(_) => return ("none", "–".to_owned()),
    };
    let of_it = report.cases.iter();
    let of_it: Vec<&str> = of_it
        .filter(|case| names.contains(&case.name.as_str()))
        .map(|case| case.outcome.as_str())
        .collect();
    let count = |word: &str| of_it.iter().filter(|outcome| **outcome == word).count();
    match (count("pass"), count("fail")) {
        (_, 1..) => ("fail", format!("{} failed", count("fail"))),
        (0, 0) if of_it.is_empty() => ("none", "not run".to_owned()),
        (0, 0) => ("skip", "skipped".to_owned()),
        (passed, 0) => ("pass", passed.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Kind, Place, grid};
    use crate::cases;

    #[test]
    fn every_place_has_a_case_or_a_reason() {
        let known: BTreeSet<&str> = cases::all().iter().map(|case| case.name).collect();
        let mut wrong = Vec::new();
        let mut operations = BTreeSet::new();
        for row in grid() {
            if !operations.insert(row.operation) {
                wrong.push(format!("{} twice", row.operation));
            }
            for (kind, place) in Kind::ALL.iter().zip(&row.places) {
                let at = format!("{} × {kind}", row.operation);
                match place {
                    Place::By([]) => wrong.push(format!("{at} is empty")),
                    Place::By(names) => {
                        let unknown = names.iter().filter(|name| !known.contains(**name));
                        wrong.extend(unknown.map(|name| format!("{at}: no case is called {name}")));
                    }
                    Place::Nothing(reason) if reason.split(' ').count() < 4 => {
                        wrong.push(format!("{at}: that is no reason: {reason}"));
                    }
                    Place::Nothing(_) => {}
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn every_case_has_a_place() {
        let places = grid().into_iter().flat_map(|row| row.places);
        let placed: BTreeSet<&str> = places
            .filter_map(|place| match place {
                Place::By(names) => Some(names),
                Place::Nothing(_) => None,
            })
            .flatten()
            .copied()
            .collect();
        let cases = cases::all();
        let nowhere: Vec<&str> = cases
            .iter()
            .map(|case| case.name)
            .filter(|name| !placed.contains(name))
            .collect();
        assert!(nowhere.is_empty(), "no place in src/grid: {nowhere:?}");
    }

    #[test]
    fn what_changes_a_stack_is_tried_in_every_way_but_for_a_reason() {
        let changes = [
            "up", "down", "spawn", "scale", "update", "rollback", "link", "re-point", "unlink",
            "remove", "stop",
        ];
        for operation in changes {
            let rows = grid();
            let row = rows.iter().find(|row| row.operation == operation);
            let row = row.unwrap_or_else(|| panic!("{operation} is not in the table"));
            for kind in [Kind::Happy, Kind::Cancelled, Kind::Crashed, Kind::Crowd] {
                let at = Kind::ALL.iter().position(|known| *known == kind);
                let place = &row.places[at.expect("it is one of all")];
                assert!(matches!(place, Place::By(_)), "{operation} × {kind}");
            }
        }
    }
}
