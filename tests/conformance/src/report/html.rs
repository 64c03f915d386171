//! The report as one page: its style is in it, and it asks nobody for anything.

use std::fmt::Write as _;

use unmoor_core::backend::Feature;

use super::escape::marked_up;
use super::{CaseResult, Report};
use crate::case::Outcome;
use crate::grid::{Kind, Place, grid, outcome_of};
use crate::matrix::support_word;

/// Whatever a backend might smuggle in, the page fetches nothing and runs nothing.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = include_str!("page.css");

pub(super) fn write(report: &Report) -> String {
    let mut page = String::new();
    let title = marked_up(&format!(
        "{} {}: {} passed, {} failed, {} skipped",
        report.backend.uri,
        report.date,
        report.passed(),
        report.failed(),
        report.skipped()
    ));
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        marked_up(POLICY)
    );
    head(&mut page, report);
    failures(&mut page, report);
    ways(&mut page, report);
    cases(&mut page, report);
    features(&mut page, report);
    page.push_str("</body>\n</html>\n");
    page
}

fn head(page: &mut String, report: &Report) {
    let (word, verdict) = match (report.is_success(), report.passed() + report.failed()) {
        (true, _) => ("pass", "every claim that was tried holds"),
        (false, 0) => ("fail", "no case was tried, which is a failure"),
        (false, _) => ("fail", "not every claim holds"),
    };
    let _ = write!(
        page,
        "<h1>What <code>{}</code> keeps of what every backend promises</h1>\n\
         <p class=\"{word}\">{verdict}</p>\n<dl>\n",
        marked_up(&report.backend.uri)
    );
    let time = format!("{:.1} s", seconds(report.milliseconds()));
    let rows = [
        ("passed", report.passed().to_string()),
        ("failed", report.failed().to_string()),
        ("skipped", report.skipped().to_string()),
        ("time of all cases", time),
        ("date", report.date.clone()),
        ("evidence", report.evidence.as_str().to_owned()),
        ("version", report.backend.version.clone()),
        ("where", report.backend.detail.clone()),
    ];
    for (name, value) in rows {
        let value = marked_up(&value);
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    page.push_str("</dl>\n");
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a tenth of a second is shown of it"
)]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn failures(page: &mut String, report: &Report) {
    let failed = |case: &&CaseResult| matches!(case.outcome, Outcome::Fail(_));
    let mut failed = report.cases.iter().filter(failed).peekable();
    if failed.peek().is_none() {
        return;
    }
    page.push_str("<h2>What does not hold</h2>\n<ul>\n");
    for case in failed {
        let (name, claim) = (marked_up(&case.name), marked_up(&case.claim));
        let _ = writeln!(page, "<li><a href=\"#{name}\">{name}</a>: {claim}</li>");
    }
    page.push_str("</ul>\n");
}

/// Every operation by the ways in which it is tried: how many cases hold, or what became of them.
fn ways(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Operations, and the ways in which each is tried</h2>\n\
         <p>How many claims hold; a dash says with its reason, where one points at it, that there is \
         nothing to try.</p>\n<table>\n<tr><th>operation</th>",
    );
    for kind in Kind::ALL {
        let _ = write!(page, "<th>{kind}</th>");
    }
    page.push_str("</tr>\n");
    for row in grid() {
        let _ = write!(page, "<tr><td>{}</td>", marked_up(row.operation));
        for place in &row.places {
            let (class, text) = outcome_of(place, report);
            let title = match place {
                Place::By(names) => names.join(", "),
                Place::Nothing(reason) => (*reason).to_owned(),
            };
            let (title, text) = (marked_up(&title), marked_up(&text));
            let _ = write!(
                page,
                "<td class=\"way {class}\" title=\"{title}\">{text}</td>"
            );
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn cases(page: &mut String, report: &Report) {
    page.push_str("<h2>Cases</h2>\n");
    let mut operations: Vec<&str> = Vec::new();
    for case in &report.cases {
        if !operations.contains(&case.operation.as_str()) {
            operations.push(&case.operation);
        }
    }
    for operation in operations {
        let of_it = report.cases.iter();
        let of_it: Vec<_> = of_it.filter(|case| case.operation == operation).collect();
        let count = |word: &str| {
            let is = |case: &&&CaseResult| case.outcome.as_str() == word;
            of_it.iter().filter(is).count()
        };
        let open = if count("fail") > 0 { " open" } else { "" };
        let _ = writeln!(
            page,
            "<details{open}>\n<summary>{}: {} passed, {} failed, {} skipped</summary>\n<table>\n\
             <tr><th>case</th><th>outcome</th><th>time</th></tr>",
            marked_up(operation),
            count("pass"),
            count("fail"),
            count("skip") + count("xfail")
        );
        for case in of_it {
            row(page, case);
        }
        page.push_str("</table>\n</details>\n");
    }
}

fn row(page: &mut String, case: &CaseResult) {
    let (name, claim) = (marked_up(&case.name), marked_up(&case.claim));
    let word = case.outcome.as_str();
    let reason = case.outcome.reason().map(|reason| {
        let reason = marked_up(reason);
        format!("<pre>{reason}</pre>")
    });
    let _ = writeln!(
        page,
        "<tr id=\"{name}\" class=\"{word}\"><td><code>{name}</code><p>{claim}</p>{}</td>\
         <td>{word}</td><td>{:.3} s</td></tr>",
        reason.unwrap_or_default(),
        seconds(case.milliseconds)
    );
}

fn features(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Features</h2>\n<p>As the backend declares them.</p>\n<table>\n\
         <tr><th>feature</th><th>support</th></tr>\n",
    );
    for feature in Feature::ALL {
        let mut declared = report.capabilities.iter();
        let declared = declared.find(|(known, _)| known == feature);
        let word = declared.map(|(_, how)| support_word(&how.support, how.actor));
        let word = marked_up(&word.unwrap_or_else(|| "no".to_owned()));
        let _ = writeln!(
            page,
            "<tr><td><code>{feature}</code></td><td>{word}</td></tr>"
        );
    }
    page.push_str("</table>\n");
}
