//! `kill`: a signal to the programs of replicas.

use unmoor::signal::Signal;

use crate::app::App;
use crate::args::Services;
use crate::change::on_services_if_there;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// Send a signal to replicas. After SIGKILL no restart policy starts them again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The signal, as SIGTERM, TERM or 15
    #[arg(short, long, default_value = "SIGKILL", add = crate::complete::of_signals())]
    signal: Signal,
    /// Taken for those who are used to it: without services, orphans are meant as well
    #[arg(long)]
    remove_orphans: bool,
    #[command(flatten)]
    which: Services,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let go_on = "the signal may have reached some; `unmoor ps` shows how they stand";
    on_services_if_there(
        app,
        signals,
        &args.which,
        go_on,
        async |client, all, run| client.signal(all, args.signal, run).await,
    )
    .await
}
