//! Each verb on real replicas.

use std::io::Write as _;
use std::process::Stdio;

use unmoor_e2e::patience::until;
use unmoor_e2e::stage::{PATIENCE, Stage, text};

const SMALL: &str = include_str!("../../stack/small.yaml");

fn up() -> Option<Stage> {
    let stage = Stage::small(SMALL)?;
    let _ = stage.ok(&["up", "-d", "--wait", "--wait-timeout", "60"]);
    Some(stage)
}

/// Exit code and standard output of a command line.
fn code(stage: &Stage, words: &[&str]) -> (Option<i32>, String) {
    let output = stage.run(words);
    (output.status.code(), text(&output.stdout))
}

#[test]
fn replicas_are_listed_and_looked_at() {
    let Some(stage) = up() else { return };
    let table = stage.ok(&["ps"]);
    assert!(table.starts_with("NAME"), "{table}");
    let web = table
        .lines()
        .find(|line| line.starts_with("small-web-1"))
        .expect("a line");
    assert!(web.contains("Up ") && web.contains("(healthy)"), "{table}");
    assert!(web.contains("127.0.0.1:8082->80/tcp"), "{table}");
    let list = stage.json(&["ps", "--format", "json", "web"]);
    assert_eq!(list[0]["service"], "web");
    assert_eq!(list[0]["ready"], true);
    assert_eq!(list[0]["ports"][0]["host_port"], 8082);
    assert_eq!(stage.ok(&["ps", "-q"]), "small-talker-1\nsmall-web-1\n");
    assert_eq!(stage.ok(&["ls", "-q"]), "small\n");
    assert!(stage.ok(&["ls"]).contains("running(2)"));
    let endpoints = stage.json(&["endpoints", "--format", "json", "web"]);
    let external = endpoints
        .as_array()
        .expect("a list")
        .iter()
        .any(|endpoint| {
            endpoint["scope"] == "external"
                && endpoint["port"] == 8082
                && endpoint["health"] == "ready"
        });
    assert!(external, "{endpoints}");
    let service = stage.json(&["inspect", "web"]);
    assert_eq!(service["replicas"][0]["name"], "small-web-1");
    assert_eq!(stage.json(&["inspect", "web-1"])["phase"], "running");
    assert!(stage.ok(&["image", "ls"]).contains("small:1"));
    assert_eq!(code(&stage, &["plan", "--detailed-exitcode"]).0, Some(0));
    assert_eq!(
        stage.get("http://127.0.0.1:8082/").expect("a page"),
        "a page\n"
    );
}

#[test]
fn logs_are_lines_of_both_streams_on_one() {
    let Some(stage) = up() else { return };
    let output = until("both lines are there", PATIENCE, || {
        let output = stage.run(&["logs", "talker"]);
        match text(&output.stdout).lines().count() {
            2 => Ok(output),
            _ => Err(text(&output.stdout)),
        }
    });
    let both = "talker-1  | to the one\ntalker-1  | to the other\n";
    assert_eq!(text(&output.stdout), both);
    assert_eq!(text(&output.stderr), "");
    let plain = stage.run(&["logs", "--no-log-prefix", "-n", "1", "talker"]);
    assert_eq!(text(&plain.stdout) + &text(&plain.stderr), "to the other\n");
    let lines = stage.ok(&["logs", "--format", "json", "talker"]);
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines
            .iter()
            .any(|line| line["channel"] == "stderr" && line["text"] == "to the other")
    );
    let (missing, _) = code(&stage, &["logs", "nobody"]);
    assert_eq!(missing, Some(1));
}

/// What a command inside writes that is given this to read.
fn fed(stage: &Stage, command: &[&str], data: &[u8]) -> Vec<u8> {
    let words = [&["exec", "-T", "web"], command].concat();
    let mut child = stage
        .unmoor(&words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let data = data.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&data));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("all is taken");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

