//! What replicas write: on which stream it comes out, and what of it reaches a terminal.

use std::process::Stdio;

use unmoor_e2e::patience::until;
use unmoor_e2e::screen::{Screen, terminal};
use unmoor_e2e::stage::{PATIENCE, Stage, text};

/// Writes to both streams in turn, and at the end what would steer a terminal.
const LOUD: &str = r#"
name: loud
services:
  shout:
    image: small:1
    command:
      - sh
      - -c
      - |
        echo first >&2; sleep 1; echo second; sleep 1; echo third >&2; sleep 1
        printf 'a\033]0;pwned\007\033[2Jmid\rover\033[31mred\n'
        printf 'b\033[3A\302\2332Jend\n' >&2
"#;

const STEERING: &str = "a\u{1b}]0;pwned\u{7}\u{1b}[2Jmid\rover\u{1b}[31mred";
const STEERING_ERROR: &str = "b\u{1b}[3A\u{9b}2Jend";

fn lines<const N: usize>(lines: [&str; N]) -> String {
    lines.map(|line| format!("shout-1  | {line}\n")).concat()
}

/// What a command shows on a terminal that has both of its streams.
fn on_terminal(stage: &Stage, words: &[&str]) -> String {
    let (master, slave) = terminal();
    let screen = Screen::of(&master);
    let end = || Stdio::from(slave.try_clone().expect("another descriptor"));
    let mut command = stage.unmoor(words);
    command.env("TERM", "xterm").env("NO_COLOR", "1");
    command.stdout(end()).stderr(end());
    let _ = command.status().expect("it starts");
    drop((command, slave, master));
    screen.rest().replace("\r\n", "\n")
}

#[test]
fn logs_are_one_stream_and_an_attached_up_keeps_them_apart() {
    let Some(stage) = Stage::small(LOUD) else {
        return;
    };
    let up = stage.run(&["--progress", "quiet", "up"]);
    assert_eq!(text(&up.stdout), lines(["second", STEERING]));
    assert_eq!(
        text(&up.stderr),
        lines(["first", "third", STEERING_ERROR]),
        "standard error, and how it ended"
    );
    // Off a terminal every byte is as it was written, and in its order.
    let ran = until("all of it is logged", PATIENCE, || {
        let ran = stage.run(&["logs"]);
        match text(&ran.stdout).lines().count() {
            5 => Ok(ran),
            _ => Err(text(&ran.stdout)),
        }
    });
    let out = text(&ran.stdout);
    let (first, rest) = out.split_at(lines(["first", "second", "third"]).len());
    assert_eq!(first, lines(["first", "second", "third"]));
    for line in [STEERING, STEERING_ERROR] {
        assert!(rest.contains(&lines([line])), "{rest:?}");
    }
    assert_eq!(text(&ran.stderr), "");
    // Nobody is left who could write, so following comes to its end.
    let followed = stage.run(&["logs", "-f", "-n", "1"]);
    assert_eq!(followed.status.code(), Some(0));
    assert_eq!(text(&followed.stdout).lines().count(), 1, "{followed:?}");
}

#[test]
fn a_terminal_gets_no_sequences_of_replicas_but_colours() {
    let Some(stage) = Stage::small(LOUD) else {
        return;
    };
    let harmless = [
        "a\\u{1b}]0;pwned\\u{7}\\u{1b}[2Jmid\\rover\u{1b}[31mred\u{1b}[0m",
        "b\\u{1b}[3A\\u{9b}2Jend",
    ];
    let up = ["--progress", "quiet", "up"];
    for words in [&up[..], &["logs"], &["logs", "-n", "2"]] {
        let seen = on_terminal(&stage, words);
        for line in harmless {
            assert!(seen.contains(&lines([line])), "{words:?}: {seen:?}");
        }
        let colours = seen.matches("\u{1b}[31m").count() + seen.matches("\u{1b}[0m").count();
        assert_eq!(
            seen.matches('\u{1b}').count(),
            colours,
            "{words:?}: {seen:?}"
        );
        assert!(
            !seen.contains(['\u{9b}', '\u{7}', '\r']),
            "{words:?}: {seen:?}"
        );
    }
    let json = on_terminal(&stage, &["logs", "--format", "json"]);
    assert!(!json.contains(['\u{1b}', '\u{9b}']), "{json:?}");
    // Whoever runs a program of a replica on this terminal gets what it writes.
    let program = [
        "run",
        "-T",
        "--rm",
        "--quiet",
        "shout",
        "sh",
        "-c",
        r"printf 'x\033[2Jy\n'",
    ];
    assert!(on_terminal(&stage, &program).contains("x\u{1b}[2Jy"));
}
