//! `system`: what a backend holds as a whole.

mod df;
mod info;
mod prune;

use crate::app::App;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// What can be asked of a backend as a whole.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// How much there is, and how much of it is used
    Df(df::Args),
    /// Remove what nothing uses
    Prune(prune::Args),
    /// What the backend is
    Info(info::Args),
}

pub(crate) async fn run(command: Command, app: &App, signals: &mut Interrupts) -> Outcome {
    match command {
        Command::Df(args) => signals.guard(df::run(args, app)).await,
        Command::Prune(args) => signals.guard(prune::run(args, app)).await,
        Command::Info(args) => signals.guard(info::run(args, app)).await,
    }
}
