//! `pause` and `unpause`: replicas rest, and go on.

use unmoor::name::ServiceName;

use crate::app::App;
use crate::change;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// Which services.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

/// Freezes replicas: they keep what they have, do nothing and get no new connections.
pub(crate) async fn pause(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let go_on = "`unmoor pause` goes on, `unmoor unpause` takes it back";
    change::on_services(
        app,
        signals,
        &args.services,
        go_on,
        async |client, all, run| client.pause(all, run).await,
    )
    .await
}

/// Lets replicas go on that were paused.
pub(crate) async fn unpause(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let go_on = "`unmoor unpause` goes on";
    change::on_services(
        app,
        signals,
        &args.services,
        go_on,
        async |client, all, run| client.resume(all, run).await,
    )
    .await
}
