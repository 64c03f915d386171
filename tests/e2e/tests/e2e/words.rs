//! What is completed from what the backend has, and readers that go away.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use unmoor_e2e::patience::until;
use unmoor_e2e::stage::{PATIENCE, Stage, text};

const FILE: &str = "
name: words
services:
  web: { image: small:1, stop_grace_period: 1s, command: [sh, -c, 'echo ready; exec sleep 1000'] }
  db: { image: small:1, stop_grace_period: 1s }
";

/// What bash is offered for the last of these words, in a directory without a file.
fn offered(stage: &Stage, words: &[&str]) -> Vec<String> {
    let index = words.len().to_string();
    let index = format!("_CLAP_COMPLETE_INDEX={index}");
    let bash = [
        "env",
        "-C",
        "/",
        "UNMOOR_COMPLETE=bash",
        "_CLAP_IFS=\n",
        &index,
    ];
    let all = [&["--", "unmoor"], words].concat();
    let output = stage.unmoor_by(&bash, &all).output().expect("it starts");
    let out = text(&output.stdout);
    let words = out.lines().filter(|word| !word.starts_with('-'));
    words.map(str::to_owned).collect()
}

#[test]
fn words_of_the_backend_are_completed_without_a_file() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["up", "-d"]);
    let _ = stage.ok(&["link", "web", "db:store"]);
    for (line, wanted) in [
        (&["-p", "w"][..], &["words"][..]),
        (&["-p", "words", "logs", ""], &["db", "web"]),
        (&["-p", "words", "logs", "w"], &["web"]),
        (&["-p", "words", "scale", "d"], &["db="]),
        (
            &["-p", "words", "inspect", "w"],
            &["web", "words-db-1", "words-web-1"],
        ),
        (&["-p", "words", "unlink", "web", ""], &["store"]),
        (&["image", "rm", "s"], &["small:1"]),
        (&["-p", "other", "logs", ""], &[]),
        (&["logs", ""], &[]),
    ] {
        assert_eq!(offered(&stage, line), wanted, "{line:?}");
    }
}

#[test]
fn who_waits_for_something_to_tell_ends_when_nobody_reads() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "--wait"]);
    for words in [
        &["logs", "-f", "web"][..],
        &["endpoints", "--watch"],
        &["events"],
        &["wait", "web"],
    ] {
        let mut command = stage.unmoor(words);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        if matches!(words[0], "logs" | "endpoints") {
            let mut first = String::new();
            out.read_line(&mut first).expect("a line");
            assert!(!first.is_empty(), "{words:?}");
        }
        drop(out);
        until("it ends by itself", PATIENCE, || match child.try_wait() {
            Ok(Some(status)) if status.code() == Some(141) => Ok(()),
            seen => Err(format!("{words:?}: {seen:?}")),
        });
    }
}
