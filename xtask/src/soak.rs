//! The example up and down, again and again, with nothing left behind each time.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use unmoor_tools::ledger::{Change, Ledger, LedgerError, Section};

use crate::inside;
use crate::process::{built, cargo, root, run as run_command, watch};
use crate::totals::Totals;
use crate::{Failure, Outcome, demo};

const CYCLE_BUDGET: Duration = Duration::from_mins(2);
const WHOLE_BUDGET: Duration = Duration::from_mins(80);

/// Prepares the images, then soaks in namespaces of its own.
pub(crate) fn run(cycles: u32) -> Outcome {
    demo::prepare()?;
    run_command(&mut inside::command(
        inside::isolation(),
        &["soak", &cycles.to_string()],
    )?)
}

/// The whole run of the simulation, optimized: it touches nothing of the host.
pub(crate) fn lives() -> Outcome {
    let words = "test --release --locked -p unmoor-sim --test simulation -- --include-ignored \
                 --skip a_script_is_played_again";
    run_command(&mut cargo(&words.split_whitespace().collect::<Vec<_>>()))
}

/// The inner half: each cycle must end where the first began.
pub(crate) fn inside(cycles: u32) -> Outcome {
    for service in crate::images::SERVICES {
        let archive = crate::process::target_dir()
            .join("images")
            .join(format!("{service}.tar"));
        demo::import(&crate::images::Image {
            archive,
            name: format!("shop/{service}:1"),
        })?;
    }
    // The first cycle unpacks layers and makes the store, which stay.
    cycle()?;
    let before = Ledger::options().take().map_err(|error| unread(&error))?;
    let (started, mut totals) = (Instant::now(), Totals::default());
    for number in 1..=cycles {
        if started.elapsed() > WHOLE_BUDGET {
            eprintln!(
                "soak: stopped after {} of {cycles} cycles, time is up",
                number - 1
            );
            break;
        }
        cycle()?;
        let leaks = before
            .settle_with(Duration::from_secs(10), concerns_us)
            .map_err(|error| unread(&error))?;
        totals += if leaks.is_empty() {
            Totals::passed(1)
        } else {
            Totals::failed(1)
        };
        if !leaks.is_empty() {
            println!("cycle {number}: {leaks}");
        }
    }
    println!("{totals}");
    if totals.failed > 0 {
        Err(Failure::new("something was left behind"))
    } else {
        Ok(())
    }
}

fn cycle() -> Outcome {
    for words in [["up", "-d", "--wait"].as_slice(), &["down", "-v"]] {
        let mut command = Command::new(built("unmoor"));
        command
            .args(["-p", "soak", "-f"])
            .arg(compose_file())
            .args(words);
        let status = watch(&mut command, CYCLE_BUDGET, &mut |_| {})?;
        if !status.success() {
            return Err(Failure::new(format!("{words:?} ended with {status}")));
        }
    }
    Ok(())
}

fn compose_file() -> PathBuf {
    root().join("examples/shop/compose.yaml")
}

fn concerns_us(change: &Change) -> bool {
    match change.section {
        Section::Cgroup | Section::Loop | Section::Keyring => change.entry.contains("unmoor"),
        _ => true,
    }
}

fn unread(error: &LedgerError) -> Failure {
    Failure::new(format!("the host's state cannot be read: {error}"))
}
