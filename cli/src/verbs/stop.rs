//! `stop` and `restart`: replicas end, and with the second start again.

use crate::app::App;
use crate::args::{Grace, Services};
use crate::change::on_services_if_there;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// Which services, and how long their stop may take.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    grace: Grace,
    #[command(flatten)]
    which: Services,
}

/// Replicas end and stay; `start` starts them again.
pub(crate) async fn stop(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let (which, grace) = (&args.which, args.grace.time());
    let go_on = "`unmoor stop` goes on";
    on_services_if_there(app, signals, which, go_on, async |client, all, run| {
        client.stop(all, grace, run).await
    })
    .await
}

/// Replicas end and start again.
pub(crate) async fn restart(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let (which, grace) = (&args.which, args.grace.time());
    let go_on = "`unmoor restart` goes on";
    on_services_if_there(app, signals, which, go_on, async |client, all, run| {
        client.restart(all, grace, run).await
    })
    .await
}
