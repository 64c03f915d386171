//! `volumes`: the volumes of a stack.

use std::collections::BTreeSet;

use serde_json::json;
use unmoor::label::Selector;
use unmoor::name::{ServiceName, VolumeName};
use unmoor::spec::MountSource;

use crate::app::App;
use crate::exit::Code;
use crate::output::{Columns, Formatted, Listing};
use crate::select;
use crate::verbs::Outcome;

const COLUMNS: Columns = &[
    ("Driver", "DRIVER"),
    ("Name", "VOLUME NAME"),
    ("Volume", "VOLUME"),
    ("Services", "SERVICES"),
];

/// List the volumes of a stack that are there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only names, one a line
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    #[command(flatten)]
    format: Formatted,
    /// Only volumes that these services use
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    // Names that nothing has are refused as everywhere.
    select::services(app, &client, &stack, &args.services).await?;
    let observed = client
        .observe(&Selector::stack(stack.clone()))
        .await?
        .stack(&stack);
    let wanted = client.record(&stack).await?.effective(&stack);
    let users = |volume: &VolumeName| -> BTreeSet<ServiceName> {
        let services = wanted.services.iter().filter(|(_, service)| {
            let uses = |source: &MountSource| *source == MountSource::Volume(volume.clone());
            service.mounts.iter().any(|mount| uses(&mount.source))
        });
        services.map(|(name, _)| name.clone()).collect()
    };
    let mut listing = Listing::new(COLUMNS);
    let mut names = Vec::new();
    for volume in &observed.volumes {
        let users = users(volume);
        if !args.services.is_empty() && args.services.iter().all(|name| !users.contains(name)) {
            continue;
        }
        let external = wanted
            .volumes
            .get(volume)
            .and_then(|volume| volume.external.clone());
        let name = external.unwrap_or_else(|| format!("{stack}_{volume}"));
        let services: Vec<&str> = users.iter().map(ServiceName::as_str).collect();
        let cells = vec![
            "local".to_owned(),
            name.clone(),
            volume.to_string(),
            services.join(","),
        ];
        let value = json!({
            "driver": "local", "name": name, "volume": volume, "stack": stack, "services": services,
        });
        listing.row(cells, value);
        names.push(name);
    }
    match args.quiet {
        true => app.out.lines(&names)?,
        false => listing.print(app.out, &args.format.format)?,
    }
    Ok(Code::DONE)
}
