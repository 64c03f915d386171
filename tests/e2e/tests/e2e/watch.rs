//! Files that change here and are seen in replicas.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::Signal;
use unmoor_e2e::patience::until;
use unmoor_e2e::stage::{PATIENCE, Stage, send, text};

const FILE: &str = "\
name: watch
services:
  web:
    image: small:1
    command: [httpd, -f, -p, \"80\", -h, /www]
    stop_grace_period: 0s
    ports: [\"127.0.0.1:8087:80\"]
    deploy: {replicas: 2}
    develop:
      watch:
        - path: ./pages
          action: sync
          target: /www
          ignore: [\"*.tmp\", private/]
          initial_sync: true
        - path: ./settings.conf
          action: sync+restart
          target: /etc/settings.conf
        - path: ./seeds
          action: sync+exec
          target: /seeds
          exec:
            command: [sh, -c, \"cat /seeds/* >/tmp/seen\"]
  idle:
    image: small:1
    stop_grace_period: 0s
    develop:
      watch:
        - path: ./flag
          action: restart
";

/// A running `watch` whose lines on standard error can be awaited.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(stage: &Stage) -> Self {
        let mut command = stage.unmoor(&["watch"]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let told = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in told.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Returns the line that says this.
    fn says(&self, wanted: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {wanted:?} in {seen:#?}"));
            if line.contains(wanted) {
                return line;
            }
            seen.push(line);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn seen(stage: &Stage, index: &str, path: &str) -> Result<String, String> {
    let output = stage.run(&["exec", "-T", "--index", index, "web", "cat", path]);
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

/// Returns once both replicas see this.
fn comes(stage: &Stage, path: &str, wanted: &str) {
    for index in ["1", "2"] {
        until(path, PATIENCE, || match seen(stage, index, path) {
            Ok(now) if now == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

fn prepared() -> Option<Stage> {
    let stage = Stage::small(FILE)?;
    for folder in ["pages", "pages/private", "seeds"] {
        fs::create_dir(stage.path().join(folder)).expect("a directory");
    }
    stage.write("pages/index.html", "from here\n");
    stage.write("settings.conf", "old\n");
    stage.write("flag", "");
    Some(stage)
}

#[test]
fn files_go_in_are_replaced_and_go_away() {
    let Some(stage) = prepared() else { return };
    let mut watch = Watch::start(&stage);
    watch.says("service web: watching");
    // Everything that was there is there inside, because the rule says so.
    let page = || stage.get("http://127.0.0.1:8087/index.html");
    assert_eq!(page().as_deref(), Ok("from here\n"));
    let missing = seen(&stage, "1", "/etc/settings.conf");
    assert!(missing.is_err(), "that rule does not say so: {missing:?}");
    stage.write("pages/index.html", "another\n");
    comes(&stage, "/www/index.html", "another\n");
    // A directory that is made with something in it, and a file that takes another's place.
    let deep = stage.path().join("pages/deep/er");
    fs::create_dir_all(&deep).expect("a directory");
    fs::write(deep.join("x"), "deep\n").expect("a file");
    comes(&stage, "/www/deep/er/x", "deep\n");
    stage.write("fresh", "renamed\n");
    fs::rename(stage.path().join("fresh"), deep.join("x")).expect("renamed");
    comes(&stage, "/www/deep/er/x", "renamed\n");
    // What is ignored stays out: what is written after it has come.
    stage.write("pages/no.tmp", "ignored");
    stage.write("pages/private/key", "ignored");
    stage.write("pages/last", "last\n");
    comes(&stage, "/www/last", "last\n");
    for path in ["/www/no.tmp", "/www/private/key"] {
        assert!(seen(&stage, "1", path).is_err(), "{path} was to be ignored");
    }
    fs::remove_dir_all(stage.path().join("pages/deep")).expect("removed");
    until("it is gone inside", PATIENCE, || {
        match seen(&stage, "2", "/www/deep/er/x") {
            Ok(text) => Err(text),
            Err(_) => Ok(()),
        }
    });
    send(&watch.child, Signal::INT);
    assert_eq!(watch.child.wait().expect("it ends").code(), Some(130));
    assert!(stage.phases().values().all(|phase| phase == "running"));
}

#[test]
fn replicas_are_restarted_and_commands_run() {
    let Some(stage) = prepared() else { return };
    let watch = Watch::start(&stage);
    watch.says("service idle: watching");
    let started = |service: &str| {
        let list = stage.json(&["ps", "--format", "json", service]);
        let list = list.as_array().expect("a list").clone();
        list.iter()
            .map(|one| one["started"].to_string())
            .collect::<Vec<_>>()
    };
    let (web, idle) = (started("web"), started("idle"));
    stage.write("settings.conf", "new\n");
    let line = watch.says("restarted");
    assert_eq!(line, "service web: 1 copied, restarted");
    comes(&stage, "/etc/settings.conf", "new\n");
    let again = started("web");
    assert!(
        again.iter().all(|time| !web.contains(time)),
        "{web:?} {again:?}"
    );
    assert_eq!(started("idle"), idle, "another service was restarted");
    stage.write("flag", "up");
    assert_eq!(watch.says("restarted"), "service idle: restarted");
    assert_ne!(started("idle"), idle);
    stage.write("seeds/a", "seed\n");
    let line = watch.says("ran");
    assert!(
        line.starts_with("service web: 1 copied, ran `sh -c"),
        "{line}"
    );
    comes(&stage, "/tmp/seen", "seed\n");
    assert_eq!(started("web"), again, "a command needs no restart");
}

#[test]
fn what_cannot_be_watched_is_told_before_anything_starts() {
    let rebuild = FILE.replace("action: restart", "action: rebuild");
    let Some(stage) = Stage::small(&rebuild) else {
        return;
    };
    let refused = stage.run(&["watch"]);
    let told = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(
        told.contains("services.idle.develop.watch[0]: `rebuild`"),
        "{told}"
    );
    assert!(told.contains("not built yet"), "{told}");
    assert_eq!(stage.ok(&["ls", "-q"]), "", "something was started");
    stage.write(
        "compose.yaml",
        "name: none\nservices:\n  a:\n    image: small:1\n",
    );
    let nothing = stage.run(&["watch"]);
    let told = text(&nothing.stderr);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(
        told.contains("no service has anything under `develop.watch`"),
        "{told}"
    );
}
