//! `start`: what was stopped runs again.

use unmoor::name::ServiceName;

use crate::app::App;
use crate::change::Change;
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::select;
use crate::verbs::Outcome;

/// Start replicas that were stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
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
        go_on: "`unmoor start` goes on",
    };
    let work = client.start(&selector, app.told(&step));
    let report = change.carry_out(signals, work).await?;
    progress.done(&report);
    Ok(Code::DONE)
}
