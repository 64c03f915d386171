//! The report as JSON: `docs/conformance-report.schema.json` says what is in it.

use serde::Serialize;

use super::Report;

/// Number of the form of the document: it changes when a member goes or means something else.
const FORM: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    form: u32,
    success: bool,
    totals: Totals,
    #[serde(flatten)]
    report: &'a Report,
}

#[derive(Serialize)]
struct Totals {
    cases: usize,
    passed: usize,
    failed: usize,
    skipped: usize,
    milliseconds: u64,
}

pub(super) fn write(report: &Report) -> String {
    let totals = Totals {
        cases: report.cases.len(),
        passed: report.passed(),
        failed: report.failed(),
        skipped: report.skipped(),
        milliseconds: report.milliseconds(),
    };
    let document = Document {
        form: FORM,
        success: report.is_success(),
        totals,
        report,
    };
    serde_json::to_string_pretty(&document).expect("a report is plain data") + "\n"
}
