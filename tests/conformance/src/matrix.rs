//! The support matrix: what each backend's last run came to, and the page made from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use unmoor_core::backend::{Actor, Feature, Support};

use crate::case::{Case, Outcome};
use crate::cases;
use crate::report::Report;

/// The last run of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Version of the backend.
    pub version: String,
    /// Where it ran, in its own words.
    pub detail: String,
    /// Day of the run.
    pub date: String,
    /// What stood behind it: `model`, `real`, `live`, `twin` or `tape`.
    pub evidence: String,
    /// Support of each feature, in a word and with who acts.
    pub features: BTreeMap<Feature, String>,
    /// What became of each case.
    pub cases: BTreeMap<String, Outcome>,
}

/// The last run of every backend, by scheme.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    /// By scheme.
    pub backends: BTreeMap<String, Entry>,
}

pub(crate) fn support_word(support: &Support, actor: Actor) -> String {
    let word = match support {
        Support::Native => "native".to_owned(),
        Support::Emulated => "emulated".to_owned(),
        Support::Injected => "injected".to_owned(),
        Support::Limited(limit) => format!("limited: {limit}"),
        Support::Unsupported(hint) => return format!("no: {hint}"),
        _ => "other".to_owned(),
    };
    match actor {
        Actor::Platform => word,
        Actor::Resident => format!("{word}, by a resident"),
        Actor::Caller => format!("{word}, by the caller"),
    }
}

impl Matrix {
    /// Reads `matrix.json` in a folder; an absent file is an empty matrix.
    ///
    /// # Errors
    /// If the file cannot be read or is no matrix.
    pub fn read(folder: &Path) -> io::Result<Self> {
        match fs::read(folder.join("matrix.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Puts a run in the place of the backend's former one.
    pub fn merge(&mut self, report: &Report) {
        let features = report.capabilities.iter();
        let entry = Entry {
            version: report.backend.version.clone(),
            detail: report.backend.detail.clone(),
            date: report.date.clone(),
            evidence: report.evidence.as_str().to_owned(),
            features: features
                .map(|(feature, c)| (feature, support_word(&c.support, c.actor)))
                .collect(),
            cases: report
                .cases
                .iter()
                .map(|case| (case.name.clone(), case.outcome.clone()))
                .collect(),
        };
        self.backends.insert(report.backend.scheme.clone(), entry);
    }

    /// Writes `matrix.json` and `matrix.md` into a folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join("matrix.json"), self.to_json())?;
        fs::write(folder.join("matrix.md"), self.to_markdown())
    }

    /// The matrix as it is stored.
    ///
    /// # Panics
    /// Never: a matrix is plain data.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a matrix is plain data") + "\n"
    }

    /// The page.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut page = String::from(
            "# What runs where\n\n\
             Generated from `matrix.json` by the conformance suite; do not edit.\n\n\
             | backend | version | evidence | date | passed | failed | skipped | where |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for (scheme, entry) in &self.backends {
            let count = |word: &str| entry.cases.values().filter(|o| o.as_str() == word).count();
            let _ = writeln!(
                page,
                "| `{scheme}:` | {} | {} | {} | {} | {} | {} | {} |",
                entry.version,
                entry.evidence,
                entry.date,
                count("pass"),
                count("fail"),
                count("skip") + count("xfail"),
                cell(&entry.detail)
            );
        }
        self.features(&mut page);
        self.cases(&mut page);
        self.reasons(&mut page);
        page
    }

    fn head(&self, page: &mut String, first: &str) {
        let _ = write!(page, "| {first} |");
        for scheme in self.backends.keys() {
            let _ = write!(page, " `{scheme}:` |");
        }
        let _ = writeln!(page, "\n|---|{}", "---|".repeat(self.backends.len()));
    }

    fn features(&self, page: &mut String) {
        page.push_str("\n## Features\n\n");
        page.push_str("As each backend declares them; the cases below try what is declared.\n\n");
        self.head(page, "feature");
        for feature in Feature::ALL {
            let _ = write!(page, "| {feature} |");
            for entry in self.backends.values() {
                let word = entry.features.get(feature).map_or("no", String::as_str);
                let _ = write!(page, " {} |", cell(word));
            }
            page.push('\n');
        }
    }

    fn cases(&self, page: &mut String) {
        let known = cases::all();
        let operations: Vec<&str> = known.iter().map(|case| case.operation).collect();
        let mut seen = BTreeSet::new();
        for operation in operations {
            if !seen.insert(operation) {
                continue;
            }
            let _ = writeln!(page, "\n## Cases: {operation}\n");
            self.head(page, "claim");
            for case in known.iter().filter(|case| case.operation == operation) {
                self.case(page, case);
            }
        }
    }

    fn case(&self, page: &mut String, case: &Case) {
        let _ = write!(page, "| `{}`: {} |", case.name, cell(case.claim));
        for entry in self.backends.values() {
            let word = entry
                .cases
                .get(case.name)
                .map_or("not run", Outcome::as_str);
            let _ = write!(page, " {word} |");
        }
        page.push('\n');
    }

    fn reasons(&self, page: &mut String) {
        page.push_str("\n## Why not\n\n");
        for (scheme, entry) in &self.backends {
            for (case, outcome) in &entry.cases {
                if let Some(reason) = outcome.reason() {
                    let word = outcome.as_str();
                    let _ = writeln!(page, "- `{scheme}:` `{case}` {word}: {}", cell(reason));
                }
            }
        }
    }
}

/// Text that cannot break out of a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: &str = "`cargo run -p unmoor-conformance --example matrix` makes it anew";

    #[test]
    fn the_page_is_what_the_runs_came_to() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let matrix = Matrix::read(&docs).expect("docs/matrix.json is a matrix");
        let page = fs::read_to_string(docs.join("matrix.md")).expect("docs/matrix.md is there");
        assert!(
            page == matrix.to_markdown(),
            "docs/matrix.md is out of date; {AGAIN}"
        );
        let model = matrix.backends.get("sim").expect("the model was run");
        let run: BTreeSet<&str> = model.cases.keys().map(String::as_str).collect();
        let known: BTreeSet<&str> = cases::all().iter().map(|case| case.name).collect();
        assert_eq!(run, known, "the cases have changed; {AGAIN}");
    }

    #[test]
    fn a_later_run_takes_the_place_of_the_former() {
        let mut matrix = Matrix::default();
        let entry = |outcome| Entry {
            version: "1".to_owned(),
            detail: "a | b".to_owned(),
            date: "2026-01-01".to_owned(),
            evidence: "twin".to_owned(),
            features: BTreeMap::new(),
            cases: BTreeMap::from([("up_starts_all".to_owned(), outcome)]),
        };
        matrix
            .backends
            .insert("x".to_owned(), entry(Outcome::Fail("a\nb".to_owned())));
        let back: Matrix = serde_json::from_str(&matrix.to_json()).expect("reads back");
        assert_eq!(back, matrix);
        let page = matrix.to_markdown();
        assert!(
            page.contains("| `x:` | 1 | twin | 2026-01-01 | 0 | 1 | 0 | a \\| b |"),
            "{page}"
        );
        assert!(page.contains("- `x:` `up_starts_all` fail: a b"), "{page}");
    }
}
