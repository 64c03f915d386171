//! Rules for Rust sources: sizes, `unsafe`, globs, headers, and the pure parts of the core.

use unmoor_layout::source::Source;
use unmoor_layout::{expect_none, files};

const FUNCTION_LINES: usize = 80;
const FILE_LINES: usize = 600;

/// Where `unsafe` may stand: modules that speak to the kernel, and the helper without a library.
const UNSAFE_FOLDERS: [&str; 1] = ["runtime-local/shim/"];

fn is_test_file(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    let in_tests = file.contains("/tests/") || file.starts_with("tests/");
    // The packages under tests/ are libraries and programs like any other, but for their tests/.
    let package = file.starts_with("tests/") && file.contains("/src/");
    (in_tests && !package) || name == "tests.rs" || name.ends_with("_tests.rs")
}

fn sources() -> Vec<(String, String, Source)> {
    let read = |file: String| {
        let text = files::text(&file);
        let source = Source::parse(&text);
        (file, text, source)
    };
    files::rust().into_iter().map(read).collect()
}

#[test]
fn the_repository_has_sources() {
    assert!(
        files::rust().len() > 20,
        "the scanner sees too few files to judge"
    );
}

#[test]
fn functions_fit_on_a_screen() {
    let mut problems = Vec::new();
    for (file, _, source) in sources() {
        let long = source
            .functions()
            .into_iter()
            .filter(|found| found.length > FUNCTION_LINES);
        problems.extend(long.map(|found| {
            format!(
                "{file}:{}: `{}` has {} lines",
                found.line, found.name, found.length
            )
        }));
    }
    expect_none(&problems, "no function has more than 80 lines of code");
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let mut problems = Vec::new();
    for (file, text, source) in sources() {
        let tests = source.test_modules();
        let test_lines: usize = tests
            .iter()
            .map(|range| source.code()[range.clone()].matches('\n').count() + 1)
            .sum();
        let lines = text.lines().count().saturating_sub(test_lines);
        if lines > FILE_LINES {
            problems.push(format!("{file}: {lines} lines without its tests"));
        }
    }
    expect_none(&problems, "no file has more than 600 lines");
}

#[test]
fn unsafe_code_stays_in_its_places() {
    let mut problems = Vec::new();
    for (file, _, source) in sources() {
        let in_sys = file
            .split('/')
            .any(|part| part == "sys" || part == "sys.rs");
        if in_sys || UNSAFE_FOLDERS.iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        let places = source.find_word("unsafe");
        problems.extend(
            places
                .into_iter()
                .map(|place| format!("{file}:{}", source.line_of(place))),
        );
    }
    expect_none(&problems, "`unsafe` is for `sys` modules and the shim");
}

#[test]
fn imports_name_what_they_import() {
    let mut problems = Vec::new();
    for (file, _, source) in sources() {
        if is_test_file(&file) {
            continue;
        }
        let tests = source.test_modules();
        for place in source.find_word("use") {
            let statement = source.code()[place..].split(';').next().unwrap_or_default();
            let in_test = tests.iter().any(|range| range.contains(&place));
            if statement.contains("::*") && !in_test {
                problems.push(format!("{file}:{}", source.line_of(place)));
            }
        }
    }
    expect_none(&problems, "no glob imports outside tests");
}

#[test]
fn every_file_says_what_it_is_for() {
    let lacks = |text: &str| !text.trim_start().starts_with("//!");
    let problems: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text, _)| lacks(text))
        .map(|(file, ..)| file)
        .collect();
    expect_none(&problems, "every file opens with a `//!` sentence");
}

#[test]
fn planning_is_pure() {
    let mut problems = Vec::new();
    for (file, _, source) in sources() {
        if file.starts_with("core/src/plan/") && !is_test_file(&file) {
            let places = source
                .find_word("async")
                .into_iter()
                .chain(source.find_word("await"));
            problems.extend(places.map(|place| format!("{file}:{}", source.line_of(place))));
        }
    }
    expect_none(&problems, "nothing in core/src/plan waits");
}

#[test]
fn the_core_and_the_model_are_told_the_time() {
    let mut problems = Vec::new();
    for (file, _, source) in sources() {
        let pure = file.starts_with("core/src/") || file.starts_with("backends/sim/src/");
        if !pure || is_test_file(&file) || file.ends_with("/clock.rs") {
            continue;
        }
        let tests = source.test_modules();
        for call in ["Instant::now", "SystemTime::now"] {
            let places = source.code().match_indices(call).map(|(place, _)| place);
            let outside = places.filter(|place| !tests.iter().any(|range| range.contains(place)));
            problems
                .extend(outside.map(|place| format!("{file}:{}: {call}", source.line_of(place))));
        }
    }
    expect_none(&problems, "time comes in through a clock");
}
