//! `cargo xtask test`: everything that can be tested on this machine, and one line at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use unmoor_tools::ledger::{Change, Ledger, LedgerError, Section};

use crate::inside::{self, Isolation};
use crate::process::{cargo, run as run_command, target_dir, watch};
use crate::totals::Totals;
use crate::{Failure, Outcome, conformance, images, packages, vm};

const TESTS_BUDGET: Duration = Duration::from_mins(30);
const DOC_BUDGET: Duration = Duration::from_mins(10);
/// All suites together, should one of them not keep its own.
const WHOLE_BUDGET: Duration = Duration::from_mins(60);
/// How long the kernel may take to clean up after the last test.
const LEAK_PATIENCE: Duration = Duration::from_secs(10);
/// Where a test that could not check anything says so; see `unmoor_tools::skip`.
const SKIP_LOG: &str = "UNMOOR_SKIP_LOG";
const SKIP_FILE: &str = "skipped";
/// Set when the tests have namespaces and a directory for temporary files to themselves.
const ISOLATED: &str = "UNMOOR_TEST_ISOLATED";
/// Places where a test may end a command; without them the tests of crashes would not be built.
pub(crate) const FAILPOINTS: &str = "unmoor-runtime-local/failpoints";
/// Says which life of the simulation is the first.
const SEED: &str = "UNMOOR_SEED_FROM";
/// More than the tests live through in one run, so that each day has its own.
const SEEDS_A_DAY: u64 = 1000;
/// Where the example's packed images lie, for tests that start them.
const IMAGES: &str = "UNMOOR_TEST_IMAGES";

/// Prepares and builds outside, where the network is, then tests inside.
pub(crate) fn run() -> Outcome {
    packages::install();
    run_command(&mut cargo(&[
        "build",
        "--workspace",
        "--all-targets",
        "--locked",
        "--features",
        FAILPOINTS,
    ]))?;
    images::build_all()?;
    let isolation = inside::isolation();
    let scratch = Scratch::new()?;
    let mut command = command(isolation, &scratch)?;
    let status = watch(&mut command, WHOLE_BUDGET, &mut |_| {})?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new("the tests did not pass"))
    }
}

/// The inner half, with what it has to know.
pub(crate) fn command(isolation: Isolation, scratch: &Scratch) -> Result<Command, Failure> {
    let mut command = inside::command(isolation, &["test"])?;
    command
        .env("TMPDIR", &scratch.0)
        .env(SKIP_LOG, scratch.0.join(SKIP_FILE));
    command.env(IMAGES, target_dir().join("images"));
    if isolation == Isolation::Namespaces {
        command.env(ISOLATED, "1");
    }
    Ok(command)
}

/// A directory for temporary files that goes with everything in it.
///
/// It is removed from outside the tests' mount namespace, where none of their mounts exists, so
/// that removing it cannot reach through one.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self, Failure> {
        // Short, because socket paths end at 108 bytes.
        let path = std::env::temp_dir().join(format!("ut{}", std::process::id()));
        fs::create_dir(&path)
            .map_err(|error| Failure::new(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("test: cannot remove {}: {error}", self.0.display());
        }
    }
}

/// What tests left in the directory for temporary files; two names are our own.
fn left_in_scratch() -> Vec<String> {
    let known = |name: &String| name == SKIP_FILE || name.starts_with("unmoor-ledger-");
    let entries = fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.map(|entry| entry.file_name().display().to_string());
    names.filter(|name| !known(name)).collect()
}

/// Which life of the simulation is the first: another one each day, the same all day long.
fn first_seed() -> String {
    let given = std::env::var(SEED).ok().filter(|text| !text.is_empty());
    given.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let days = since.map_or(0, |time| time.as_secs() / (24 * 60 * 60));
        (days * SEEDS_A_DAY).to_string()
    })
}

