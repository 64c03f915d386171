//! Commands that are left to themselves, copies into every replica, and questions nobody can answer.

use std::process::Output;

use unmoor_e2e::patience::until;
use unmoor_e2e::stage::{PATIENCE, Stage, text};

const FILE: &str = "
name: left
services:
  web: { image: small:1, stop_grace_period: 1s, deploy: { replicas: 2 } }
";

fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_command_that_is_left_goes_on_and_ends_with_its_replica() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let noted = stage.note();
    let _ = stage.ok(&["up", "-d", "--wait"]);
    // It writes to both streams after nobody holds them any more.
    let script = "echo x; echo y >&2; echo done > /tmp/left; exec sleep 4321";
    let out = stage.ok(&["exec", "-d", "-e", "A=b", "web", "sh", "-c", script]);
    assert_eq!(out, "");
    let read = || stage.run(&["exec", "-T", "web", "cat", "/tmp/left"]);
    until("it has written", PATIENCE, || match text(&read().stdout) {
        found if found == "done\n" => Ok(()),
        other => Err(other),
    });
    let programs = stage.json(&["top", "web", "--format", "json"]).to_string();
    assert!(programs.contains("4321"), "{programs}");
    for (command, wanted) in [("nosuch", 127), ("/www", 126)] {
        let ended = stage.run(&["exec", "-d", "web", command]);
        assert_eq!(
            ended.status.code(),
            Some(wanted),
            "{command}: {}",
            said(&ended)
        );
    }
    let _ = stage.ok(&["stop"]);
    let ended = stage.run(&["exec", "-d", "web", "sh"]);
    assert_eq!(ended.status.code(), Some(125), "{}", said(&ended));
    let _ = stage.ok(&["down"]);
    stage.nothing_left(&noted);
}

#[test]
fn a_copy_goes_into_every_replica_and_on_wish_into_copies() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "--wait"]);
    let copy = stage.ok(&["run", "-d", "web", "sleep", "1000"]);
    let copy = copy.trim().strip_prefix("left-").expect("its name");
    let copy = copy.strip_suffix("-1").expect("its number");
    stage.write("note", "all\n");
    let there = |service: &str, index: &str, path: &str| {
        let words = ["exec", "-T", "--index", index, service, "cat", path];
        stage.run(&words).status.success()
    };
    let _ = stage.ok(&["cp", "note", "web:/tmp/a"]);
    assert!(there("web", "1", "/tmp/a") && there("web", "2", "/tmp/a"));
    assert!(!there(copy, "1", "/tmp/a"), "a copy got it unasked");
    let _ = stage.ok(&["cp", "--index", "2", "note", "web:/tmp/b"]);
    assert!(!there("web", "1", "/tmp/b") && there("web", "2", "/tmp/b"));
    let _ = stage.ok(&["cp", "--all", "note", "web:/tmp/c"]);
    assert!(there("web", "1", "/tmp/c") && there(copy, "1", "/tmp/c"));
}

#[test]
fn nothing_asks_where_nobody_can_answer() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["run", "web", "sh", "-c", ":"]);
    let copies = || stage.json(&["ps", "-a", "--format", "json"]);
    assert_eq!(copies().as_array().map(Vec::len), Some(1));
    let asked = stage.run(&["system", "prune"]);
    assert_eq!(asked.status.code(), Some(64), "{}", said(&asked));
    assert!(said(&asked).contains("say --force"), "{}", said(&asked));
    assert_eq!(copies().as_array().map(Vec::len), Some(1));
    // The same of docker compose would ask.
    for words in [&["rm"][..], &["up", "-d"], &["down", "-v"]] {
        let _ = stage.ok(words);
    }
    let _ = stage.ok(&["run", "web", "sh", "-c", ":"]);
    let _ = stage.ok(&["system", "prune", "-f"]);
    assert_eq!(copies().as_array().map(Vec::len), Some(0));
}
