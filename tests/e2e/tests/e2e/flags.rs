//! What flags of `up`, `down`, `ps` and `logs`, and docker compose's variables, do to real replicas.

use std::io::{BufRead as _, BufReader};
use std::process::{Output, Stdio};

use rustix::process::Signal;
use unmoor_e2e::patience::until;
use unmoor_e2e::stage::{PATIENCE, Stage, send, text};

const FILE: &str = "\
name: flags
services:
  quick:
    image: small:1
    command: [sh, -c, \"echo quick; exit 4\"]
  fine:
    image: small:1
    command: [sh, -c, \"echo fine\"]
  long:
    image: small:1
    command: [sh, -c, \"trap 'exit 9' TERM; echo long; while :; do sleep 1 & wait $$!; done\"]
    stop_grace_period: 5s
    volumes: [/scratch]
";

fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// Exit code and everything that was said.
fn ran(stage: &Stage, words: &[&str]) -> (Option<i32>, String) {
    let output = stage.run(words);
    (output.status.code(), said(&output))
}

fn starts(stage: &Stage) -> Vec<String> {
    let list = stage.json(&["ps", "-a", "--format", "json"]);
    let list = list.as_array().expect("a list");
    list.iter().map(|one| one["started"].to_string()).collect()
}

#[test]
fn the_first_end_ends_all_and_gives_the_code() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let (code, told) = ran(
        &stage,
        &["up", "--abort-on-container-exit", "quick", "long"],
    );
    assert_eq!(code, Some(4), "{told}");
    assert!(
        told.contains("stopping because flags-quick-1 has ended"),
        "{told}"
    );
    assert_eq!(stage.phases()["flags-long-1"], "stopped", "{told}");
    // A good end is none for --abort-on-container-failure.
    let flag = "--abort-on-container-failure";
    let (code, told) = ran(&stage, &["up", flag, "fine"]);
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = ran(&stage, &["up", flag, "fine", "quick", "long"]);
    assert_eq!(code, Some(4), "{told}");
    let (code, told) = ran(&stage, &["up", "--exit-code-from", "long", "fine", "long"]);
    assert_eq!(code, Some(9), "{told}");
    let (code, told) = ran(&stage, &["up", "-d", flag]);
    assert_eq!(code, Some(64), "{told}");
    let (code, told) = ran(&stage, &["up", "--exit-code-from", "nobody"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("no service `nobody`"), "{told}");
}

#[test]
fn only_those_lines_are_shown_that_are_wanted() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let up = |flags: &[&str]| {
        let words = [
            &["up", "--abort-on-container-exit"],
            flags,
            &["fine", "long"],
        ];
        text(&stage.run(&words.concat()).stdout)
    };
    let all = up(&[]);
    assert!(
        all.contains("fine-1  | fine") && all.contains("long-1  | long"),
        "{all}"
    );
    assert_eq!(up(&["--attach", "fine"]), "fine-1  | fine\n");
    assert_eq!(up(&["--no-attach", "fine", "--no-log-prefix"]), "long\n");
    let stamped = up(&["--no-attach", "long", "--timestamps", "--no-log-prefix"]);
    let (time, line) = stamped.trim_end().split_once(' ').expect("two words");
    assert!(time.ends_with('Z') && line == "fine", "{stamped}");
}

#[test]
fn what_is_made_anew_is_what_the_flags_say() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["up", "--no-start", "long"]);
    assert_eq!(stage.phases()["flags-long-1"], "pending");
    let _ = stage.ok(&["up", "-d", "long"]);
    let first = starts(&stage);
    let touch = ["exec", "-T", "long", "touch", "/scratch/x"];
    let _ = stage.ok(&touch);
    let _ = stage.ok(&["up", "-d", "long"]);
    assert_eq!(starts(&stage), first, "nothing has changed");
    let _ = stage.ok(&["up", "-d", "-V", "--force-recreate", "-t", "0", "long"]);
    assert_ne!(starts(&stage), first, "it was to be made anew");
    let left = stage.ok(&["exec", "-T", "long", "ls", "/scratch"]);
    assert_eq!(left, "", "a volume without a name was kept");
    stage.write("compose.yaml", &FILE.replace("echo long", "echo longer"));
    let second = starts(&stage);
    let _ = stage.ok(&["up", "-d", "--no-recreate", "long"]);
    assert_eq!(starts(&stage), second, "it was to be kept");
    assert_eq!(
        ran(&stage, &["plan", "--detailed-exitcode", "long"]).0,
        Some(2)
    );
}

