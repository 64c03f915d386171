//! A short run of every target, and that each kind of bug is found.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn fuzz(folder: &Path, words: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_unmoor-fuzz");
    let mut command = Command::new(program);
    command.args(words).arg("--folder").arg(folder);
    command.output().expect("the program runs")
}

fn said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr];
    both.map(|text| String::from_utf8_lossy(text).into_owned())
        .concat()
}

/// A run of the same inputs each time: those to begin with, and as many mutations again.
#[test]
fn compose_files_of_any_kind_have_an_answer() {
    let folder = tempfile::tempdir().expect("a directory");
    let output = fuzz(
        folder.path(),
        &["compose", "--runs", "2500", "--seconds", "200"],
    );
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(" 0 findings"), "{}", said(&output));
}

/// What ended a worker once has an answer now.
#[test]
fn what_was_found_once_has_an_answer() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings");
    for entry in fs::read_dir(kept).expect("the folder of findings") {
        let path = entry.expect("an entry").path();
        let input = path.display().to_string();
        let folder = tempfile::tempdir().expect("a directory");
        let output = fuzz(folder.path(), &["compose", "--input", &input]);
        assert!(output.status.success(), "{input}: {}", said(&output));
    }
}

#[test]
fn every_kind_of_bug_is_found_and_its_input_kept() {
    let folder = tempfile::tempdir().expect("a directory");
    let words = [
        "planted",
        "--patience",
        "200",
        "--runs",
        "400",
        "--seconds",
        "100",
    ];
    let output = fuzz(folder.path(), &words);
    assert!(!output.status.success(), "{}", said(&output));
    for kind in ["panic", "hang", "too much memory", "stack overflow"] {
        let text = said(&output);
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{kind}: ")));
        let line = line.unwrap_or_else(|| panic!("no {kind} in {text}"));
        let path = &line[kind.len() + 2..];
        let input = fs::read_to_string(path).expect("the input is kept");
        assert!(input.contains("%% flag "), "{input}");
        if kind == "panic" {
            let again = fuzz(folder.path(), &["planted", "--input", path]);
            assert!(said(&again).contains("planted: "), "{}", said(&again));
        }
    }
}
