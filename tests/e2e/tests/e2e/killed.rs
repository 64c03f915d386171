//! `kill -9` of `up` anywhere: the next `up`, of somebody elsewhere, finishes, and `down` leaves
//! nothing.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;
use unmoor_e2e::stage::{Stage, send};

const MANY: &str = include_str!("../../stack/many.yaml");

/// Kills an `up` as soon as it tells the nth event; true if it lived that long.
fn killed_at(stage: &Stage, event: usize) -> bool {
    let mut command = stage.unmoor(&["--progress", "json", "up", "-d"]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let err = BufReader::new(child.stderr.take().expect("a pipe"));
    let seen = err.lines().map_while(Result::ok).take(event + 1).count();
    let in_time = seen == event + 1 && child.try_wait().expect("it can be asked").is_none();
    if in_time {
        send(&child, Signal::KILL);
    }
    child.wait().expect("it ends");
    in_time
}

/// The number of events of an `up` that nobody disturbs.
fn events(stage: &Stage) -> usize {
    let output = stage.run(&["--progress", "json", "up", "-d"]);
    assert!(output.status.success(), "{output:?}");
    let lines = output.stderr.split(|byte| *byte == b'\n');
    lines
        .filter(|line| serde_json::from_slice::<Value>(line).is_ok())
        .count()
}

#[test]
fn an_up_killed_anywhere_is_finished_by_the_next() {
    let Some(stage) = Stage::small(MANY) else {
        return;
    };
    let noted = stage.note();
    let total = events(&stage);
    let whole = stage.phases();
    assert_eq!(whole.len(), 5, "{whole:?}");
    let _ = stage.ok(&["down", "-v"]);
    let mut killed = 0;
    for nth in 0..8 {
        // Spread over all events: before anything is made, in the middle, shortly before the end.
        let at = nth * total / 8;
        killed += usize::from(killed_at(&stage, at));
        let _ = stage.ok_elsewhere(&["up", "-d", "--wait", "--wait-timeout", "60"]);
        assert_eq!(
            stage.phases(),
            whole,
            "after a kill at event {at} of {total}"
        );
        assert_eq!(
            stage.changes_of_up(),
            0,
            "after a kill at event {at} of {total}"
        );
        assert_eq!(
            stage.get("http://127.0.0.1:8083/").expect("a page"),
            "a page\n"
        );
        let by_name = ["exec", "-T", "c", "curl", "-sf", "-m", "5", "http://b/"];
        assert_eq!(stage.ok(&by_name), "a page\n");
        let _ = stage.ok(&["down", "-v"]);
        stage.nothing_left(&noted);
    }
    assert!(
        killed >= 5,
        "only {killed} of 8 were killed before they ended"
    );
}

#[test]
fn a_down_killed_anywhere_is_finished_by_the_next() {
    let Some(stage) = Stage::small(MANY) else {
        return;
    };
    let noted = stage.note();
    for at in [0, 2, 5, 9] {
        let _ = stage.ok(&["up", "-d", "--wait", "--wait-timeout", "60"]);
        let mut command = stage.unmoor(&["--progress", "json", "down", "-v"]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let err = BufReader::new(child.stderr.take().expect("a pipe"));
        let _ = err.lines().map_while(Result::ok).take(at + 1).count();
        if child.try_wait().expect("it can be asked").is_none() {
            send(&child, Signal::KILL);
        }
        child.wait().expect("it ends");
        let _ = stage.ok_elsewhere(&["down", "-v"]);
        stage.nothing_left(&noted);
        assert_eq!(stage.ok(&["ls", "-q"]), "");
    }
}
