//! `system df`: how much there is, and how much of it is used.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use unmoor::backend::Observed;
use unmoor::label::Selector;
use unmoor::units::Bytes;

use crate::app::App;
use crate::exit::Code;
use crate::output::{Columns, Formatted, Listing};
use crate::verbs::Outcome;

const COLUMNS: Columns = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

/// How it is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    format: Formatted,
}

/// One kind of thing.
struct Amount {
    kind: &'static str,
    total: usize,
    active: usize,
    /// Bytes in all, and bytes that nothing uses, where that is known.
    bytes: Option<(u64, u64)>,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let client = app.connect().await?;
    let observed = client.observe(&Selector::all()).await?;
    let mut amounts = Vec::new();
    if let Ok(images) = client.images() {
        let used: BTreeSet<&str> = observed
            .replicas()
            .map(|r| r.image_digest.as_str())
            .collect();
        let mut sizes = BTreeMap::new();
        for entry in images.list().await? {
            sizes.insert(entry.digest.to_string(), entry.size);
        }
        let unused = sizes
            .iter()
            .filter(|(digest, _)| !used.contains(digest.as_str()));
        let free: u64 = unused.clone().map(|(_, size)| *size).sum();
        amounts.push(Amount {
            kind: "Images",
            total: sizes.len(),
            active: sizes.len() - unused.count(),
            bytes: Some((sizes.values().sum(), free)),
        });
    }
    amounts.extend(held(&observed));
    let mut listing = Listing::new(COLUMNS);
    for amount in &amounts {
        let size = |pick: fn((u64, u64)) -> u64| match amount.bytes {
            Some(bytes) => Bytes(pick(bytes)).to_string(),
            None => "-".to_owned(),
        };
        let cells = vec![
            amount.kind.to_owned(),
            amount.total.to_string(),
            amount.active.to_string(),
            size(|(all, _)| all),
            size(|(_, free)| free),
        ];
        let value = json!({
            "type": amount.kind, "total": amount.total, "active": amount.active,
            "size": amount.bytes.map(|(all, _)| all),
            "reclaimable": amount.bytes.map(|(_, free)| free),
        });
        listing.row(cells, value);
    }
    listing.print(app.out, &args.format.format)?;
    Ok(Code::DONE)
}

fn held(observed: &Observed) -> [Amount; 3] {
    let running = observed
        .replicas()
        .filter(|replica| replica.phase.is_alive());
    let stacks = observed.stacks.values();
    let lively = |stack: &&unmoor::backend::ObservedStack| {
        stack
            .replicas
            .iter()
            .any(|replica| replica.phase.is_alive())
    };
    let count = |kind, total, active| Amount {
        kind,
        total,
        active,
        bytes: None,
    };
    let networks = |stack: &unmoor::backend::ObservedStack| stack.networks.len();
    let volumes = |stack: &unmoor::backend::ObservedStack| stack.volumes.len();
    [
        count("Containers", observed.replicas().count(), running.count()),
        count(
            "Networks",
            stacks.clone().map(networks).sum(),
            stacks.clone().filter(lively).map(networks).sum(),
        ),
        count(
            "Local Volumes",
            stacks.clone().map(volumes).sum(),
            stacks.clone().filter(lively).map(volumes).sum(),
        ),
    ]
}
