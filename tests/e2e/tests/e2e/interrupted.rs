//! Ctrl-C: in the middle of a change, and in an attached `up`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use unmoor_e2e::stage::{PATIENCE, Stage, send};

const SMALL: &str = include_str!("../../stack/small.yaml");
const SLOW: &str = include_str!("../../stack/slow.yaml");

/// A running command line whose lines can be awaited.
struct Running {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Running {
    fn start(stage: &Stage, words: &[&str]) -> Self {
        let mut command = stage.unmoor(words);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let out = lines(child.stdout.take().expect("a pipe"));
        let err = lines(child.stderr.take().expect("a pipe"));
        Self { child, out, err }
    }

    /// Returns when a line with this text has come.
    fn says(lines: &Receiver<String>, wanted: &str) {
        let mut seen = Vec::new();
        loop {
            let line = lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {wanted:?} in {seen:#?}"));
            if line.contains(wanted) {
                return;
            }
            seen.push(line);
        }
    }

    /// Waits for its end; gives its exit code and what it had left to say on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let rest: Vec<String> = self.err.iter().collect();
        let status = self.child.wait().expect("it ends");
        (status.code(), rest.join("\n"))
    }
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

#[test]
fn ctrl_c_in_a_change_leaves_what_is_healthy_and_the_next_up_goes_on() {
    let Some(stage) = Stage::small(SLOW) else {
        return;
    };
    let up = Running::start(&stage, &["up", "-d"]);
    Running::says(&up.err, "service first: waiting until ready");
    send(&up.child, Signal::INT);
    let (code, said) = up.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(
        said.contains("interrupted") && said.contains("`unmoor up` goes on"),
        "{said}"
    );
    assert_eq!(
        stage.phases().get("slow-first-1").map(String::as_str),
        Some("running")
    );
    assert_eq!(stage.phases().len(), 1, "{:?}", stage.phases());
    let _ = stage.ok(&["exec", "-T", "first", "touch", "/tmp/healthy"]);
    let _ = stage.ok(&["up", "-d"]);
    assert_eq!(stage.phases().len(), 2, "{:?}", stage.phases());
    assert_eq!(stage.changes_of_up(), 0);
}

#[test]
fn ctrl_c_in_an_attached_up_stops_the_stack() {
    let Some(stage) = Stage::small(SMALL) else {
        return;
    };
    for (signal, wanted) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let up = Running::start(&stage, &["up"]);
        Running::says(&up.out, "talker-1  | to the one");
        send(&up.child, signal);
        let out: Vec<String> = up.out.iter().collect();
        let (code, said) = up.end();
        assert_eq!(code, Some(wanted), "{said}");
        assert!(
            out.iter().any(|line| line.contains("bye")),
            "last words are shown: {out:?}"
        );
        let phases = stage.phases();
        assert!(
            !phases.values().any(|phase| phase == "running"),
            "{phases:?}"
        );
        assert_eq!(phases.len(), 2, "stopped replicas stay: {phases:?}");
    }
}

#[test]
fn a_second_ctrl_c_kills_what_does_not_want_to_stop() {
    let stubborn = SMALL
        .replace("trap 'echo bye; exit 0' TERM", "trap '' TERM")
        .replace("stop_grace_period: 5s", "stop_grace_period: 100s");
    let Some(stage) = Stage::small(&stubborn) else {
        return;
    };
    let up = Running::start(&stage, &["up"]);
    Running::says(&up.out, "talker-1  | to the one");
    send(&up.child, Signal::INT);
    Running::says(&up.err, "stopping");
    let begin = Instant::now();
    send(&up.child, Signal::INT);
    let (code, said) = up.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "it waited for the grace"
    );
    let phases = stage.phases();
    assert!(
        !phases.values().any(|phase| phase == "running"),
        "{phases:?}"
    );
}

#[test]
fn an_attached_up_ends_when_all_have_ended() {
    let file = "name: short\nservices:\n  one:\n    image: small:1\n    command: [sh, -c, \"echo done; exit 3\"]\n";
    let Some(stage) = Stage::small(file) else {
        return;
    };
    let up = Running::start(&stage, &["up"]);
    let out: Vec<String> = up.out.iter().collect();
    let (code, said) = up.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(out, ["one-1  | done"]);
    assert!(said.contains("one-1 exited with code 3"), "{said}");
}