#[test]
fn numbers_of_the_command_line_count_until_the_next_up() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let count = |words: &[&str]| {
        let _ = stage.ok(&[&["up", "-d"], words, &["long"]].concat());
        stage.phases().len()
    };
    assert_eq!(count(&["--scale", "long=3"]), 3);
    assert_eq!(count(&[]), 1, "the file says one");
    let _ = stage.ok(&["scale", "long=2"]);
    assert_eq!(count(&[]), 2, "what was scaled by hand stays");
    assert_eq!(count(&["--scale", "long=3"]), 3, "the command line wins");
}

#[test]
fn a_short_grace_ends_what_is_replaced_or_attached() {
    let stubborn = FILE
        .replace("trap 'exit 9' TERM", "trap '' TERM")
        .replace("5s", "100s");
    let Some(stage) = Stage::small(&stubborn) else {
        return;
    };
    let begun = std::time::Instant::now();
    let _ = stage.ok(&["up", "-d", "long"]);
    let _ = stage.ok(&["up", "-d", "--force-recreate", "-t", "0", "long"]);
    let (code, told) = ran(
        &stage,
        &["up", "--abort-on-container-exit", "-t", "0", "fine", "long"],
    );
    assert_eq!(code, Some(0), "{told}");
    let took = begun.elapsed();
    assert!(took.as_secs() < 90, "it waited for the grace: {took:?}");
}

#[test]
fn orphans_are_told_ignored_or_removed() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "long", "fine"]);
    let rest = "name: flags\nservices:\n  fine:\n    image: small:1\n    command: [\"true\"]\n";
    stage.write(
        "compose.yaml",
        &rest.replace("[\"true\"]", "[sh, -c, \"echo fine\"]"),
    );
    let up = |variables: &[(&str, &str)], flags: &[&str]| {
        let words = [&["up", "-d"], flags].concat();
        let mut command = stage.unmoor(&words);
        command.envs(variables.iter().copied());
        let output = command.output().expect("it starts");
        (output.status.code(), said(&output))
    };
    let (_, told) = up(&[], &[]);
    assert!(
        told.contains("`long` runs but is not in the stack"),
        "{told}"
    );
    let ignore = ("COMPOSE_IGNORE_ORPHANS", "true");
    let (code, told) = up(&[ignore], &[]);
    assert_eq!(code, Some(0));
    assert!(!told.contains("long"), "{told}");
    let (code, told) = up(&[ignore], &["--remove-orphans"]);
    assert_eq!(code, Some(64), "{told}");
    let without = stage.ok(&["ps", "-a", "-q", "--orphans=false"]);
    assert_eq!(without, "flags-fine-1\n");
    assert_eq!(stage.phases().len(), 2);
    let (code, told) = up(&[("COMPOSE_REMOVE_ORPHANS", "1")], &[]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(stage.phases().len(), 1, "{:?}", stage.phases());
}

