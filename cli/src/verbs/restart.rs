//! `restart`: replicas end and start again.

use std::time::Duration;

use unmoor::name::ServiceName;

use crate::app::App;
use crate::change::Change;
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::select;
use crate::verbs::Outcome;

/// Stop replicas and start them again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Time between stop signal and kill, over what the file says
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Only these services
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let selector = select::services(&client, &stack, &args.services).await?;
    let progress = Progress::new(app.ui);
    let step = |step| progress.step(step);
    let change = Change {
        progress: &progress,
        go_on: "`unmoor restart` goes on",
    };
    let work = client.restart(
        &selector,
        args.timeout.map(Duration::from_secs),
        app.told(&step),
    );
    let report = change.carry_out(signals, work).await?;
    progress.done(&report);
    Ok(Code::DONE)
}
