//! `restart`: replicas end and start again.

use crate::app::App;
use crate::args::{Grace, Services};
use crate::change::on_services;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// Stop replicas and start them again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    grace: Grace,
    #[command(flatten)]
    which: Services,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let (services, grace) = (&args.which.services, args.grace.time());
    let go_on = "`unmoor restart` goes on";
    on_services(app, signals, services, go_on, async |client, all, run| {
        client.restart(all, grace, run).await
    })
    .await
}
