//! What a run came to, as text, and as documents for people and for other programs.

mod escape;
mod html;
mod json;
mod junit;

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

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

/// A document that a report can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A page for people, with its style and without anything to fetch.
    Html,
    /// Everything that is known, for programs.
    Json,
    /// What CI systems read, in the form that they agree on.
    Junit,
}

impl Format {
    /// The format of a file by its ending.
    #[must_use]
    pub fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()? {
            "html" | "htm" => Some(Self::Html),
            "json" => Some(Self::Json),
            "xml" => Some(Self::Junit),
            _ => None,
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "html" => Ok(Self::Html),
            "json" => Ok(Self::Json),
            "junit" => Ok(Self::Junit),
            _ => Err(format!("`{text}` is none of html, json and junit")),
        }
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

    /// The last line of the report as text.
    #[must_use]
    pub fn closing_line(&self) -> String {
        let (passed, failed, skipped) = (self.passed(), self.failed(), self.skipped());
        format!("unmoor-conformance: {passed} passed, {failed} failed, {skipped} skipped")
    }

    /// How long all cases took together.
    #[must_use]
    pub fn milliseconds(&self) -> u64 {
        self.cases.iter().map(|case| case.milliseconds).sum()
    }

    /// The report as a document.
    #[must_use]
    pub fn to(&self, format: Format) -> String {
        match format {
            Format::Html => self.to_html(),
            Format::Json => self.to_json(),
            Format::Junit => self.to_junit(),
        }
    }

    /// The report as JSON, as `docs/conformance-report.schema.json` describes it.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// The report as CI systems read it.
    #[must_use]
    pub fn to_junit(&self) -> String {
        junit::write(self)
    }

    /// The report as one page that needs nothing else.
    #[must_use]
    pub fn to_html(&self) -> String {
        html::write(self)
    }
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
