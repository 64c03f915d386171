//! `backends`: what this program can reach.

use serde_json::{Value, json};

use crate::app::App;
use crate::args::Format;
use crate::exit::Code;
use crate::output::Table;
use crate::verbs::{Outcome, capabilities};

/// List the backends that this program can reach, by the scheme of their URI.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    #[command(subcommand)]
    command: Option<Command>,
}

/// More about one of them.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// What the backend of `-b` can do
    Capabilities(capabilities::Args),
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    if let Some(Command::Capabilities(args)) = args.command {
        return capabilities::run(args, app).await;
    }
    let catalog = unmoor::catalog();
    match args.format {
        Format::Json => {
            let list: Vec<Value> = catalog
                .iter()
                .map(|(scheme, summary)| json!({ "scheme": scheme, "summary": summary }))
                .collect();
            app.out.json(&list)?;
        }
        Format::Table => {
            let mut table = Table::new(&["URI", "SUMMARY"]);
            for (scheme, summary) in catalog.iter() {
                table.row([format!("{scheme}:"), summary.to_owned()]);
            }
            app.out.table(&table)?;
        }
    }
    Ok(Code::DONE)
}
