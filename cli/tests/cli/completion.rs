//! What shells complete: asked as each shell asks, and by the shells that are installed.

use std::collections::BTreeSet;
use std::process::Command;

use crate::place::{Place, SHOP, ran};

const FILE: &str = "\
name: shop
services:
  web:
    image: nginx:1.27
    ports: [\"8080:80\"]
  api: { image: shop/api:1, profiles: [debug] }
";

/// What is offered for the last of these words, asked as a shell asks.
fn offered(place: &Place, shell: &str, words: &[&str]) -> BTreeSet<String> {
    let mut command = place.command(&["--", "unmoor"]);
    command.args(words).env("UNMOOR_COMPLETE", shell);
    // Bash and zsh say which word; fish hands over those before the cursor.
    command.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    command.env("_CLAP_IFS", "\n");
    let out = ran(&mut command).out;
    let word = |line: &str| {
        let line = line.split('\t').next().unwrap_or_default();
        // Zsh puts a description behind a colon, and a backslash before one that is meant.
        let line = line.replace("\\:", "\u{1}");
        let line = match shell {
            "zsh" => line.split(':').next().unwrap_or_default().to_owned(),
            _ => line,
        };
        line.replace('\u{1}', ":")
    };
    out.lines().map(word).collect()
}

/// Lines that end in a word, and what is offered for it.
const CASES: [(&[&str], &[&str]); 33] = [
    (&["scale", ""], &["api=", "web="]),
    (&["up", "--scale", "w"], &["web="]),
    (&["cp", "we"], &["web:"]),
    (&["inspect", "w"], &["web"]),
    (&["link", "w"], &["web"]),
    (&["link", "web", "a"], &["api"]),
    (&["unlink", "w"], &["web"]),
    (&["--profile", ""], &["debug"]),
    (&["context", "use", ""], &["default", "lab"]),
    (&["context", "rm", "l"], &["lab"]),
    (&["config", "--explain", "services.w"], &["services.web"]),
    (
        &["config", "--explain", "services.web.p"],
        &["services.web.ports"],
    ),
    (&["config", "--hash", "w"], &["web"]),
    (&["config", "--hash", "web,a"], &["web,api"]),
    (&["config", "w"], &["web"]),
    (&["ps", "--status", "r"], &["restarting", "running"]),
    (&["kill", "-s", "SIGH"], &["SIGHUP"]),
    (&["kill", "-s", "T"], &["TERM"]),
    (&["up", "--pull", ""], &["always", "missing", "never"]),
    (&["create", "--drift", "r"], &["reconcile", "report"]),
    (&["run", "--pull", "a"], &["always"]),
    (&["pull", "--policy", "m"], &["missing"]),
    (&["update", "w"], &["web"]),
    (&["rollback", "w"], &["web"]),
    (&["logs", "a"], &["api"]),
    (&["exec", "w"], &["web"]),
    (&["ls", "--format", ""], &["json", "table"]),
    (&["-c", "l"], &["lab"]),
    (&["-b", "si"], &["sim:"]),
    (&["conformance", "si"], &["sim:"]),
    (&["-f", "other.yaml", "logs", ""], &["elsewhere"]),
    (&["--project-directory", "sub", "logs", ""], &["below"]),
    (&["completion", "z"], &["zsh"]),
];

fn stage() -> Place {
    let place = Place::with(FILE);
    place.write("other.yaml", "services: {elsewhere: {image: x}}\n");
    std::fs::create_dir(place.path().join("sub")).expect("a directory");
    place.write("sub/compose.yaml", "services: {below: {image: x}}\n");
    let made = place.run(&["context", "create", "lab", "sim:"]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    place
}

#[test]
fn every_shell_is_offered_what_there_is() {
    let place = stage();
    for shell in ["bash", "zsh", "fish"] {
        for (line, wanted) in CASES {
            let mut found = offered(&place, shell, line);
            // An empty word may also begin an option.
            found.retain(|word| !word.starts_with('-') && !word.is_empty());
            let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
            assert_eq!(found, wanted, "{shell}: {line:?}");
        }
    }
}

#[test]
fn a_line_that_cannot_be_answered_offers_nothing() {
    let place = Place::with(SHOP);
    place.write("compose.yaml", "services: {web: {image: [}\n");
    for line in [
        &["logs", ""][..],
        &["-b", "nowhere:", "-p", "shop", "logs", ""],
        &["config", "--explain", "services."],
        &["image", "rm", "n"],
    ] {
        let found = offered(&place, "fish", line);
        assert!(
            found.iter().all(|word| word.starts_with('-')),
            "{line:?}: {found:?}"
        );
    }
}

/// Bash completes a line by the function that the script has registered.
const IN_BASH: &str = r#"
source <("$0" completion bash) || exit 1
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
function=$(complete -p unmoor | sed 's/.*-F \([^ ]*\).*/\1/')
"$function" unmoor "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

const IN_FISH: &str = r#"
set -l program $argv[1]
$program completion fish | source
complete -C (string join ' ' -- $argv[2..])
"#;

#[test]
fn a_real_shell_completes_words() {
    let place = stage();
    let program = env!("CARGO_BIN_EXE_unmoor");
    let folder = std::path::Path::new(program).parent().expect("a directory");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let there = |shell: &str| {
        let found = Command::new(shell).arg("--version").output();
        let is_there = found.is_ok_and(|output| output.status.success());
        if !is_there {
            eprintln!("{shell} is not installed: asked as it would ask by another test");
        }
        is_there
    };
    for (line, wanted) in CASES {
        for (shell, script) in [("bash", IN_BASH), ("fish", IN_FISH)] {
            if !there(shell) {
                continue;
            }
            let mut command = Command::new(shell);
            command
                .env_clear()
                .env("HOME", place.path())
                .env("PATH", &path);
            command
                .env("UNMOOR_BACKEND", "sim:")
                .current_dir(place.path());
            command.args(["-c", script, program, "unmoor"]).args(line);
            let ran = ran(&mut command);
            let words = ran
                .out
                .lines()
                .map(|line| line.split('\t').next().unwrap_or(line));
            let found: BTreeSet<&str> = words
                .filter(|word| !word.starts_with('-') && !word.is_empty())
                .collect();
            assert_eq!(
                found,
                wanted.iter().copied().collect(),
                "{shell} {line:?}: {}",
                ran.err
            );
        }
    }
}
