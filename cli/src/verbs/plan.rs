//! `plan`: what `up` would change and why.

use serde_json::{Value, json};
use unmoor::client::UpOptions;
use unmoor::name::ServiceName;
use unmoor::plan::Plan;

use crate::app::App;
use crate::args::Format;
use crate::exit::Code;
use crate::output::{Progress, clean};
use crate::project;
use crate::verbs::{Outcome, up};

/// Show what `up` would change, and why. Nothing is changed; missing images are fetched, because
/// a plan is made over their digests.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Exit code 2 if there is something to change
    #[arg(long)]
    detailed_exitcode: bool,
    /// Plan the removal of services that the file no longer has
    #[arg(long)]
    remove_orphans: bool,
    /// Plan without what the backend cannot do
    #[arg(long)]
    allow_gaps: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Only the services named, without what they depend on
    #[arg(long, requires = "services")]
    no_deps: bool,
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let loaded = app.loaded(project::on_unsupported(args.allow_gaps), &args.services)?;
    let stack = &loaded.stack;
    let client = app.connect().await?;
    let progress = Progress::new(app.ui);
    let pull = |pull| progress.pull(pull);
    let mut options = UpOptions::new()
        .remove_orphans(args.remove_orphans)
        .only(up::scope(args.services, args.no_deps))
        .on_pull(&pull);
    options.plan.allow_gaps = args.allow_gaps;
    options.plan.left_out = project::left_out(&loaded);
    let planned = client.plan(stack, &options).await;
    progress.finish();
    let plan = planned?.plan;
    match args.format {
        Format::Json => app.out.json(&as_json(&plan))?,
        Format::Table => {
            let text = plan.to_string();
            let lines = text.lines().map(|line| format!("{}\n", clean(line)));
            app.out.text(&lines.collect::<String>())?;
        }
    }
    let changes = args.detailed_exitcode && !plan.is_empty();
    Ok(if changes { Code::CHANGES } else { Code::DONE })
}

fn as_json(plan: &Plan) -> Value {
    let entries = plan.entries.iter().enumerate().map(|(index, entry)| {
        json!({
            "index": index, "verb": entry.action.verb(), "subject": entry.action.subject(),
            "writes": !entry.action.is_wait(), "reason": entry.reason, "after": entry.after,
        })
    });
    json!({
        "stack": plan.stack, "plan": plan.id, "changes": !plan.is_empty(),
        "entries": entries.collect::<Vec<_>>(), "gaps": plan.gaps, "notes": plan.notes,
    })
}
