//! `kill`: a signal to the programs of replicas.

use unmoor::name::ServiceName;
use unmoor::signal::Signal;

use crate::app::App;
use crate::change;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// Send a signal to replicas. After SIGKILL no restart policy starts them again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The signal, as SIGTERM, TERM or 15
    #[arg(short, long, default_value = "SIGKILL")]
    signal: Signal,
    /// Only these services
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let go_on = "the signal may have reached some; `unmoor ps` shows how they stand";
    change::on_services(
        app,
        signals,
        &args.services,
        go_on,
        async |client, all, run| client.signal(all, args.signal, run).await,
    )
    .await
}
