//! `ps`: the replicas of a stack.

use serde_json::Value;
use unmoor::backend::ObservedReplica;
use unmoor::name::ServiceName;

use crate::app::App;
use crate::args::Format;
use crate::exit::Code;
use crate::output::Table;
use crate::verbs::Outcome;
use crate::{select, view};

/// List the replicas of a stack.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also those that have ended
    #[arg(short, long)]
    all: bool,
    /// Only names, one a line
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Only these services
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let selector = select::services(&client, &stack, &args.services).await?;
    let observed = client.observe(&selector).await?;
    for error in &observed.unreadable {
        app.ui.warn(&error.chain());
    }
    let shown: Vec<&ObservedReplica> = observed
        .replicas()
        .filter(|replica| args.all || view::is_there(replica))
        .collect();
    if args.quiet {
        let names: String = shown
            .iter()
            .map(|replica| format!("{}\n", replica.id))
            .collect();
        app.out.text(&names)?;
    } else if args.format == Format::Json {
        let list: Vec<Value> = shown.iter().map(|replica| view::replica(replica)).collect();
        app.out.json(&list)?;
    } else {
        app.out.table(&table(&shown, client.clock().now()))?;
    }
    Ok(Code::DONE)
}

fn table(replicas: &[&ObservedReplica], now: std::time::SystemTime) -> Table {
    let headings = [
        "NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS",
    ];
    let mut table = Table::new(&headings);
    for replica in replicas {
        table.row([
            replica.id.to_string(),
            replica.image.clone(),
            view::command(&replica.command),
            replica.id.service.to_string(),
            view::ago(replica.created, now),
            view::status(replica, now),
            view::ports(&replica.ports),
        ]);
    }
    table
}
