//! `unmoor-fuzz TARGET`: mutated inputs until the time is up, in a process that is watched: a
//! panic, a hang, a stack or memory that is not enough ends it, and the input is kept.
//!
//! Built with counters (`cargo xtask soak fuzz` does that, with the ordinary compiler), inputs that
//! take new branches are mutated further. Without them the seeds are, which is what CI does.

mod compose;
mod coverage;
#[path = "../../../core/tests/oracle/generate.rs"]
mod generate;
mod input;
mod mutate;
mod random;
mod sys;
mod target;
#[path = "../../../core/tests/oracle/values.rs"]
mod values;
mod watch;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use input::Input;
use target::Target;
use watch::Plan;
use worker::Order;

const USAGE: &str = "usage: unmoor-fuzz TARGET [--seconds N] [--runs N] [--seed N] [--memory BYTES]
                   [--patience MILLISECONDS] [--folder DIRECTORY]
       unmoor-fuzz TARGET --input FILE   tries one input that was kept

Targets: compose; planted, which has a bug of each kind.
Ends with 1 if something was found; the inputs are then in DIRECTORY/findings.";

/// The options, as they were given.
#[derive(Debug)]
struct Given {
    target: Target,
    is_worker: bool,
    seed: u64,
    runs: u64,
    until: Duration,
    memory: u64,
    patience: Duration,
    folder: PathBuf,
    corpus: PathBuf,
    state: PathBuf,
    input: Option<PathBuf>,
}

fn given(words: &[String]) -> Option<Given> {
    let (is_worker, words) = match words {
        [first, rest @ ..] if first == "--worker" => (true, rest),
        words => (false, words),
    };
    let (target, words) = words.split_first()?;
    let mut given = Given {
        target: target::named(target)?,
        is_worker,
        seed: 1,
        runs: u64::MAX,
        until: Duration::from_mins(1),
        memory: 256 << 20,
        patience: Duration::from_secs(5),
        folder: PathBuf::from("fuzz"),
        corpus: PathBuf::new(),
        state: PathBuf::new(),
        input: None,
    };
    for pair in words.chunks(2) {
        let [option, value] = pair else { return None };
        let number = || value.parse::<u64>().ok();
        match option.as_str() {
            "--seconds" => given.until = Duration::from_secs(number()?),
            "--milliseconds" => given.until = Duration::from_millis(number()?),
            "--runs" => given.runs = number()?,
            "--seed" => given.seed = number()?,
            "--memory" => given.memory = number()?,
            "--patience" => given.patience = Duration::from_millis(number()?),
            "--folder" => given.folder = PathBuf::from(value),
            "--corpus" => given.corpus = PathBuf::from(value),
            "--state" => given.state = PathBuf::from(value),
            "--input" => given.input = Some(PathBuf::from(value)),
            _ => return None,
        }
    }
    Some(given)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(given) = given(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    if let Some(path) = &given.input {
        match std::fs::read_to_string(path) {
            Ok(text) => worker::once(given.target, Input::parse(&text), given.memory),
            Err(error) => {
                eprintln!("cannot read {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
        return ExitCode::SUCCESS;
    }
    if given.is_worker {
        let order = Order {
            seed: given.seed,
            runs: given.runs,
            until: given.until,
            memory: given.memory,
            corpus: given.corpus,
            state: given.state,
        };
        println!("{}", worker::work(given.target, &order));
        return ExitCode::SUCCESS;
    }
    watched(given)
}

fn watched(given: Given) -> ExitCode {
    let plan = Plan {
        target: given.target.name.to_owned(),
        seed: given.seed,
        runs: given.runs,
        until: given.until,
        memory: given.memory,
        patience: given.patience,
        folder: given.folder,
    };
    match watch::watch(&plan) {
        Ok(report) => {
            println!(
                "fuzz {} from seed {}: {} runs, {} findings; {}",
                plan.target,
                plan.seed,
                report.runs,
                report.findings.len(),
                report.told
            );
            let is_good = report.findings.is_empty() && report.runs > 0;
            if is_good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}
