//! `version`: what this program is.

use serde_json::json;

use crate::app::App;
use crate::args::Format;
use crate::exit::Code;
use crate::verbs::Outcome;

/// Version of the documents that programs read, as `docs/cli-json.md` describes them.
const CLI_JSON: u32 = 1;

/// Show the version.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the number
    #[arg(long, conflicts_with = "format")]
    short: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
}

pub(crate) fn run(args: &Args, app: &App) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    if args.short {
        app.out.line(version)?;
    } else if args.format == Format::Json {
        let catalog = unmoor::catalog();
        let schemes: Vec<&str> = catalog.iter().map(|(scheme, _)| scheme).collect();
        app.out
            .json(&json!({ "version": version, "cli_json": CLI_JSON, "backends": schemes }))?;
    } else {
        app.out.line(&format!("unmoor {version}"))?;
    }
    Ok(Code::DONE)
}