/// The inner half: the suites one after another, then the sum.
pub(crate) fn inside() -> Outcome {
    let seed = first_seed();
    println!("test: {SEED}={seed} (set it to live the same lives again)");
    let isolated = std::env::var_os(ISOLATED).is_some();
    let before = if isolated {
        Some(Ledger::take().map_err(|error| unread(&error))?)
    } else {
        None
    };
    let mut totals = Totals::default();
    for (mut command, budget) in suites()? {
        command.env(SEED, &seed);
        totals += suite(&mut command, budget);
    }
    totals.set_skipped(report_skipped());
    let isolation = if isolated {
        Isolation::Namespaces
    } else {
        Isolation::None("")
    };
    for uri in conformance::default_uris(isolation) {
        totals += conformance::suite(uri);
    }
    if let Some(before) = before {
        totals += leaks(&before);
    }
    println!("{totals}");
    if totals.failed > 0 || totals.ran() == 0 {
        return Err(Failure::new(format!(
            "{} of {} failed",
            totals.failed,
            totals.ran()
        )));
    }
    Ok(())
}

/// What there is to run, with how long each may take.
fn suites() -> Result<Vec<(Command, Duration)>, Failure> {
    if let Some(list) = std::env::var_os(vm::LIST) {
        let programs = vm::commands(Path::new(&list))?;
        let with_budget = |program| (program, TESTS_BUDGET);
        return Ok(programs.into_iter().map(with_budget).collect());
    }
    let mut documentation = cargo(&["test", "--workspace", "--doc", "--locked"]);
    documentation.args(["--features", FAILPOINTS]);
    Ok(vec![(documentation, DOC_BUDGET), (tests(), TESTS_BUDGET)])
}

/// Nextest where it is installed: it kills a test that hangs, and runs each in its own process.
fn tests() -> Command {
    let mut ask = cargo(&["nextest", "--version"]);
    if ask.output().is_ok_and(|answer| answer.status.success()) {
        let run = "nextest run --workspace --locked --no-fail-fast --no-tests=fail";
        let mut command = cargo(&run.split(' ').collect::<Vec<_>>());
        command.args(["--features", FAILPOINTS]);
        return command;
    }
    // Cargo knows no groups of tests that must not meet, so here none meets another.
    let run = "test --workspace --lib --bins --tests --locked --no-fail-fast";
    let mut command = cargo(&run.split(' ').collect::<Vec<_>>());
    command.args(["--features", FAILPOINTS]);
    command.env("RUST_TEST_THREADS", "1");
    command
}

/// Runs one runner; a bad end without a failure counted is one.
fn suite(command: &mut Command, budget: Duration) -> Totals {
    let mut totals = Totals::default();
    let outcome = watch(command, budget, &mut |line| {
        if let Some(more) = Totals::parse(line) {
            totals += more;
        }
    });
    match outcome {
        Ok(status) if status.success() => {}
        Ok(_) => totals.failed = totals.failed.max(1),
        Err(failure) => {
            eprintln!("test: {failure}");
            totals.failed += 1;
        }
    }
    totals
}

/// Prints why tests checked nothing, and counts them.
fn report_skipped() -> u64 {
    let Some(path) = std::env::var_os(SKIP_LOG) else {
        return 0;
    };
    let text = fs::read_to_string(Path::new(&path)).unwrap_or_default();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    for line in &lines {
        println!("skipped: {line}");
    }
    lines.len() as u64
}

/// Host state after all tests must be what it was before the first.
fn leaks(before: &Ledger) -> Totals {
    let found = match before.settle_with(LEAK_PATIENCE, concerns_us) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("leak check: {}", unread(&error));
            return Totals::failed(1);
        }
    };
    print!("leak check: {found}");
    let files = left_in_scratch();
    for name in &files {
        println!("leak check: left in the directory for temporary files: {name}");
    }
    if found.is_empty() && files.is_empty() {
        Totals::passed(1)
    } else {
        Totals::failed(1)
    }
}

/// What namespaces keep apart is all ours; of what they do not, only what carries our name.
fn concerns_us(change: &Change) -> bool {
    match change.section {
        Section::Cgroup | Section::Loop | Section::Keyring => change.entry.contains("unmoor"),
        Section::Descriptors => false,
        _ => true,
    }
}

fn unread(error: &LedgerError) -> Failure {
    Failure::new(format!("the host's state cannot be read: {error}"))
}
