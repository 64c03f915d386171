//! Long runs of generated inputs: mutated ones that must have an answer, and Compose files that
//! docker compose is asked about, too.

use std::process::Command;

use crate::process::{cargo, output, root, run, target_dir};
use crate::{Failure, Outcome};

/// The program that is asked.
const ORACLE: &str = "UNMOOR_COMPOSE_ORACLE";

/// A counter at every branch; the ordinary compiler has them.
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters";

/// Builds the fuzzer with counters, and runs it for so long. What it learns is kept for the next
/// run.
pub(crate) fn fuzz(seconds: u64, seed: u64) -> Outcome {
    let compiler = output(Command::new("rustc").arg("-vV").current_dir(root()))?;
    let host = compiler
        .lines()
        .find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Failure::new("rustc does not say what it compiles for"))?;
    let folder = target_dir().join("fuzz");
    // With a target named, build scripts and macros are spared the counters.
    let words = [
        "build",
        "--release",
        "--locked",
        "-p",
        "unmoor-fuzz",
        "--target",
        host,
    ];
    let mut build = cargo(&words);
    build
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", COUNTERS)
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true");
    run(&mut build)?;
    let mut fuzz = Command::new(folder.join(host).join("release/unmoor-fuzz"));
    fuzz.args(["compose", "--seconds", &seconds.to_string()]);
    fuzz.args(["--seed", &seed.to_string()]);
    fuzz.arg("--folder").arg(folder.join("compose"));
    run(&mut fuzz)
}

/// Compares generated files with docker compose, which needs no daemon for it.
pub(crate) fn oracle(cases: u64, seed: u64) -> Outcome {
    if std::env::var_os(ORACLE).is_none() {
        let text = format!("set {ORACLE} to a docker-compose program, 2.40.3 for what is recorded");
        return Err(Failure::new(text));
    }
    let words = "test --locked -p unmoor-core --test compose_oracle -- --nocapture";
    let mut command = cargo(&words.split(' ').collect::<Vec<_>>());
    command
        .env("UNMOOR_ORACLE_CASES", cases.to_string())
        .env("UNMOOR_ORACLE_SEED", seed.to_string());
    run(&mut command)?;
    // Real files too, where they are.
    let words = "test --locked -p unmoor-cli --test cli -- --nocapture oracle";
    run(&mut cargo(&words.split(' ').collect::<Vec<_>>()))
}
