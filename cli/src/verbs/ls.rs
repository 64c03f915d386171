//! `ls`: the stacks of a backend.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use unmoor::backend::{Foreign, Observed, Phase, StackPlace};
use unmoor::label::Selector;
use unmoor::name::StackName;
use unmoor::{Client, ErrorKind};

use crate::app::App;
use crate::exit::{Code, Failure};
use crate::output::{Columns, Formatted, Listing};
use crate::verbs::Outcome;
use crate::view;

const COLUMNS: Columns = &[
    ("Name", "NAME"),
    ("Status", "STATUS"),
    ("Services", "SERVICES"),
];

/// With `--all`.
const ALL_COLUMNS: Columns = &[
    ("Name", "NAME"),
    ("Status", "STATUS"),
    ("Services", "SERVICES"),
    ("MadeBy", "MADE BY"),
];

/// List stacks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also show what is there and is not ours, with who made it; stopped stacks are always shown
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
    let mut foreign = Vec::new();
    if args.all {
        foreign = found_foreign(&client).await?;
        foreign.retain(|item| args.filter.iter().all(|part| owner(item).contains(part)));
    }
    let mut listing = Listing::new(match args.all {
        true => ALL_COLUMNS,
        false => COLUMNS,
    });
    for name in &stacks {
        let stack = observed.stack(name);
        let copies: BTreeSet<_> = view::copies(stack.replicas.iter()).cloned().collect();
        let services = stack.services.into_keys();
        let services: Vec<_> = services.filter(|name| !copies.contains(name)).collect();
        let mut cells = vec![
            name.to_string(),
            status(&phases(name, &observed)),
            services.len().to_string(),
        ];
        if args.all {
            cells.push("unmoor".to_owned());
        }
        let replicas = phases(name, &observed);
        let value = json!({ "name": name, "services": services, "replicas": replicas });
        listing.row(cells, value);
    }
    for ((name, maker), items) in by_owner(&foreign) {
        let (cells, value) = foreign_row(&name, &maker, &items);
        listing.row(cells, value);
    }
    listing.print(app.out, &args.format.format)?;
    Ok(Code::DONE)
}

/// What is not ours; nothing where the backend cannot tell.
async fn found_foreign(client: &Client) -> Result<Vec<Foreign>, Failure> {
    match client.foreign(None).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Vec::new()),
        found => Ok(found?),
    }
}

/// The stack that it would belong to, or its own name.
fn owner(item: &Foreign) -> String {
    match &item.place {
        Some(place) => place.stack().to_string(),
        None => item.id.clone(),
    }
}

type ByOwner<'f> = BTreeMap<(String, String), Vec<&'f Foreign>>;

fn by_owner(foreign: &[Foreign]) -> ByOwner<'_> {
    let mut found = ByOwner::new();
    for item in foreign {
        let key = (owner(item), item.maker.to_string());
        found.entry(key).or_default().push(item);
    }
    found
}

fn foreign_row(name: &str, maker: &str, items: &[&Foreign]) -> (Vec<String>, serde_json::Value) {
    let mut replicas: BTreeMap<Phase, usize> = BTreeMap::new();
    for phase in items.iter().filter_map(|item| item.phase) {
        *replicas.entry(phase).or_default() += 1;
    }
    let services: BTreeSet<&str> = items
        .iter()
        .filter_map(|item| match &item.place {
            Some(StackPlace::Replica { id }) => Some(id.service.as_str()),
            _ => None,
        })
        .collect();
    let resources: Vec<_> = items.iter().map(|item| resource(item)).collect();
    let value = json!({
        "name": name, "services": services, "replicas": replicas, "made_by": maker,
        "foreign": resources,
    });
    let cells = vec![
        name.to_owned(),
        status(&replicas),
        services.len().to_string(),
        maker.to_owned(),
    ];
    (cells, value)
}

fn resource(item: &Foreign) -> serde_json::Value {
    json!({
        "kind": item.kind(), "id": item.id, "place": item.place, "phase": item.phase,
        "closed": item.closed(),
    })
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
fn status(phases: &BTreeMap<Phase, usize>) -> String {
    if phases.is_empty() {
        return "nothing runs".to_owned();
    }
    let parts = phases
        .iter()
        .map(|(phase, count)| format!("{}({count})", phase.as_str()));
    parts.collect::<Vec<_>>().join(", ")
}
