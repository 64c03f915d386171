//! What a program inside a replica learns of the others, by the library's client for the inside.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::ChildStdout;
use std::process::{Child, Stdio};

use unmoor_e2e::foreign::pack_asker;
use unmoor_e2e::stage::Stage;

const ASKER: &str = include_str!("../../stack/asker.yaml");

/// The lines that `asker` writes, as they come.
struct Told {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Told {
    fn by(stage: &Stage) -> Self {
        let mut logs = stage.unmoor(&["logs", "-f", "--no-log-prefix", "asker"]);
        let mut child = logs.stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// The next lines up to one that says this.
    fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            let line = self
                .lines
                .next()
                .unwrap_or_else(|| panic!("{wanted:?} after {found:?}"));
            found.push(line.expect("text"));
            if found.last().is_some_and(|line| line.contains(wanted)) {
                return found;
            }
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn up() -> Option<Stage> {
    let stage = Stage::small(ASKER)?;
    stage.import(&[pack_asker(stage.path()).expect("packs")]);
    let _ = stage.ok(&["up", "-d", "--wait", "--wait-timeout", "60"]);
    Some(stage)
}

#[test]
fn a_program_inside_hears_of_every_change_of_a_service() {
    let Some(stage) = up() else { return };
    let mut told = Told::by(&stage);
    let first = told.until("= web");
    assert!(first[0].ends_with("endpoints"), "{first:?}");
    let _ = stage.ok(&["scale", "web=2"]);
    let added = told.until("+ web");
    assert!(
        added.last().is_some_and(|line| line.contains("weight 1")),
        "{added:?}"
    );
    let _ = stage.ok(&["scale", "web=1"]);
    let _ = told.until("- web");
}

#[test]
fn a_program_inside_sees_what_its_service_may_see() {
    let Some(stage) = up() else { return };
    let look = |words: &[&str]| {
        let mut command = vec!["exec", "-T", "asker", "inside", "--once"];
        command.extend(words);
        stage.ok(&command)
    };
    let all = look(&[]);
    assert!(all.contains("= web") && all.contains("= asker"), "{all}");
    assert!(
        !all.contains("other"),
        "it is on a network of its own: {all}"
    );
    let linked = look(&["shop"]);
    assert!(linked.contains("= web"), "{linked}");
}
