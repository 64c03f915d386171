//! `unlink`: a link that was made by hand goes.

use unmoor::name::{Alias, ServiceName};

use crate::app::App;
use crate::change::Change;
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::verbs::Outcome;

/// Remove a link that was made by hand; links of the file stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service that has the link
    #[arg(add = crate::complete::of_services())]
    from: ServiceName,
    /// The name by which it reaches the other
    #[arg(add = crate::complete::of_links())]
    alias: Alias,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let progress = Progress::new(app.ui);
    let change = Change {
        progress: &progress,
        go_on: "the same `unmoor unlink` goes on",
    };
    let work = client.unlink(&stack, &args.from, &args.alias);
    let report = change.carry_out(signals, work).await?;
    progress.done(&report);
    Ok(Code::DONE)
}
