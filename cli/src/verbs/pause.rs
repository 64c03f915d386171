//! `pause` and `unpause`: replicas rest, and go on.

use crate::app::App;
use crate::args::Services;
use crate::change::on_services_if_there;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// Which services.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Services,
}

/// Freezes replicas: they keep what they have, do nothing and get no new connections.
pub(crate) async fn pause(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let go_on = "`unmoor pause` goes on, `unmoor unpause` takes it back";
    on_services_if_there(
        app,
        signals,
        &args.which,
        go_on,
        async |client, all, run| client.pause(all, run).await,
    )
    .await
}

/// Lets replicas go on that were paused.
pub(crate) async fn unpause(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let go_on = "`unmoor unpause` goes on";
    on_services_if_there(
        app,
        signals,
        &args.which,
        go_on,
        async |client, all, run| client.resume(all, run).await,
    )
    .await
}
