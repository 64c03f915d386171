//! `image ls`: the images of a backend.

use serde_json::{Value, json};
use unmoor::backend::ImageEntry;
use unmoor::units::Bytes;

use crate::app::App;
use crate::args::Format;
use crate::exit::Code;
use crate::output::Table;
use crate::time::rfc3339;
use crate::verbs::Outcome;
use crate::view;

/// List images.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only digests, one a line
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let client = app.connect().await?;
    let entries = client.images()?.list().await?;
    if args.quiet {
        let digests: String = entries
            .iter()
            .map(|entry| format!("{}\n", entry.digest))
            .collect();
        app.out.text(&digests)?;
    } else if args.format == Format::Json {
        app.out
            .json(&entries.iter().map(as_json).collect::<Vec<_>>())?;
    } else {
        let now = client.clock().now();
        let mut table = Table::new(&["IMAGE", "DIGEST", "CREATED", "SIZE"]);
        for entry in &entries {
            let name = entry
                .reference
                .as_ref()
                .map(|reference| reference.familiar());
            table.row([
                name.unwrap_or_else(|| "<none>".to_owned()),
                entry.digest.short().to_owned(),
                view::ago(entry.created, now),
                Bytes(entry.size).to_string(),
            ]);
        }
        app.out.table(&table)?;
    }
    Ok(Code::DONE)
}

fn as_json(entry: &ImageEntry) -> Value {
    json!({
        "image": entry.reference.as_ref().map(|reference| reference.familiar()),
        "digest": entry.digest, "size": entry.size, "created": entry.created.map(rfc3339),
    })
}
