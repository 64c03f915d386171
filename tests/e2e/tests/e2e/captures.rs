//! What the command line shows on a terminal, as `docs/terminal.md` has it.
//!
//! With `UNMOOR_WRITE_CAPTURES` set the page is written anew from what is seen.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use unmoor_e2e::screen::{Screen, rendered, terminal};
use unmoor_e2e::stage::{Stage, send, text};

const WRITE: &str = "UNMOOR_WRITE_CAPTURES";

const FILE: &str = "\
name: shop
services:
  web:
    image: small:1
    command: [sh, -c, \"echo serving on port 80; exec httpd -f -p 80 -h /www\"]
    ports: [\"127.0.0.1:8080:80\"]
    depends_on:
      store: {condition: service_healthy}
    stop_grace_period: 0s
  store:
    image: small:1
    command: [sh, -c, \"echo 3 entries read; exec sleep 1000000\"]
    healthcheck: {test: [CMD, test, -e, /www], interval: 1s}
    stop_grace_period: 0s
";

const HEAD: &str = "\
# On the terminal

What `unmoor` shows, taken from real runs by `tests/e2e/tests/e2e/captures.rs`. The test fails when more than times changes;
run with `UNMOOR_WRITE_CAPTURES=1` it writes this page anew. Colours are left out. The stack is this one:

";

/// The page in the making.
struct Page(String);

impl Page {
    fn block(&mut self, heading: &str, remark: &str, kind: &str, shown: &str) {
        if !heading.is_empty() {
            self.0 += &format!("\n## {heading}\n\n{remark}\n\n");
        }
        self.0 += &format!("```{kind}\n{}\n```\n", shown.trim_end());
    }
}

/// The words as they are typed, and what is shown then.
fn shown(words: &[&str], seen: &str) -> String {
    format!("$ unmoor {}\n{seen}", words.join(" "))
}

/// One thing at a time, so that the same is seen in the same order.
fn unmoor(stage: &Stage, words: &[&str]) -> Command {
    let mut command = stage.unmoor(words);
    command
        .env("COMPOSE_PARALLEL_LIMIT", "1")
        .env("NO_COLOR", "1")
        .env("LANG", "C.UTF-8")
        .env("TERM", "xterm");
    command
}

/// What is seen on a terminal at the end.
fn on_terminal(
    stage: &Stage,
    words: &[&str],
    then: impl FnOnce(&mut Screen, &std::process::Child),
) -> String {
    let (master, slave) = terminal();
    let mut screen = Screen::of(&master);
    let end = || Stdio::from(slave.try_clone().expect("another descriptor"));
    let mut command = unmoor(stage, words);
    command.stdin(end()).stdout(end()).stderr(end());
    let mut child = command.spawn().expect("it starts");
    drop((command, slave));
    then(&mut screen, &child);
    let _ = child.wait();
    drop(master);
    shown(words, &rendered(&screen.rest()))
}

/// What goes to a file or another program.
fn off_terminal(stage: &Stage, words: &[&str]) -> String {
    let output = unmoor(stage, words).output().expect("it starts");
    let seen = text(&output.stdout) + &text(&output.stderr);
    shown(words, &seen)
}

/// The text with its times made equal.
fn without_times(page: &str) -> String {
    let word = |word: &str| {
        let inner = word.trim_matches(|c| matches!(c, '(' | ')'));
        let time = inner
            .strip_suffix('s')
            .is_some_and(|n| n.parse::<f32>().is_ok());
        if time {
            word.replace(inner, "0.0s")
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| {
        line.split_whitespace()
            .map(word)
            .collect::<Vec<_>>()
            .join(" ")
    };
    page.lines().map(|text| line(text) + "\n").collect()
}

fn captured(stage: &Stage) -> String {
    let mut page = Page(HEAD.to_owned());
    page.block("", "", "yaml", FILE);
    let up = on_terminal(stage, &["up", "-d", "--wait"], |_, _| {});
    let remark = "One line a resource, redrawn in place while it goes on; this is the end of it.";
    page.block("`up` on a terminal", remark, "text", &up);
    let again = on_terminal(stage, &["up", "-d"], |_, _| {});
    page.block("The same again", "Nothing is written.", "text", &again);
    let logs = on_terminal(stage, &["logs", "-f"], |screen, child| {
        let _ = screen.waits_for("serving on port 80");
        send(child, Signal::INT);
    });
    let remark = "Each service in a colour of its own; Ctrl-C ends it.";
    page.block("`logs -f`", remark, "text", &logs);
    stage.write("compose.yaml", &FILE.replace("port 80;", "port eighty;"));
    let plan = on_terminal(stage, &["plan"], |_, _| {});
    let remark = "After a change of `web`'s command: what would be done, in which order and why.";
    page.block("`plan`", remark, "text", &plan);
    let _ = stage.ok(&["down"]);
    stage.write("compose.yaml", FILE);
    let plain = off_terminal(stage, &["up", "-d", "--wait"]);
    let remark = "One line a change, as in the log of a CI job.";
    page.block("`up` off a terminal", remark, "text", &plain);
    stage.write("compose.yaml", &FILE.replace("    ports:", "    prots:"));
    let error = on_terminal(stage, &["up", "-d"], |_, _| {});
    let remark = "The place, the line, and what may have been meant.";
    page.block("An error", remark, "text", &error);
    page.0
}

#[test]
fn the_page_of_captures_shows_what_is_seen() {
    let Some(stage) = Stage::small(FILE) else {
        return;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/terminal.md");
    let now = captured(&stage);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, &now).expect("the page is written");
    }
    let page = fs::read_to_string(&file).expect("the page is there");
    let (page, now) = (without_times(&page), without_times(&now));
    let first = page
        .lines()
        .zip(now.lines())
        .find(|(before, after)| before != after);
    assert!(
        page == now,
        "docs/terminal.md is not what is seen any more, first: {first:?}\nnow:\n{now}\n\
        {WRITE}=1 writes it anew"
    );
}
