//! `images`: the images that the replicas of a stack run on.

use std::collections::BTreeMap;

use serde_json::json;
use unmoor::backend::ImageEntry;
use unmoor::units::Bytes;

use crate::app::App;
use crate::args::Services;
use crate::exit::Code;
use crate::output::{Columns, Formatted, Listing};
use crate::verbs::Outcome;
use crate::view;

const COLUMNS: Columns = &[
    ("ContainerName", "CONTAINER"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("Digest", ""),
];

/// List the images that the replicas of a stack run on.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only digests, one a line
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    #[command(flatten)]
    format: Formatted,
    #[command(flatten)]
    which: Services,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let (client, selector) = app.select(&args.which).await?;
    let observed = client.observe(&selector).await?;
    if args.quiet {
        let digests: std::collections::BTreeSet<&str> = observed
            .replicas()
            .map(|replica| replica.image_digest.as_str())
            .collect();
        app.out.lines(digests)?;
        return Ok(Code::DONE);
    }
    let known: BTreeMap<String, ImageEntry> = match client.images() {
        Ok(images) => {
            let list = images.list().await?;
            list.into_iter()
                .map(|entry| (entry.digest.to_string(), entry))
                .collect()
        }
        // A backend that keeps no images still says what runs.
        Err(_) => BTreeMap::new(),
    };
    let now = client.clock().now();
    let mut listing = Listing::new(COLUMNS);
    for replica in observed.replicas() {
        let entry = known.get(&replica.image_digest);
        let (repository, tag) = view::repository(&replica.image);
        let short = replica
            .image_digest
            .strip_prefix("sha256:")
            .unwrap_or(&replica.image_digest);
        let cells = vec![
            replica.id.to_string(),
            repository.clone(),
            tag.clone(),
            short.chars().take(12).collect(),
            entry.map_or_else(|| "-".to_owned(), |entry| Bytes(entry.size).to_string()),
            view::ago(entry.and_then(|entry| entry.created), now),
            replica.image_digest.clone(),
        ];
        let value = json!({
            "replica": replica.id.to_string(), "service": replica.id.service,
            "image": replica.image, "repository": repository, "tag": tag,
            "digest": replica.image_digest, "size": entry.map(|entry| entry.size),
        });
        listing.row(cells, value);
    }
    listing.print(app.out, &args.format.format)?;
    Ok(Code::DONE)
}
