//! What `config` answers about real projects' files, flag by flag, against docker compose itself.
//! Runs where `UNMOOR_COMPOSE_ORACLE` names a docker-compose program and the folder with the files
//! is beside the repository; `cargo xtask soak oracle` sets it off.

#[path = "../../../core/tests/oracle/json.rs"]
mod json;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Ways to ask; `docs/compose.md` names the others, which are known to differ.
const WAYS: [&[&str]; 20] = [
    &["--format", "json"],
    &["--format", "json", "--no-interpolate"],
    &["--format", "json", "--no-normalize"],
    &["--format", "json", "--no-consistency"],
    &["--format", "json", "--no-path-resolution"],
    &["--format", "json", "--no-interpolate", "--no-normalize"],
    &[
        "--format",
        "json",
        "--no-interpolate",
        "--no-path-resolution",
    ],
    &["--format", "json", "--no-normalize", "--no-path-resolution"],
    &["-q"],
    &["-q", "--no-interpolate"],
    &["--services"],
    &["--services", "--no-interpolate"],
    &["--images"],
    &["--profiles"],
    &["--volumes"],
    &["--networks"],
    &["--models"],
    &["--hash", "*"],
    &["--variables", "--no-interpolate"],
    &["--environment"],
];

/// The exit code of a program in Go that panics, which is no verdict.
const PANIC: i32 = 2;

fn corpus() -> Option<PathBuf> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = above.join("shared/compose-corpus").canonicalize().ok()?;
    folder.join("PROJECTS.txt").is_file().then_some(folder)
}

/// A set of files: its folder, and the words before the verb.
fn sets(folder: &Path) -> Vec<(PathBuf, Vec<String>)> {
    let results = std::fs::read_to_string(folder.join("expected/RESULTS.txt")).expect("results");
    let mut found = Vec::new();
    for line in results.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [slug, files, "full", _, env_files, ..] = columns[..] else {
            continue;
        };
        let mut words = Vec::new();
        for (flag, names) in [("-f", files), ("--env-file", env_files)] {
            for name in names.split(',').filter(|name| !name.is_empty()) {
                words.extend([flag.to_owned(), name.to_owned()]);
            }
        }
        // The list names more than is kept beside the repository.
        if folder.join(slug).is_dir() {
            found.push((folder.join(slug), words));
        }
    }
    found
}

fn ask(program: &Path, folder: &Path, before: &[String], way: &[&str]) -> Output {
    Command::new(program)
        .args(before)
        .arg("config")
        .args(way)
        .current_dir(folder)
        .env_clear()
        .env("HOME", "/home/me")
        .env("PWD", folder)
        .output()
        .expect("the program runs")
}

/// Lines in one order: docker compose has another one each time.
fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = text.lines().map(words).collect();
    lines.sort();
    lines
}

fn difference(theirs: &Output, ours: &Output, way: &[&str]) -> Option<String> {
    match (theirs.status.success(), ours.status.success()) {
        (false, false) => return None,
        (false, true) => return Some("accepted here".to_owned()),
        (true, false) => {
            let text = String::from_utf8_lossy(&ours.stderr);
            return Some(format!("refused here: {text}"));
        }
        (true, true) => {}
    }
    if way.contains(&"json") {
        let parsed = |output: &Output| serde_json::from_slice(&output.stdout).expect("JSON");
        let found = json::differences(&parsed(theirs), &parsed(ours));
        return (!found.is_empty()).then(|| found.join("\n"));
    }
    let (theirs, ours) = (lines(theirs), lines(ours));
    (theirs != ours).then(|| format!("theirs {theirs:#?}\nours {ours:#?}"))
}

#[test]
fn real_files_are_answered_as_docker_compose_answers() {
    let oracle = std::env::var_os("UNMOOR_COMPOSE_ORACLE").map(PathBuf::from);
    let (Some(oracle), Some(folder)) = (oracle, corpus()) else {
        eprintln!("skipped: no docker-compose program is named, or there are no real files");
        return;
    };
    let own = Path::new(env!("CARGO_BIN_EXE_unmoor"));
    let (mut asked, mut crashed, mut wrong) = (0, 0, Vec::new());
    for (folder, before) in sets(&folder) {
        for way in WAYS {
            let theirs = ask(&oracle, &folder, &before, way);
            asked += 1;
            if theirs.status.code() == Some(PANIC) {
                crashed += 1;
                continue;
            }
            let ours = ask(own, &folder, &before, way);
            if let Some(difference) = difference(&theirs, &ours, way) {
                let (name, before) = (folder.display(), before.join(" "));
                wrong.push(format!("--- {name}: {before} config {way:?}: {difference}"));
            }
        }
    }
    println!(
        "{asked} answers, {crashed} crash docker compose, {} differ",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked > 0, "nothing was asked");
}