#[test]
fn exec_passes_input_output_and_the_exit_code() {
    let Some(stage) = up() else { return };
    for (words, wanted) in [
        (&["true"][..], 127),
        (&["sh", "-c", "exit 7"], 7),
        (&["false"], 1),
        (&["/etc/passwd"], 126),
        (&["sh", "-c", "kill -9 $$"], 137),
    ] {
        let words = [&["exec", "-T", "web"], words].concat();
        assert_eq!(code(&stage, &words).0, Some(wanted), "{words:?}");
    }
    let data: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let output = fed(&stage, &["cat"], &data);
    assert!(output == data, "{} of {} bytes", output.len(), data.len());
    // It says much before it listens: neither waits for the other.
    let said = fed(
        &stage,
        &["sh", "-c", "cat /usr/bin/busybox; cat >/dev/null"],
        &data,
    );
    assert!(said.len() > 1 << 20, "only {} bytes", said.len());
    let words = [
        "exec",
        "-T",
        "-e",
        "WHO=you",
        "-w",
        "/www",
        "web",
        "sh",
        "-c",
        "echo $WHO; pwd; echo x >&2",
    ];
    let output = stage.run(&words);
    assert_eq!(text(&output.stdout), "you\n/www\n");
    assert_eq!(text(&output.stderr), "x\n");
    let (none, _) = code(&stage, &["exec", "-T", "--index", "9", "web", "pwd"]);
    assert_eq!(none, Some(125));
}

#[test]
fn run_is_one_copy_more_with_its_exit_code() {
    let Some(stage) = up() else { return };
    let (ended, out) = code(
        &stage,
        &[
            "run",
            "--rm",
            "-e",
            "N=5",
            "web",
            "sh",
            "-c",
            "echo $N; exit $N",
        ],
    );
    assert_eq!((ended, out.as_str()), (Some(5), "5\n"));
    assert_eq!(
        stage.phases().len(),
        2,
        "it is gone again: {:?}",
        stage.phases()
    );
    let (ended, _) = code(&stage, &["run", "--name", "kept", "web", "false"]);
    assert_eq!(ended, Some(1));
    assert_eq!(
        stage.phases().get("small-kept-1").map(String::as_str),
        Some("failed")
    );
    assert_eq!(
        stage.changes_of_up(),
        0,
        "a copy that ran once is not started again"
    );
    let _ = stage.ok(&["rm", "kept"]);
    assert_eq!(stage.phases().len(), 2);
    assert_eq!(
        stage.changes_of_up(),
        0,
        "nor made anew once it was removed"
    );
}

#[test]
fn replicas_are_scaled_stopped_started_and_restarted() {
    let Some(stage) = up() else { return };
    let _ = stage.ok(&["scale", "talker=3"]);
    assert_eq!(stage.phases().len(), 4, "{:?}", stage.phases());
    assert_eq!(stage.changes_of_up(), 0, "what was scaled by hand stays");
    let _ = stage.ok(&["scale", "talker=1"]);
    let started = stage.json(&["inspect", "talker-1"])["started"].clone();
    let _ = stage.ok(&["restart", "talker"]);
    assert_ne!(stage.json(&["inspect", "talker-1"])["started"], started);
    let _ = stage.ok(&["stop", "talker"]);
    assert_eq!(stage.phases()["small-talker-1"], "stopped");
    assert!(
        stage
            .ok(&["logs", "--no-log-prefix", "talker"])
            .contains("bye"),
        "it got its signal"
    );
    assert_eq!(stage.ok(&["ps", "-q"]), "small-web-1\n");
    assert_eq!(code(&stage, &["exec", "-T", "talker", "pwd"]).0, Some(125));
    let _ = stage.ok(&["start"]);
    assert_eq!(stage.phases()["small-talker-1"], "running");
    let _ = stage.ok(&["rm", "-s", "talker"]);
    assert_eq!(stage.ok(&["ps", "-a", "-q"]), "small-web-1\n");
    assert_eq!(code(&stage, &["plan", "--detailed-exitcode"]).0, Some(2));
    let _ = stage.ok(&["up", "-d"]);
    assert_eq!(stage.phases().len(), 2);
}

#[test]
fn a_link_works_at_once_until_it_is_removed() {
    let Some(stage) = up() else { return };
    let page = [
        "exec",
        "-T",
        "talker",
        "curl",
        "-sf",
        "-m",
        "5",
        "http://site/index.html",
    ];
    assert_ne!(code(&stage, &page).0, Some(0), "there is no such name yet");
    let _ = stage.ok(&["link", "talker", "web:site"]);
    assert_eq!(code(&stage, &page), (Some(0), "a page\n".to_owned()));
    assert_eq!(stage.changes_of_up(), 0, "what was linked by hand stays");
    let _ = stage.ok(&["unlink", "talker", "site"]);
    until("the name is gone", PATIENCE, || {
        match code(&stage, &page).0 {
            Some(0) => Err("it still answers"),
            _ => Ok(()),
        }
    });
    let (absent, _) = code(&stage, &["unlink", "talker", "site"]);
    assert_eq!(absent, Some(1));
}
