//! What a run came to, as text, JSON or JUnit.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use unmoor_core::backend::{Capabilities, Info};

use crate::case::Outcome;

/// What stands behind a backend in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// A model of a platform.
    Model,
    /// The platform itself, on this machine.
    Real,
    /// The platform itself, on somebody's account.
    Live,
    /// A double that behaves like the platform.
    Twin,
    /// Recorded answers of the platform.
    Tape,
}

impl Evidence {
    /// The evidence in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Real => "real",
            Self::Live => "live",
            Self::Twin => "twin",
            Self::Tape => "tape",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Model, Self::Real, Self::Live, Self::Twin, Self::Tape];
        all.into_iter().find(|evidence| evidence.as_str() == text)
    }
}

/// One case and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// The operation it is about.
    pub operation: String,
    /// What must hold.
    pub claim: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took.
    pub milliseconds: u64,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The backend.
    pub backend: Info,
    /// What it says it can do.
    pub capabilities: Capabilities,
    /// What stood behind it.
    pub evidence: Evidence,
    /// Day of the run.
    pub date: String,
    /// Every case that was selected.
    pub cases: Vec<CaseResult>,
}

impl Report {
    pub(crate) fn new(
        backend: Info,
        capabilities: Capabilities,
        evidence: Evidence,
        date: String,
        cases: Vec<CaseResult>,
    ) -> Self {
        Self {
            backend,
            capabilities,
            evidence,
            date,
            cases,
        }
    }

    fn count(&self, outcome: &str) -> usize {
        self.cases
            .iter()
            .filter(|case| case.outcome.as_str() == outcome)
            .count()
    }

    /// How many claims hold.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.count("pass")
    }

    /// How many do not.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.count("fail")
    }

    /// How many were not tried, or are known not to hold.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.count("skip") + self.count("xfail")
    }

    /// True if something was tried and nothing failed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failed() == 0 && self.passed() > 0
    }

    /// The last line of every report.
    #[must_use]
    pub fn closing_line(&self) -> String {
        let (passed, failed, skipped) = (self.passed(), self.failed(), self.skipped());
        format!("unmoor-conformance: {passed} passed, {failed} failed, {skipped} skipped")
    }

    /// The report as JSON.
    ///
    /// # Panics
    /// Never: a report is plain data.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data")
    }

    /// The report as JUnit reads it.
    #[must_use]
    pub fn to_junit(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let _ = writeln!(
            text,
            "<testsuite name=\"unmoor-conformance {}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">",
            escaped(&self.backend.uri),
            self.cases.len(),
            self.failed(),
            self.skipped()
        );
        for case in &self.cases {
            let whole = case.milliseconds / 1000;
            let part = case.milliseconds % 1000;
            let _ = write!(
                text,
                "  <testcase classname=\"{}\" name=\"{}\" time=\"{whole}.{part:03}\"",
                case.operation, case.name
            );
            let _ = match &case.outcome {
                Outcome::Pass => writeln!(text, "/>"),
                Outcome::Fail(reason) => {
                    let message = escaped(reason);
                    writeln!(text, "><failure message=\"{message}\"/></testcase>")
                }
                Outcome::Skip(reason) | Outcome::Xfail(reason) => {
                    let message = escaped(reason);
                    writeln!(text, "><skipped message=\"{message}\"/></testcase>")
                }
            };
        }
        text.push_str("</testsuite>\n");
        text
    }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (outcome, name) = (self.outcome.as_str(), &self.name);
        write!(
            f,
            "{outcome:5} {}/{name} ({} ms)",
            self.operation, self.milliseconds
        )?;
        match self.outcome.reason() {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            writeln!(f, "{case}")?;
        }
        if self.passed() + self.failed() == 0 {
            writeln!(f, "no case was tried, which is a failure")?;
        }
        writeln!(f, "{}", self.closing_line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: Vec<Outcome>) -> Report {
        let cases = outcomes
            .into_iter()
            .enumerate()
            .map(|(number, outcome)| CaseResult {
                name: format!("case{number}"),
                operation: "spawn".to_owned(),
                claim: "it holds".to_owned(),
                outcome,
                milliseconds: 1234,
            });
        let info = Info {
            scheme: "x".to_owned(),
            uri: "x:".to_owned(),
            version: "1".to_owned(),
            detail: String::new(),
        };
        let cases = cases.collect();
        Report::new(
            info,
            Capabilities::none(),
            Evidence::Twin,
            "2026-01-01".to_owned(),
            cases,
        )
    }

    #[test]
    fn nothing_tried_is_a_failure() {
        assert!(!report(Vec::new()).is_success());
        assert!(!report(vec![Outcome::Skip("no".to_owned())]).is_success());
        assert!(report(vec![Outcome::Pass, Outcome::Xfail("known".to_owned())]).is_success());
        assert!(!report(vec![Outcome::Pass, Outcome::Fail("bad".to_owned())]).is_success());
    }

    #[test]
    fn json_reads_back_and_junit_is_escaped() {
        let report = report(vec![Outcome::Pass, Outcome::Fail("a < \"b\"".to_owned())]);
        let back: Report = serde_json::from_str(&report.to_json()).expect("reads back");
        assert_eq!(back, report);
        assert!(
            report
                .to_junit()
                .contains("message=\"a &lt; &quot;b&quot;\"")
        );
        let closing = "unmoor-conformance: 1 passed, 1 failed, 0 skipped\n";
        assert!(report.to_string().ends_with(closing));
    }
}
