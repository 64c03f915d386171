//! `create`: everything of a stack is made, nothing is started.

use unmoor::client::UpOptions;
use unmoor::name::ServiceName;
use unmoor::plan::{Recreate, Scope, Start};

use crate::app::App;
use crate::change::Change;
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::project;
use crate::verbs::Outcome;

/// Make a stack's networks, volumes and replicas without starting them; `start` or `up` does.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Make every replica anew
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,
    /// Keep replicas although their service changed
    #[arg(long)]
    no_recreate: bool,
    /// Remove services that the file no longer has
    #[arg(long, env = "COMPOSE_REMOVE_ORPHANS", hide_env_values = true)]
    #[arg(value_parser = clap::builder::FalseyValueParser::new())]
    remove_orphans: bool,
    /// Go on without what the backend cannot do
    #[arg(long)]
    allow_gaps: bool,
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack(project::on_unsupported(args.allow_gaps))?;
    let client = app.connect().await?;
    let progress = Progress::new(app.ui);
    let (step, pull, plan) = (
        |step| progress.step(step),
        |pull| progress.pull(pull),
        |plan: &_| progress.plan(plan),
    );
    let mut options = UpOptions::new()
        .remove_orphans(args.remove_orphans)
        .on_pull(&pull)
        .on_plan(&plan);
    options.run = app.told(&step);
    options.plan.start = Start::Later;
    options.plan.allow_gaps = args.allow_gaps;
    options = options.only(Scope::services(args.services.clone()));
    options.plan.recreate = match (args.force_recreate, args.no_recreate) {
        (true, _) => Recreate::Always,
        (_, true) => Recreate::Never,
        _ => Recreate::Changed,
    };
    let change = Change {
        progress: &progress,
        go_on: "`unmoor create` goes on, `unmoor down` takes it back",
    };
    let report = change
        .carry_out(signals, client.up(&stack, &options))
        .await?;
    progress.done(&report);
    Ok(Code::DONE)
}
