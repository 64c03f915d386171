//! `ls`: the stacks of a backend.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use unmoor::backend::{Observed, Phase};
use unmoor::label::Selector;
use unmoor::name::StackName;

use crate::app::App;
use crate::exit::Code;
use crate::output::{Columns, Formatted, Listing};
use crate::verbs::Outcome;
use crate::view;

const COLUMNS: Columns = &[
    ("Name", "NAME"),
    ("Status", "STATUS"),
    ("Services", "SERVICES"),
];

/// List stacks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Taken for those who are used to it: stopped stacks are always shown
    #[arg(short, long)]
    all: bool,
    /// Only names, one a line
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// Only stacks that have this in their name, as `name=PART`; repeatable
    #[arg(long, value_name = "FILTER", value_parser = part)]
    filter: Vec<String>,
    #[command(flatten)]
    format: Formatted,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let client = app.connect().await?;
    let observed = client.observe(&Selector::all()).await?;
    let mut stacks: BTreeSet<StackName> = client.stacks().await?.into_iter().collect();
    stacks.extend(observed.stacks.keys().cloned());
    stacks.retain(|name| args.filter.iter().all(|part| name.as_str().contains(part)));
    if args.quiet {
        app.out.lines(&stacks)?;
        return Ok(Code::DONE);
    }
    let mut listing = Listing::new(COLUMNS);
    for name in &stacks {
        let stack = observed.stack(name);
        let copies: BTreeSet<_> = view::copies(stack.replicas.iter()).cloned().collect();
        let services = stack.services.into_keys();
        let services: Vec<_> = services.filter(|name| !copies.contains(name)).collect();
        let cells = vec![
            name.to_string(),
            status(name, &observed),
            services.len().to_string(),
        ];
        let replicas = phases(name, &observed);
        let value = json!({ "name": name, "services": services, "replicas": replicas });
        listing.row(cells, value);
    }
    listing.print(app.out, &args.format.format)?;
    Ok(Code::DONE)
}

/// Reads `name=PART`.
fn part(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("name", part)) => Ok(part.to_owned()),
        _ => Err("write it as name=PART".to_owned()),
    }
}

fn phases(name: &StackName, observed: &Observed) -> BTreeMap<Phase, usize> {
    let mut phases = BTreeMap::new();
    let stack = observed.stacks.get(name);
    for replica in stack.into_iter().flat_map(|stack| &stack.replicas) {
        *phases.entry(replica.phase).or_default() += 1;
    }
    phases
}

/// `running(3), stopped(1)`, as docker compose says it.
fn status(name: &StackName, observed: &Observed) -> String {
    let phases = phases(name, observed);
    if phases.is_empty() {
        return "nothing runs".to_owned();
    }
    let parts = phases
        .iter()
        .map(|(phase, count)| format!("{}({count})", phase.as_str()));
    parts.collect::<Vec<_>>().join(", ")
}
