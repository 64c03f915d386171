//! `start`: what was stopped runs again.

use crate::app::App;
use crate::args::Services;
use crate::change::on_services;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// Start replicas that were stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Services,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let go_on = "`unmoor start` goes on";
    on_services(
        app,
        signals,
        &args.which,
        go_on,
        async |client, all, run| client.start(all, run).await,
    )
    .await
}
