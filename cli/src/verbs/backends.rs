//! `backends`: what this program can reach.

use serde_json::json;

use crate::app::App;
use crate::exit::Code;
use crate::output::{Columns, Formatted, Listing};
use crate::verbs::{Outcome, capabilities};

const COLUMNS: Columns = &[("URI", "URI"), ("Summary", "SUMMARY")];

/// List the backends that this program can reach, by the scheme of their URI.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(flatten)]
    format: Formatted,
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
    let mut listing = Listing::new(COLUMNS);
    for (scheme, summary) in catalog.iter() {
        let cells = vec![format!("{scheme}:"), summary.to_owned()];
        listing.row(cells, json!({ "scheme": scheme, "summary": summary }));
    }
    listing.print(app.out, &args.format.format)?;
    Ok(Code::DONE)
}
