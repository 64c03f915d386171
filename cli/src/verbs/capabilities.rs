//! `capabilities`: what a backend can do, and who keeps it going.

use serde_json::{Value, json};
use unmoor::backend::{Actor, Capabilities, Feature, Support};

use crate::app::App;
use crate::exit::Code;
use crate::output::{Columns, Formatted, ListFormat, Listing};
use crate::verbs::Outcome;

const COLUMNS: Columns = &[
    ("Feature", "FEATURE"),
    ("Support", "SUPPORT"),
    ("By", "BY"),
    ("Remark", "REMARK"),
];

/// Show what the backend can do, how, and who keeps it going.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask the platform what this account and machine allow
    #[arg(long)]
    declared: bool,
    #[command(flatten)]
    format: Formatted,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let client = app.connect().await?;
    let capabilities = match args.declared {
        true => client.capabilities(),
        false => client.probe().await?,
    };
    if args.format.format == ListFormat::Json {
        let rows = Feature::ALL
            .iter()
            .map(|feature| as_json(*feature, &capabilities));
        let features: Vec<Value> = rows.collect();
        let (info, limits) = (client.info(), &capabilities.limits);
        app.out
            .json(&json!({ "backend": info, "features": features, "limits": limits }))?;
        return Ok(Code::DONE);
    }
    let mut listing = Listing::new(COLUMNS);
    for feature in Feature::ALL {
        let (word, remark) = words(&capabilities.support(*feature));
        let by = capabilities.actor(*feature).map_or("-", actor);
        let cells = [feature.as_str(), word, by, remark.as_str()];
        let cells = cells.map(str::to_owned).to_vec();
        listing.row(cells, as_json(*feature, &capabilities));
    }
    listing.print(app.out, &args.format.format)?;
    Ok(Code::DONE)
}

fn words(support: &Support) -> (&'static str, String) {
    match support {
        Support::Native => ("native", String::new()),
        Support::Emulated => ("emulated", String::new()),
        Support::Injected => ("injected", String::new()),
        Support::Limited(limit) => ("limited", limit.clone()),
        Support::Unsupported(hint) => ("no", hint.clone()),
        _ => ("other", String::new()),
    }
}

fn actor(actor: Actor) -> &'static str {
    match actor {
        Actor::Platform => "platform",
        Actor::Resident => "resident",
        Actor::Caller => "caller",
    }
}

fn as_json(feature: Feature, capabilities: &Capabilities) -> Value {
    let (word, remark) = words(&capabilities.support(feature));
    json!({
        "feature": feature, "support": word, "by": capabilities.actor(feature).map(actor),
        "remark": remark, "summary": feature.summary().trim(), "guards": feature.guards(),
    })
}
