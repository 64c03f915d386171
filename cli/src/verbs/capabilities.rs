//! `capabilities`: what a backend can do, and who keeps it going.

use serde_json::{Value, json};
use unmoor::backend::{Actor, Capabilities, Feature, Support};

use crate::app::App;
use crate::args::Format;
use crate::exit::Code;
use crate::output::Table;
use crate::verbs::Outcome;

/// Show what the backend can do, how, and who keeps it going.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask the platform what this account and machine allow
    #[arg(long)]
    declared: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let client = app.connect().await?;
    let capabilities = match args.declared {
        true => client.capabilities(),
        false => client.probe().await?,
    };
    match args.format {
        Format::Json => {
            let rows = Feature::ALL
                .iter()
                .map(|feature| as_json(*feature, &capabilities));
            let features: Vec<Value> = rows.collect();
            let info = client.info();
            let limits = &capabilities.limits;
            app.out
                .json(&json!({ "backend": info, "features": features, "limits": limits }))?;
        }
        Format::Table => {
            let mut table = Table::new(&["FEATURE", "SUPPORT", "BY", "REMARK"]);
            for feature in Feature::ALL {
                let (word, remark) = words(&capabilities.support(*feature));
                let by = capabilities.actor(*feature).map_or("-", actor);
                table.row([feature.as_str(), word, by, remark.as_str()]);
            }
            app.out.table(&table)?;
        }
    }
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
