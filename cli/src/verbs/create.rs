//! `create`: everything of a stack is made, nothing is started.

use unmoor::plan::{Scope, Start};

use crate::app::App;
use crate::args::Services;
use crate::change::by_plan;
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::making::Making;
use crate::verbs::Outcome;

/// Make a stack's networks, volumes and replicas without starting them; `start` or `up` does.
///
/// What the services depend on is made as well.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    which: Services,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let about = Scope::services(args.which.services);
    let (stack, mut options) = args.making.wanted(app, about)?;
    options.plan.start = Start::Later;
    let client = app.connect().await?;
    let go_on = "`unmoor create` goes on, `unmoor down` takes it back";
    let how = (options, args.making.pulls());
    by_plan(app, signals, how, go_on, async |options| {
        client.up(&stack, options).await
    })
    .await?;
    Ok(Code::DONE)
}
