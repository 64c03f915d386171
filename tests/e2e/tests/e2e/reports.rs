//! The reports of the conformance suite, read by parsers that are not ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use unmoor_conformance::{Format, Report};
use unmoor_e2e::program::{find, unmoor};
use unmoor_e2e::stage::text;
use unmoor_tools::skipped;

const READER: &str = include_str!("../../stack/read_reports.py");

/// What the reader found in the three documents of a directory: one line for each case.
fn read(directory: &Path) -> Result<String, String> {
    let output = Command::new("python3")
        .args(["-c", READER, "r.json", "r.xml", "r.html"])
        .current_dir(directory)
        .output()
        .expect("python3 starts");
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

fn has_reader() -> bool {
    let found = find("python3").is_some();
    if !found {
        skipped("python3 is not installed");
    }
    found
}

#[test]
fn a_run_is_told_alike_in_every_report() {
    if !has_reader() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    // One bug that is seen, cases that hold, and no backend but the model.
    let words = [
        "conformance",
        "sim:?bug=exec-user-ignored",
        "--filter",
        "exec",
        "--report=json=r.json",
        "--report=junit=r.xml",
        "--report=html=r.html",
    ];
    let output = Command::new(unmoor())
        .args(words)
        .current_dir(directory.path())
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let told = read(directory.path()).expect("the reports agree");
    assert!(told.contains("exec_user fail\n"), "{told}");
    assert!(told.contains("exec_stdin pass\n"), "{told}");
}

/// A report whose every text tries to be something else.
fn hostile() -> Report {
    let bad = |number: u32| {
        format!(
            "\"'><script src=x>{number}</td></table></pre>]]>&amp;\u{0}\u{1b}[2J\u{85}\u{202e}\u{ffff}\n--></failure>\t"
        )
    };
    let case = |number: u32, outcome: &str| {
        json!({
            "name": format!("case{number}\"><b>"), "operation": format!("o'{number}<"),
            "claim": format!("a <claim> & \"more\" {number}"), "milliseconds": 1001,
            "outcome": outcome, "reason": bad(number),
        })
    };
    let report = json!({
        "backend": {"scheme": "x", "uri": bad(1), "version": bad(2), "detail": bad(3)},
        "capabilities": {
            "features": {"spawn": {"support": {"limited": bad(4)}, "actor": "caller"}},
            "limits": {"replicas": null, "stop_grace": null},
        },
        "evidence": "twin", "date": bad(5),
        "cases": [case(0, "fail"), case(1, "skip"), case(2, "xfail"), case(3, "fail")],
    });
    serde_json::from_value(report).expect("a report")
}

#[test]
fn what_backends_say_stays_text_in_every_report() {
    if !has_reader() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        fs::write(directory.path().join(name), text).expect("a file");
    };
    let report = hostile();
    write("r.json", &report.to(Format::Json));
    write("r.xml", &report.to(Format::Junit));
    write("r.html", &report.to(Format::Html));
    let told = read(directory.path()).expect("the reports agree");
    assert_eq!(told.lines().count(), 4, "{told}");

    // The reader would notice: a reason that is cut, and a tag that is not escaped.
    let changed: Value = serde_json::from_str(&report.to(Format::Json)).expect("JSON");
    let mut cut = changed.clone();
    cut["cases"][0]["reason"] = json!("other");
    write("r.json", &cut.to_string());
    assert!(read(directory.path()).is_err_and(|said| said.contains("reason")));
    write("r.json", &changed.to_string());
    let page = report.to(Format::Html);
    write("r.html", &page.replacen("&lt;script", "<script", 1));
    assert!(read(directory.path()).is_err_and(|said| said.contains("AssertionError")));
}
