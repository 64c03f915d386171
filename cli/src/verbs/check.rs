//! `check`: what backends can do of the file, field by field.

use serde_json::json;
use unmoor::backend::{Capabilities, Support};
use unmoor::compose::{Level, OnUnsupported};
use unmoor::plan::fields;
use unmoor::spec::Stack;

use crate::app::App;
use crate::exit::Code;
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

/// What is said about one field.
struct Verdict {
    backend: String,
    field: String,
    word: &'static str,
    feature: String,
    remark: String,
    place: String,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let loaded = project::load(&app.globals, OnUnsupported::Warn)?;
    let mut verdicts = Vec::new();
    for uri in app.backends()? {
        let client = unmoor::connect(&uri).await?;
        for warning in &loaded.warnings {
            if warning.level != Level::Ignored {
                continue;
            }
            let place = warning
                .place
                .as_ref()
                .map(|p| format!("{}:{}:{}", p.file, p.line, p.column));
            verdicts.push(Verdict {
                backend: uri.clone(),
                field: warning.field.clone(),
                word: "ignored",
                feature: String::new(),
                remark: warning.text.clone(),
                place: place.unwrap_or_default(),
            });
        }
        judge(&uri, &loaded.stack, &client.probe().await?, &mut verdicts);
    }
    let bad = |verdict: &Verdict| match verdict.word {
        "refused" => true,
        "ignored" | "limited" => args.strict,
        _ => false,
    };
    let failed = verdicts.iter().any(bad);
    let mut listing = Listing::new(COLUMNS);
    for verdict in verdicts
        .iter()
        .filter(|verdict| args.all || verdict.word != "exact")
    {
        let value = json!({
            "backend": verdict.backend, "field": verdict.field, "verdict": verdict.word,
            "feature": verdict.feature, "remark": verdict.remark, "place": verdict.place,
        });
        let cells = [
            &verdict.backend,
            &verdict.field,
            verdict.word,
            &verdict.feature,
            &verdict.remark,
            &verdict.place,
        ];
        listing.row(cells.map(str::to_owned).to_vec(), value);
    }
    listing.print(app.out, &args.format.format)?;
    Ok(if failed { Code::NO } else { Code::DONE })
}

fn judge(uri: &str, stack: &Stack, capabilities: &Capabilities, verdicts: &mut Vec<Verdict>) {
    for field in fields(stack, capabilities) {
        let (word, remark) = match field.support {
            Support::Native | Support::Injected => ("exact", String::new()),
            Support::Emulated => ("emulated", String::new()),
            Support::Limited(limit) => ("limited", limit),
            Support::Unsupported(hint) => ("refused", hint),
            _ => ("limited", String::new()),
        };
        verdicts.push(Verdict {
            backend: uri.to_owned(),
            field: field.path,
            word,
            feature: field.feature.to_string(),
            remark,
            place: String::new(),
        });
    }
}
