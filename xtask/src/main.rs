//! `cargo xtask TASK`: the steps of CI and the demo, each printing what it runs.

mod checks;
mod conformance;
mod demo;
mod generated;
mod groups;
mod images;
mod inside;
mod packages;
mod pages;
mod process;
mod soak;
mod test;
mod totals;
mod traffic;
mod vm;

use std::fmt;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask TASK

  fmt          the sources are formatted
  clippy       no warning in any target
  doc          the documentation builds without a warning
  layout       the tests about the repository itself
  deny         licences, banned crates, sources (needs cargo-deny; CI_DENY=1 installs it)
  msrv         the sources compile with the oldest supported compiler
  features     the library compiles with each of its features alone
  examples     the example's programs, run as plain processes
  test         everything: packages the tests need, all tests, the conformance suite, a leak check
  conformance  [URI]...  the conformance suite alone (default: sim: and local:)
  ci           fmt, clippy, doc, layout, features, deny
  demo         builds and starts the example stack; `demo --down` takes it away
  images       packs the example's images into target/images
  soak         [CYCLES]  brings the example up and down, and looks for leaks each time
  soak lives   ten thousand lives of a stack in the model, by seed, and every await of every operation
  soak traffic [SECONDS]  a real stack changed in every way while visitors come, of whom none may
               notice; ten minutes unless said; the counts go into docs/soak/traffic.md
  soak fuzz    [SECONDS [SEED]]  mutated Compose files: no panic, no hang, bounded memory
  soak oracle  [CASES [SEED]]  generated Compose files against docker compose, which
               UNMOOR_COMPOSE_ORACLE names
  vm           [--suite SUITE] [--systemd] [test | soak CYCLES | conformance URI... | -- COMMAND]
               in a machine with the kernel of a Debian suite (default: bookworm, 6.1) and cgroup
               version 2 alone; needs QEMU and apt, but not root";

/// Why a task did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What every task answers.
pub(crate) type Outcome = Result<(), Failure>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(failure)) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(words: &[&str]) -> Option<Outcome> {
    Some(match words {
        ["fmt"] => checks::fmt(),
        ["clippy"] => checks::clippy(),
        ["doc"] => checks::doc(),
        ["layout"] => checks::layout(),
        ["deny"] => checks::deny(),
        ["msrv"] => checks::msrv(),
        ["features"] => checks::features(),
        ["examples"] => checks::examples(),
        ["ci"] => checks::all(),
        ["test"] => test::run(),
        ["conformance", uris @ ..] => conformance::run(uris),
        ["demo"] => demo::up(),
        ["demo", "--down"] => demo::down(),
        ["images"] => images::build_all().map(|_| ()),
        ["soak"] => soak::run(50),
        ["soak", "lives"] => soak::lives(),
        ["soak", "traffic"] => traffic::run(600),
        ["soak", "traffic", seconds] => traffic::run(seconds.parse().ok()?),
        ["soak", "fuzz", rest @ ..] => {
            let [seconds, seed] = numbers(rest, [3600, 1])?;
            generated::fuzz(seconds, seed)
        }
        ["soak", "oracle", rest @ ..] => {
            let [cases, seed] = numbers(rest, [5000, 1])?;
            generated::oracle(cases, seed)
        }
        ["soak", cycles] => soak::run(cycles.parse().ok()?),
        ["vm", words @ ..] => return vm::run(words),
        ["inside", "guest", words @ ..] => vm::inside(words),
        ["inside", "init", rest @ ..] => inside::init(rest),
        ["inside", "test"] => test::inside(),
        ["inside", "conformance", uris @ ..] => conformance::inside(uris),
        ["inside", "soak-traffic", seconds] => traffic::inside(seconds.parse().ok()?),
        ["inside", "soak", cycles] => soak::inside(cycles.parse().ok()?),
        _ => return None,
    })
}

/// Up to two numbers, with what stands in for those that are not given.
fn numbers(words: &[&str], usual: [u64; 2]) -> Option<[u64; 2]> {
    let mut found = usual;
    if words.len() > found.len() {
        return None;
    }
    for (slot, word) in found.iter_mut().zip(words) {
        *slot = word.parse().ok()?;
    }
    Some(found)
}
