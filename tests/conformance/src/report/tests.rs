//! What reports say, and that nothing in them breaks out of its place.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use unmoor_core::backend::{Actor, Capabilities, Feature, Info, Support};

use super::schema::check;
use super::{CaseResult, Evidence, Format, Report};
use crate::case::Outcome;

/// Text as nobody wants to have it from a backend.
const HOSTILE: &str = "\"><script src=\"http://x/\">alert('&')</script>]]>\u{1b}[2J\u{202e}\u{0}";

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
        detail: HOSTILE.to_owned(),
    };
    let cases = cases.collect();
    let limited = Support::Limited(HOSTILE.to_owned());
    let mut capabilities = Capabilities::none()
        .with(&[Feature::Spawn], &Support::Native, Actor::Caller)
        .with(&[Feature::Drain], &limited, Actor::Resident);
    capabilities.limits.stop_grace = Some(Duration::from_millis(1500));
    Report::new(
        info,
        capabilities,
        Evidence::Twin,
        "2026-01-01".to_owned(),
        cases,
    )
}

fn every_outcome() -> Report {
    report(vec![
        Outcome::Pass,
        Outcome::Fail(format!("first\nsecond {HOSTILE}")),
        Outcome::Skip(HOSTILE.to_owned()),
        Outcome::Xfail("known".to_owned()),
    ])
}

#[test]
fn nothing_tried_is_a_failure() {
    assert!(!report(Vec::new()).is_success());
    assert!(!report(vec![Outcome::Skip("no".to_owned())]).is_success());
    assert!(report(vec![Outcome::Pass, Outcome::Xfail("known".to_owned())]).is_success());
    assert!(!report(vec![Outcome::Pass, Outcome::Fail("bad".to_owned())]).is_success());
}

#[test]
fn json_reads_back() {
    let report = every_outcome();
    let back: Report = serde_json::from_str(&report.to_json()).expect("reads back");
    assert_eq!(back, report);
    let closing = "unmoor-conformance: 1 passed, 1 failed, 2 skipped\n";
    assert!(report.to_string().ends_with(closing));
}

fn schema() -> Value {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let text = fs::read_to_string(docs.join("conformance-report.schema.json"));
    serde_json::from_str(&text.expect("it is published")).expect("JSON")
}

#[test]
fn json_is_as_its_schema_says() {
    let document: Value = serde_json::from_str(&every_outcome().to_json()).expect("JSON");
    assert_eq!(check(&schema(), &document), [""; 0]);
    for (place, other) in [
        ("/form", json!(2)),
        ("/cases/1/outcome", json!("maybe")),
        ("/cases/0/milliseconds", json!(-1)),
        ("/capabilities/features/spawn/support", json!("sometimes")),
        ("/capabilities/limits/stop_grace", json!("1s")),
        ("/totals", json!({"passed": 1})),
        ("/backend/scheme", json!(null)),
    ] {
        let mut changed = document.clone();
        *changed.pointer_mut(place).expect("it is there") = other;
        assert_ne!(check(&schema(), &changed), [""; 0], "{place}");
    }
    let mut more = document;
    more["unheard"] = json!(1);
    assert_eq!(check(&schema(), &more), ["$.unheard is not in the schema"]);
}

/// How often a part is in a text.
fn times(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn junit_has_every_case_and_its_reason() {
    let xml = every_outcome().to_junit();
    assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites "));
    let counts = "tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"2\" time=\"4.936\"";
    assert_eq!(times(&xml, counts), 2, "{xml}");
    assert_eq!(times(&xml, "<testcase classname=\"conformance.spawn\""), 4);
    assert!(
        xml.contains("<failure type=\"fail\" message=\"first\">first\nsecond "),
        "{xml}"
    );
    assert!(xml.contains("<skipped type=\"xfail\" message=\"known\">known</skipped>"));
}

#[test]
fn nothing_of_a_backend_breaks_out_of_a_document() {
    for format in [Format::Html, Format::Junit] {
        let text = every_outcome().to(format);
        assert_eq!(times(&text, "<script"), 0, "{format:?}: {text}");
        assert_eq!(times(&text, "]]>"), 0, "{format:?}: {text}");
        let hidden = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(hidden), "{format:?}: {text}");
    }
}

#[test]
fn the_page_needs_nothing_else() {
    let page = every_outcome().to_html();
    for outside in [
        "src=", "url(", "@import", "<link", "<script", "<img", "<iframe",
    ] {
        let escaped = page.replace("src=&quot;", "");
        assert_eq!(times(&escaped, outside), 0, "{outside} in {page}");
    }
    let references = page.split(" href=\"").skip(1);
    for reference in references {
        assert!(reference.starts_with('#'), "{reference}");
    }
    assert!(page.contains("<a href=\"#case1\">"), "{page}");
    assert!(page.contains("<details open>"), "{page}");
    let empty = report(Vec::new()).to_html();
    assert!(empty.contains("no case was tried, which is a failure"));
}

#[test]
fn formats_are_known_by_name_and_by_ending() {
    assert_eq!("junit".parse(), Ok(Format::Junit));
    assert!("xml".parse::<Format>().is_err());
    assert_eq!(Format::of(Path::new("a/b.html")), Some(Format::Html));
    assert_eq!(Format::of(Path::new("b.xml")), Some(Format::Junit));
    assert_eq!(Format::of(Path::new("xml")), None);
}
