//! `ls`: the stacks of a backend.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use unmoor::backend::{Observed, Phase};
use unmoor::label::Selector;
use unmoor::name::StackName;

use crate::app::App;
use crate::args::Format;
use crate::exit::Code;
use crate::output::Table;
use crate::verbs::Outcome;

/// List stacks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only names, one a line
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let client = app.connect().await?;
    let observed = client.observe(&Selector::all()).await?;
    let mut stacks: BTreeSet<StackName> = client.stacks().await?.into_iter().collect();
    stacks.extend(observed.stacks.keys().cloned());
    if args.quiet {
        let names: String = stacks.iter().map(|name| format!("{name}\n")).collect();
        app.out.text(&names)?;
    } else if args.format == Format::Json {
        let list: Vec<Value> = stacks.iter().map(|name| as_json(name, &observed)).collect();
        app.out.json(&list)?;
    } else {
        let mut table = Table::new(&["NAME", "STATUS", "SERVICES"]);
        for name in &stacks {
            let services = observed.stack(name).services.len();
            table.row([
                name.to_string(),
                status(name, &observed),
                services.to_string(),
            ]);
        }
        app.out.table(&table)?;
    }
    Ok(Code::DONE)
}

fn phases(name: &StackName, observed: &Observed) -> BTreeMap<Phase, usize> {
    let mut phases = BTreeMap::new();
    for replica in observed
        .stacks
        .get(name)
        .into_iter()
        .flat_map(|stack| &stack.replicas)
    {
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

fn as_json(name: &StackName, observed: &Observed) -> Value {
    let services: Vec<_> = observed.stack(name).services.into_keys().collect();
    json!({ "name": name, "services": services, "replicas": phases(name, observed) })
}
