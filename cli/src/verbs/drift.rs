//! `drift`: what was changed on the platform, past the stack.

use serde_json::json;
use unmoor::client::UpOptions;
use unmoor::name::ServiceName;
use unmoor::spec::DriftPolicy;

use crate::app::App;
use crate::change::{Pulls, by_plan};
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::output::{Columns, Formatted, Listing};
use crate::select;
use crate::verbs::Outcome;

const COLUMNS: Columns = &[
    ("Subject", "SUBJECT"),
    ("Kind", "KIND"),
    ("Wanted", "WANTED"),
    ("Found", "FOUND"),
    ("Service", ""),
    ("Policy", ""),
];

/// Show what was changed on the platform since the stack was applied, or put it right.
///
/// Replicas are compared by their number, image, specification, phase and place in discovery. `up`
/// puts right what differs, unless a service says otherwise under `x-unmoor.drift`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Exit code 2 if something differs
    #[arg(long)]
    exit_code: bool,
    /// Also show what services want ignored
    #[arg(short, long)]
    all: bool,
    /// Bring it back to what was applied last, without a file
    #[arg(long, conflicts_with_all = ["exit_code", "all", "format", "services"])]
    reconcile: bool,
    #[command(flatten)]
    format: Formatted,
    /// Only these services
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    if !args.reconcile {
        return signals.guard(show(args, app)).await;
    }
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let how = (UpOptions::new(), Pulls::Shown);
    let go_on = "the same command goes on";
    by_plan(app, signals, how, go_on, async |options| {
        client.reconcile(&stack, options).await
    })
    .await?;
    Ok(Code::DONE)
}

async fn show(args: Args, app: &App) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let drift = client.drift(&stack).await?;
    if !args.services.is_empty() {
        select::services(app, &client, &stack, &args.services).await?;
    }
    let mut listing = Listing::new(COLUMNS);
    let mut found = false;
    for item in &drift.items {
        let service = item.service.as_ref();
        let meant = args.services.is_empty()
            || service.is_some_and(|service| args.services.contains(service));
        let ignored = item.policy == DriftPolicy::Ignore;
        if !meant || (ignored && !args.all) {
            continue;
        }
        found |= !ignored;
        let policy = match item.policy {
            DriftPolicy::Reconcile => "reconcile",
            DriftPolicy::Report => "report",
            DriftPolicy::Ignore => "ignore",
        };
        let cells = vec![
            item.subject.clone(),
            item.kind.as_str().to_owned(),
            item.wanted.clone(),
            item.found.clone(),
            service.map(ToString::to_string).unwrap_or_default(),
            policy.to_owned(),
        ];
        listing.row(cells, json!(item));
    }
    listing.print(app.out, &args.format.format)?;
    Ok(match found && args.exit_code {
        true => Code::CHANGES,
        false => Code::DONE,
    })
}
