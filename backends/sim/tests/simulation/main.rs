//! Lives of a stack by seed: random requests, callers that die at any await, lost answers, slow
//! steps, looks that show the past or a part. At every moment and in the end the promises hold.
//!
//! `UNMOOR_SEEDS` says how many lives are lived, `UNMOOR_SEED_FROM` which is the first;
//! `UNMOOR_SCRIPT` names a file with a script to be played again.

mod awaits;
mod draw;
mod play;
mod script;
mod watch;
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use unmoor_sim::Bug;

use draw::{script, shrunk};
use play::{Played, play};
use script::Script;

/// How many lives are lived unless the environment says otherwise.
const SAMPLE: u64 = 250;
/// How many the whole run lives.
const WHOLE: u64 = 10_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Plays a script; a panic is a broken promise too.
fn played(script: &Script, bug: Option<Bug>) -> Played {
    let caught = std::panic::catch_unwind(AssertUnwindSafe(|| play(script, bug)));
    caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// What is said of a script that broke a promise: the smallest of its kind, to be played again.
fn complaint(script: &Script, why: &str, bug: Option<Bug>) -> String {
    let small = shrunk(script.clone(), |less| played(less, bug).is_err());
    let small_why = played(&small, bug).err().unwrap_or_default();
    format!(
        "seed {}: {why}\n\nas a smaller script: {small_why}\n\n{small}\n\
         put these lines into a file and play them again with\n\
         UNMOOR_SCRIPT=FILE cargo test -p unmoor-sim --test simulation \
         a_script_is_played_again -- --ignored\n",
        script.seed
    )
}

/// Lives these lives, on all processors.
fn live(from: u64, count: u64) {
    let next = AtomicU64::new(from);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let worker = || {
        let mut complaints = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count || complaints.len() > 2 {
                return complaints;
            }
            let script = script(seed);
            if let Err(why) = played(&script, None) {
                complaints.push(complaint(&script, &why, None));
            }
        }
    };
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().expect("no panic"));
        joined.flatten().collect()
    });
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_sample_of_lives_keeps_every_promise() {
    let from = setting("UNMOOR_SEED_FROM").unwrap_or(0);
    live(from, setting("UNMOOR_SEEDS").unwrap_or(SAMPLE));
}

/// All of them; `cargo xtask soak lives` runs it, optimized.
#[test]
#[ignore = "takes minutes unless it is optimized; `cargo xtask soak lives` runs it"]
fn ten_thousand_lives_keep_every_promise() {
    live(0, WHOLE);
}

/// Scripts that once broke a promise, each under a line that says which.
const FOUND: &str = include_str!("found.txt");

#[test]
fn what_was_found_once_stays_mended() {
    for text in FOUND.split("\n\n").filter(|text| text.contains("seed ")) {
        let script: Script = text.parse().expect("it reads");
        if let Err(why) = played(&script, None) {
            panic!("{why}\n{text}");
        }
    }
}

#[test]
#[ignore = "plays the script in the file that UNMOOR_SCRIPT names"]
fn a_script_is_played_again() {
    let file = std::env::var("UNMOOR_SCRIPT").expect("UNMOOR_SCRIPT names a file");
    let text = std::fs::read_to_string(&file).expect("the file that UNMOOR_SCRIPT names");
    let script: Script = text.parse().expect("it reads");
    if let Err(why) = played(&script, None) {
        panic!("{why}");
    }
}

#[test]
fn scripts_read_back() {
    for seed in 0..500 {
        let script = script(seed);
        let back: Script = script.to_string().parse().expect("it reads");
        assert_eq!(back, script);
    }
}

#[test]
fn a_script_does_the_same_each_time() {
    for seed in 0..20 {
        let script = script(seed);
        assert_eq!(play(&script, None), play(&script, None), "seed {seed}");
    }
}

/// What a failing seed prints is a script that breaks the same promise when it is played again.
#[test]
fn a_complaint_holds_a_script_that_can_be_played_again() {
    let bug = Some(Bug::RemoveLeavesReplica);
    let found = (0..60).find_map(|seed| {
        let script = script(seed);
        let why = played(&script, bug).err()?;
        Some(complaint(&script, &why, bug))
    });
    let text = found.expect("the bug breaks something");
    let after = text
        .split("\n\n")
        .find(|part| part.starts_with("seed ") && part.contains('\n'));
    let lines = after.expect("a script").lines();
    let lines = lines.take_while(|line| !line.starts_with("put these lines"));
    let again: Script = lines
        .collect::<Vec<_>>()
        .join("\n")
        .parse()
        .expect("it reads");
    let why = played(&again, bug).expect_err("it breaks the promise again");
    assert!(text.contains(&why), "{why}\n{text}");
    assert!(
        played(&again, None).is_ok(),
        "the promise holds without the bug"
    );
}

/// The promises can be broken: worlds with these faults of their own are found out.
#[test]
fn a_world_with_a_bug_breaks_a_promise() {
    let bugs = [Bug::RemoveLeavesReplica, Bug::RemoveLeavesNetwork];
    for bug in bugs {
        let found = (0..60).any(|seed| played(&script(seed), Some(bug)).is_err());
        assert!(found, "{bug:?} breaks nothing");
    }
}
