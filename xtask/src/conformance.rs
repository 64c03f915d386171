//! The conformance suite, through the command line that users have.

use std::process::Command;
use std::time::Duration;

use crate::inside::{self, Isolation};
use crate::process::{self, built, cargo, root, watch};
use crate::totals::Totals;
use crate::{Failure, Outcome};

const BUDGET: Duration = Duration::from_mins(10);

/// Runs the suite on the given URIs, or on those that need nothing but this machine.
pub(crate) fn run(uris: &[&str]) -> Outcome {
    process::run(&mut cargo(&[
        "build",
        "--package",
        "unmoor-cli",
        "--locked",
    ]))?;
    let isolation = inside::isolation();
    let mut words = vec!["conformance"];
    words.extend(if uris.is_empty() {
        default_uris(isolation)
    } else {
        uris.to_vec()
    });
    process::run(&mut inside::command(isolation, &words)?)
}

/// Without namespaces of its own the suite must not try networks: only the model is left.
pub(crate) fn default_uris(isolation: Isolation) -> Vec<&'static str> {
    match isolation {
        Isolation::Namespaces => vec!["sim:", "local:"],
        Isolation::None(_) => vec!["sim:"],
    }
}

/// The inner half of the task.
pub(crate) fn inside(uris: &[&str]) -> Outcome {
    let mut totals = Totals::default();
    for uri in uris {
        totals += suite(uri);
    }
    println!("{totals}");
    if totals.failed > 0 || totals.ran() == 0 {
        return Err(Failure::new("the conformance suite did not pass"));
    }
    Ok(())
}

/// Runs the suite on one backend; a suite that ends badly without a failure counted is one.
pub(crate) fn suite(uri: &str) -> Totals {
    let mut totals = Totals::default();
    let mut command = Command::new(built("unmoor"));
    command.args(["conformance", uri]).current_dir(root());
    let outcome = watch(&mut command, BUDGET, &mut |line| {
        if let Some(more) = Totals::parse(line) {
            totals += more;
        }
    });
    match outcome {
        Ok(status) if status.success() && totals.ran() > 0 => {}
        Ok(status) => {
            eprintln!("conformance {uri}: {status}, {totals}");
            totals.failed = totals.failed.max(1);
        }
        Err(failure) => {
            eprintln!("conformance {uri}: {failure}");
            totals.failed += 1;
        }
    }
    totals
}
