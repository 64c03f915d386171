//! `check`: what backends can do of the file, field by field.

use serde_json::json;
use unmoor::compose::{Judgement, OnUnsupported, Verdict};

use crate::app::App;
use crate::exit::{Code, nearer};
use crate::output::{Columns, Formatted, Listing};
use crate::project;
use crate::verbs::Outcome;

const COLUMNS: Columns = &[
    ("Backend", "BACKEND"),
    ("Field", "FIELD"),
    ("Verdict", "VERDICT"),
    ("Feature", "FEATURE"),
    ("Remark", "REMARK"),
    ("Place", ""),
];

/// Check what backends can do of the file: each field is exact, emulated, limited, ignored or refused.
///
/// Name backends with `-b`, as often as there are; without, the one in use is looked at. The exit code
/// is 1 if a field is refused, and with `--strict` also if one is ignored or limited.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ignored and limited fields count as failures
    #[arg(long)]
    strict: bool,
    /// Also the fields that are exact
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    format: Formatted,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let loaded = project::load(&app.globals, OnUnsupported::Warn, &[])?;
    let mut listing = Listing::new(COLUMNS);
    let mut failed = false;
    for uri in app.backends()? {
        let client = unmoor::connect(&uri).await?;
        for verdict in loaded.verdicts(&client.probe().await?) {
            failed |= match verdict.judgement {
                Judgement::Refused => true,
                Judgement::Ignored | Judgement::Limited => args.strict,
                Judgement::Exact | Judgement::Emulated => false,
            };
            if args.all || verdict.judgement != Judgement::Exact {
                row(&mut listing, &uri, &verdict);
            }
        }
    }
    listing.print(app.out, &args.format.format)?;
    Ok(if failed { Code::NO } else { Code::DONE })
}

fn row(listing: &mut Listing, backend: &str, verdict: &Verdict) {
    let feature = verdict.feature.map(|feature| feature.to_string());
    let feature = feature.unwrap_or_default();
    let place = verdict.place.as_ref();
    let place = place.map(|place| nearer(&place.to_string(), place));
    let place = place.unwrap_or_default();
    let remark = match (verdict.remark.as_str(), verdict.instead.as_str()) {
        (remark, "") => remark.to_owned(),
        (remark, instead) => format!("{remark}: {instead}"),
    };
    let word = verdict.judgement.as_str();
    let value = json!({
        "backend": backend, "field": verdict.field, "verdict": word, "feature": feature,
        "remark": verdict.remark, "instead": verdict.instead, "place": place,
    });
    let cells = [backend, &verdict.field, word, &feature, &remark, &place];
    listing.row(cells.map(str::to_owned).to_vec(), value);
}