#[test]
fn profiles_and_progress_follow_their_variables() {
    let file = FILE.replace("  long:\n", "  long:\n    profiles: [heavy]\n");
    let Some(stage) = Stage::small(&file) else {
        return;
    };
    let up = |variables: &[(&str, &str)]| {
        let mut command = stage.unmoor(&["up", "-d"]);
        command.envs(variables.iter().copied());
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{}", said(&output));
        (text(&output.stdout), text(&output.stderr))
    };
    let (out, err) = up(&[("COMPOSE_STATUS_STDOUT", "1")]);
    assert!(out.contains("replica flags-fine-1: started"), "{out}{err}");
    assert!(!err.contains("started"), "{err}");
    assert!(!stage.phases().contains_key("flags-long-1"));
    let (out, err) = up(&[
        ("COMPOSE_PROFILES", "heavy"),
        ("COMPOSE_PARALLEL_LIMIT", "1"),
    ]);
    assert!(err.contains("replica flags-long-1: started"), "{err}");
    assert_eq!(out, "");
    assert!(stage.phases().contains_key("flags-long-1"));
}

#[test]
fn down_removes_images_and_single_services() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "long", "fine"]);
    let _ = stage.ok(&["down", "-t", "0", "long"]);
    let phases = stage.phases();
    assert_eq!(phases.keys().collect::<Vec<_>>(), ["flags-fine-1"]);
    let (code, told) = ran(&stage, &["--dry-run", "down", "--rmi", "local"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        !told.contains("image"),
        "no build would have named one: {told}"
    );
    let (code, told) = ran(&stage, &["--dry-run", "down", "--rmi", "all"]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(stage.ok(&["image", "ls", "-q"]).lines().count(), 1);
    let _ = stage.ok(&["down", "--rmi", "all"]);
    assert_eq!(stage.ok(&["image", "ls", "-q"]), "");
}

#[test]
fn a_line_in_the_log_is_found_by_its_time_and_replica() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "--scale", "long=2", "long"]);
    let logs = |flags: &[&str]| stage.ok(&[&["logs"], flags, &["long"]].concat());
    until("both have written", PATIENCE, || match logs(&[]) {
        lines if lines.lines().count() == 2 => Ok(()),
        lines => Err(lines),
    });
    assert_eq!(logs(&["--index", "2"]), "long-2  | long\n");
    assert_eq!(logs(&["--until", "2001-01-01"]), "");
    assert_eq!(logs(&["--since", "2999-01-01"]), "");
    assert_eq!(logs(&["--tail", "0"]), "");
    let stamped = logs(&["-t", "--no-log-prefix", "--index", "1", "--no-color"]);
    assert!(stamped.ends_with("Z long\n"), "{stamped}");
}

#[test]
fn a_follower_stays_through_restarts_and_sees_new_replicas() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let _ = stage.ok(&["up", "-d", "long"]);
    let mut follow = stage
        .unmoor(&["logs", "-f", "long"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(follow.stdout.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!(next(), "long-1  | long");
    let _ = stage.ok(&["restart", "-t", "0", "long"]);
    assert_eq!(next(), "long-1  | long", "the log of a new run");
    let _ = stage.ok(&["scale", "long=2"]);
    assert_eq!(next(), "long-2  | long", "the log of a new replica");
    send(&follow, Signal::INT);
    assert_eq!(follow.wait().expect("it ends").code(), Some(130));
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    for (words, code, why) in [
        (&["up", "--menu"][..], 1, "no keys are listened to"),
        (&["events", "--since", "10m"], 1, "from now on"),
        (
            &["config", "--resolve-image-digests"],
            1,
            "asks no registry",
        ),
        (&["--compatibility", "ps"], 1, "underscores"),
        (&["commit", "long", "image"], 1, "do not become an image"),
        (&["export", "long"], 1, "`cp` does that"),
        (&["publish", "shop/app"], 1, "not stored in registries"),
        (&["bridge", "convert"], 1, "not translated"),
        (
            &["exec", "-d", "--privileged", "long", "true"],
            125,
            "more rights",
        ),
    ] {
        let (ended, told) = ran(&stage, words);
        assert_eq!(ended, Some(code), "{words:?}: {told}");
        assert!(
            told.contains(why) && told.contains("hint:"),
            "{words:?}: {told}"
        );
    }
    assert_eq!(stage.ok(&["ls", "-q"]), "", "something was made");
}
