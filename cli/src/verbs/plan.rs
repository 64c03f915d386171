//! `plan`: what `up` would change and why.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use unmoor::client::StoredPlan;
use unmoor::name::ServiceName;
use unmoor::plan::Plan;

use crate::app::App;
use crate::args::Format;
use crate::change::Pulls;
use crate::exit::{Code, Failure};
use crate::making::Making;
use crate::output::{Progress, clean};
use crate::verbs::{Outcome, up};

/// Show what `up` would change, and why. Nothing is changed; missing images are fetched, because
/// a plan is made over their digests.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Exit code 2 if there is something to change
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    making: Making,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Also write the plan to this file, for `unmoor apply`
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only the services named, without what they depend on
    #[arg(long, requires = "services")]
    no_deps: bool,
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    if args.output.is_some() && app.globals.dry_run {
        let text = "a dry run writes nothing: leave out --output or --dry-run";
        return Err(Failure::Usage(text.to_owned()));
    }
    let about = up::scope(args.services.clone(), args.no_deps);
    let (stack, options) = args.making.wanted(app, about)?;
    let client = app.connect().await?;
    let progress = Progress::new(app.ui);
    let pull = |pull| {
        if args.making.pulls() == Pulls::Shown {
            progress.pull(pull);
        }
    };
    let options = options.on_pull(&pull);
    let planned = client.plan(&stack, &options).await;
    progress.finish();
    let planned = planned?;
    if let Some(path) = &args.output {
        let failed = |error| Failure::System("write the plan", error);
        keep(path, &planned.store(&client)).map_err(failed)?;
    }
    let plan = planned.plan;
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

/// Writes the plan whole or not at all; environments of services are in it, so it is the owner's.
///
/// A device, a pipe or what a link leads to is written into: a file in its place is not what was meant.
fn keep(path: &Path, plan: &StoredPlan) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|known| !known.is_file()) {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        return file.write_all(&plan.encode());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = file
        .write_all(&plan.encode())
        .and_then(|()| file.sync_all());
    let kept = written.and_then(|()| fs::rename(&beside, path));
    if kept.is_err() {
        // The error that counts is told; what is left is an unfinished file.
        let _ = fs::remove_file(&beside);
    }
    kept
}

fn as_json(plan: &Plan) -> Value {
    let entries = plan.entries.iter().enumerate().map(|(index, entry)| {
        json!({
            "index": index, "verb": entry.action.verb(), "subject": entry.action.subject(),
            "writes": !entry.action.is_wait(), "reason": entry.reason, "after": entry.after, "ground": entry.ground,
        })
    });
    json!({
        "stack": plan.stack, "plan": plan.id, "changes": !plan.is_empty(),
        "entries": entries.collect::<Vec<_>>(), "gaps": plan.gaps, "notes": plan.notes,
    })
}
