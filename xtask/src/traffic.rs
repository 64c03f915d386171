//! The stack that is changed while visitors come, for as long as one likes.

use std::time::Duration;

use crate::inside::{self, Isolation};
use crate::process::{cargo, root, run as run_command, watch};
use crate::{Failure, Outcome};

/// What the page of results is called in the environment of the test.
const PAGE: &str = "UNMOOR_TRAFFIC_PAGE";

/// What the length is called there.
const LONGER: &str = "UNMOOR_TRAFFIC_SECONDS";

/// Told to the tests, which then build nothing.
const ISOLATED: &str = "UNMOOR_TEST_ISOLATED";

/// Time for what comes before and after the changes.
const MARGIN: Duration = Duration::from_mins(10);

/// Builds what is needed, then changes the stack in namespaces of its own.
pub(crate) fn run(seconds: u64) -> Outcome {
    let isolation = inside::isolation();
    if let Isolation::None(why) = isolation {
        return Err(Failure::new(why));
    }
    let programs = "build --locked -p unmoor-cli -p unmoor-tools -p unmoor-e2e --bins";
    run_command(&mut cargo(&programs.split(' ').collect::<Vec<_>>()))?;
    run_command(cargo(&test()).arg("--no-run"))?;
    let words = ["soak-traffic", &seconds.to_string()];
    run_command(&mut inside::command(isolation, &words)?)
}

fn test() -> Vec<&'static str> {
    "test --locked -p unmoor-e2e --test e2e"
        .split(' ')
        .collect()
}

/// The inner half: the very test that CI makes once.
pub(crate) fn inside(seconds: u64) -> Outcome {
    let mut command = cargo(&test());
    command
        .args(["--", "--exact", "--nocapture"])
        .arg("traffic::changes_of_every_kind_fail_no_request")
        .env(PAGE, root().join("docs/soak/traffic.md"))
        .env(LONGER, seconds.to_string())
        .env(ISOLATED, "1");
    let mut ran = false;
    let budget = Duration::from_secs(seconds) + MARGIN;
    let status = watch(&mut command, budget, &mut |line| {
        ran |= line.contains("1 passed");
    })?;
    match status.success() && ran {
        true => Ok(()),
        false => Err(Failure::new(format!("the run ended with {status}"))),
    }
}
