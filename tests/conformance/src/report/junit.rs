//! The report as JUnit's XML, in the part of it that CI systems agree on.
//!
//! What is written is what pytest and nextest write: `testsuites` around one `testsuite`, a
//! `testcase` for each case, `failure` and `skipped` with the first line as message and the whole
//! reason as text. A case that is known to fail is skipped with the type `xfail`.

use std::fmt::Write as _;

use super::escape::{first_line, marked_up};
use super::{CaseResult, Report};
use crate::case::Outcome;

pub(super) fn write(report: &Report) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let name = format!("unmoor-conformance {}", report.backend.uri);
    let counts = format!(
        "name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{}\"",
        first_line(&name),
        report.cases.len(),
        report.failed(),
        report.skipped(),
        seconds(report.milliseconds())
    );
    let _ = writeln!(text, "<testsuites {counts}>\n  <testsuite {counts}>");
    properties(&mut text, report);
    for case in &report.cases {
        write_case(&mut text, case);
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn properties(text: &mut String, report: &Report) {
    text.push_str("    <properties>\n");
    let properties = [
        ("backend", report.backend.uri.as_str()),
        ("version", &report.backend.version),
        ("detail", &report.backend.detail),
        ("evidence", report.evidence.as_str()),
        ("date", &report.date),
    ];
    for (name, value) in properties {
        let value = first_line(value);
        let _ = writeln!(text, "      <property name=\"{name}\" value=\"{value}\"/>");
    }
    text.push_str("    </properties>\n");
}

fn write_case(text: &mut String, case: &CaseResult) {
    let (operation, name) = (first_line(&case.operation), first_line(&case.name));
    let time = seconds(case.milliseconds);
    let _ = write!(
        text,
        "    <testcase classname=\"conformance.{operation}\" name=\"{name}\" time=\"{time}\""
    );
    let (element, kind) = match case.outcome {
        Outcome::Pass => {
            text.push_str("/>\n");
            return;
        }
        Outcome::Fail(_) => ("failure", "fail"),
        Outcome::Skip(_) => ("skipped", "skip"),
        Outcome::Xfail(_) => ("skipped", "xfail"),
    };
    let reason = case.outcome.reason().unwrap_or_default();
    let (message, whole) = (first_line(reason), marked_up(reason));
    let _ = writeln!(
        text,
        ">\n      <{element} type=\"{kind}\" message=\"{message}\">{whole}</{element}>\n    </testcase>"
    );
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}
