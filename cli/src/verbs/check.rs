//! `check`: what backends can do of the file, field by field.

use serde_json::json;
use unmoor::compose::{Judgement, Level, LoadErrors, OnUnsupported, Verdict};
use unmoor::name::ServiceName;
use unmoor::plan::Scope;

use crate::app::App;
use crate::exit::{Code, Failure, nearer};
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
/// is 1 if a field is refused, and with `--strict` also if one is ignored or limited. Of a file with
/// errors, what can be read is judged before they are told.
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
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let about = Scope::services(args.services.clone());
    let (loaded, wrong) = match project::load(&app.globals, OnUnsupported::Warn, &about) {
        Ok(loaded) => (loaded, None),
        // What could be read is judged all the same.
        Err(Failure::Files(mut errors)) => match errors.partial.take() {
            Some(partial) => (*partial, Some(errors)),
            None => return Err(Failure::Files(errors)),
        },
        Err(failure) => return Err(failure),
    };
    if wrong.is_none() {
        for name in &args.services {
            project::service(&loaded.stack, name)?;
        }
    }
    let mut listing = Listing::new(COLUMNS);
    let mut failed = false;
    for uri in app.backends()? {
        let client = unmoor::connect(&uri).await?;
        for verdict in loaded.verdicts(&client.probe().await?) {
            if is_wrong(&verdict, wrong.as_ref()) {
                continue;
            }
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
    if let Some(mut errors) = wrong {
        // They are verdicts of the table.
        let is_verdict = |level: Level| matches!(level, Level::Gap | Level::Ignored | Level::Note);
        errors.warnings.retain(|warning| !is_verdict(warning.level));
        return Err(Failure::Files(errors));
    }
    Ok(if failed { Code::NO } else { Code::DONE })
}

/// True for a field that there is no verdict of because its value is wrong.
fn is_wrong(verdict: &Verdict, wrong: Option<&LoadErrors>) -> bool {
    let errors = wrong.iter().flat_map(|wrong| &wrong.errors);
    let mut subjects = errors.filter_map(|error| error.subject());
    subjects.any(|subject| {
        let tail = subject.strip_prefix(&verdict.field);
        tail.is_some_and(|tail| tail.is_empty() || tail.starts_with(['.', '[']))
    })
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
