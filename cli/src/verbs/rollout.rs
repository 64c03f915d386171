//! `rollout`: where the replacement of a service's replicas stands; pause it, go on, go back.

use serde_json::json;
use unmoor::client::{RolloutPhase, UpOptions};
use unmoor::name::ServiceName;

use crate::app::App;
use crate::change::{Pulls, by_plan};
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::output::{Columns, Formatted, Listing};
use crate::select;
use crate::verbs::{Outcome, rollback};

const COLUMNS: Columns = &[
    ("Service", "SERVICE"),
    ("Phase", "PHASE"),
    ("Wanted", "WANTED"),
    ("Updated", "UPDATED"),
    ("Ready", "READY"),
    ("Outdated", "OUTDATED"),
    ("Undo", ""),
];

/// What can be done about a rollout.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// How many replicas are replaced, and what the rest waits for
    Status(Status),
    /// Let a rollout rest after the batch it is at, whoever carries it out
    ///
    /// Old and new replicas serve side by side, and plans leave them as they are. What is not under
    /// way yet does not begin. It waits for nobody: whoever carries the rollout out is told.
    Pause(One),
    /// Go on with one that was paused, or approve its canary
    Resume(One),
    /// Go back to what the service was before, as `rollback` does
    Undo(rollback::Args),
}

/// What is shown of rollouts.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Exit code 2 unless all are complete
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    format: Formatted,
    /// Only these services
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

/// One service.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The service
    #[arg(add = crate::complete::of_services())]
    service: ServiceName,
}

pub(crate) async fn run(command: Command, app: &App, signals: &mut Interrupts) -> Outcome {
    match command {
        Command::Status(args) => signals.guard(status(args, app)).await,
        Command::Pause(args) => signals.guard(pause(args, app)).await,
        Command::Resume(args) => resume(args, app, signals).await,
        Command::Undo(args) => rollback::run(args, app, signals).await,
    }
}

async fn status(args: Status, app: &App) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let rollouts = client.rollouts(&stack).await?;
    if !args.services.is_empty() {
        select::services(app, &client, &stack, &args.services).await?;
    }
    let is_meant = |service| args.services.is_empty() || args.services.contains(service);
    let mut listing = Listing::new(COLUMNS);
    let mut complete = true;
    for rollout in rollouts.iter().filter(|one| is_meant(&one.service)) {
        complete &= rollout.phase == RolloutPhase::Complete;
        let cells = vec![
            rollout.service.to_string(),
            rollout.phase.as_str().to_owned(),
            rollout.wanted.to_string(),
            rollout.updated.to_string(),
            rollout.ready.to_string(),
            rollout.outdated.to_string(),
            rollout.can_undo.to_string(),
        ];
        listing.row(cells, json!(rollout));
    }
    listing.print(app.out, &args.format.format)?;
    Ok(match complete || !args.exit_code {
        true => Code::DONE,
        false => Code::CHANGES,
    })
}

async fn pause(args: One, app: &App) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let service = &args.service;
    let text = match client.pause_rollout(&stack, service).await? {
        true => format!("rollouts of {service} are paused"),
        false => format!("rollouts of {service} were paused already"),
    };
    app.ui.status(&text);
    Ok(Code::DONE)
}

async fn resume(args: One, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let how = (UpOptions::new(), Pulls::Shown);
    let go_on = "the same command goes on";
    by_plan(app, signals, how, go_on, async |options| {
        client.resume_rollout(&stack, &args.service, options).await
    })
    .await?;
    Ok(Code::DONE)
}
