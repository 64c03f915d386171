//! `endpoints`: where services answer, and with `--watch` how that changes.

use futures_util::StreamExt as _;
use serde_json::json;
use unmoor::discover::{Endpoint, EndpointEvent, Readiness};

use crate::app::App;
use crate::args::Services;
use crate::exit::Code;
use crate::output::{Columns, Formatted, ListFormat, Listing};
use crate::verbs::Outcome;
use crate::view;

/// List the addresses that answer for services now.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on with each change
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    format: Formatted,
    #[command(flatten)]
    which: Services,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let (client, selector) = app.select(&args.which).await?;
    if !args.watch {
        let endpoints = client.discover(&selector).await?;
        for item in &endpoints.unreadable {
            app.ui.warn(&item.error.chain());
        }
        listing(&endpoints).print(app.out, &args.format.format)?;
        return Ok(Code::DONE);
    }
    let mut events = client.watch(&selector).await?;
    while let Some(event) = events.next().await {
        match event {
            Err(error) => app.ui.warn(&error.chain()),
            Ok(event) if args.format.format == ListFormat::Json => app.out.json_line(&event)?,
            Ok(event) => app.out.text(&told(&event))?,
        }
    }
    Ok(Code::DONE)
}

const COLUMNS: Columns = &[
    ("Service", "SERVICE"),
    ("Replica", "REPLICA"),
    ("Address", "ADDRESS"),
    ("Protocol", "PROTOCOL"),
    ("Scope", "SCOPE"),
    ("Health", "HEALTH"),
    ("Weight", "WEIGHT"),
];

fn listing(endpoints: &[Endpoint]) -> Listing {
    let mut listing = Listing::new(COLUMNS);
    for endpoint in endpoints {
        listing.row(cells(endpoint).to_vec(), json!(endpoint));
    }
    listing
}

fn cells(endpoint: &Endpoint) -> [String; 7] {
    let replica = endpoint.replica.as_ref().map(ToString::to_string);
    let address = match endpoint.port {
        Some(port) => std::net::SocketAddr::new(endpoint.address, port).to_string(),
        None => endpoint.address.to_string(),
    };
    let health = match endpoint.health {
        Readiness::Ready => "ready",
        Readiness::NotReady => "not ready",
    };
    [
        endpoint.service.to_string(),
        replica.unwrap_or_else(|| "-".to_owned()),
        address,
        endpoint.protocol.to_string(),
        view::scope(endpoint),
        health.to_owned(),
        endpoint.weight.to_string(),
    ]
}

/// One line a change; a fresh start is a line with the number, then all of them.
fn told(event: &EndpointEvent) -> String {
    let line = |mark: &str, endpoint: &Endpoint| format!("{mark} {}\n", cells(endpoint).join(" "));
    match event {
        EndpointEvent::Resync { endpoints, .. } => {
            let list: String = endpoints
                .iter()
                .map(|endpoint| line("=", endpoint))
                .collect();
            format!("# {} endpoints\n{list}", endpoints.len())
        }
        EndpointEvent::Added { endpoint, .. } => line("+", endpoint),
        EndpointEvent::Changed { endpoint, .. } => line("~", endpoint),
        EndpointEvent::Removed { endpoint, .. } => line("-", endpoint),
    }
}
