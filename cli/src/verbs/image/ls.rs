//! `image ls`: the images of a backend.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use unmoor::backend::ImageEntry;
use unmoor::units::Bytes;

use crate::app::App;
use crate::exit::Code;
use crate::output::{Columns, Formatted, Listing};
use crate::time::rfc3339;
use crate::verbs::Outcome;
use crate::view;

const COLUMNS: Columns = &[
    ("Image", "IMAGE"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
    ("Repository", ""),
    ("Tag", ""),
    ("ID", ""),
    ("CreatedAt", ""),
];

/// List images.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only digests, one a line
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    #[command(flatten)]
    format: Formatted,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let client = app.connect().await?;
    let entries = client.images()?.list().await?;
    if args.quiet {
        // An image of several names is one image.
        let mut seen = BTreeSet::new();
        let digests = entries.iter().map(|entry| &entry.digest);
        app.out
            .lines(digests.filter(|digest| seen.insert(*digest)))?;
        return Ok(Code::DONE);
    }
    let now = client.clock().now();
    let mut listing = Listing::new(COLUMNS);
    for entry in &entries {
        let name = entry
            .reference
            .as_ref()
            .map(|reference| reference.familiar());
        let name = name.unwrap_or_else(|| "<none>".to_owned());
        let (repository, tag) = view::repository(&name);
        let cells = vec![
            name.clone(),
            entry.digest.short().to_owned(),
            view::ago(entry.created, now),
            Bytes(entry.size).to_string(),
            repository,
            tag,
            entry.digest.to_string(),
            entry.created.map(rfc3339).unwrap_or_default(),
        ];
        listing.row(cells, as_json(entry));
    }
    listing.print(app.out, &args.format.format)?;
    Ok(Code::DONE)
}

fn as_json(entry: &ImageEntry) -> Value {
    json!({
        "image": entry.reference.as_ref().map(|reference| reference.familiar()),
        "digest": entry.digest, "size": entry.size, "created": entry.created.map(rfc3339),
    })
}
