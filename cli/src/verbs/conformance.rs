//! `conformance`: a backend against what every backend promises.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::json;
use unmoor::Uri;
use unmoor_conformance::{
    Case, CaseResult, Evidence, Format, Matrix, Options, Report, all_cases, run as run_suite,
};

use crate::app::App;
use crate::exit::{Code, Failure};
use crate::output::{Columns, Formatted, Listing, clean, raw};
use crate::verbs::Outcome;

/// Check a backend against what every backend promises: named cases, each a claim that is tried.
///
/// Cases that need what the backend says it cannot do are skipped, with the reason. It makes
/// stacks of its own, `uc…`, and removes them. Exit code 1 if a claim does not hold, or none was
/// tried.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only cases whose name contains this, or of this operation; repeatable
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// List the cases instead
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    format: Formatted,
    /// Write the result as html, json or junit: into a file (`junit=FILE`), or to standard output,
    /// with the lines of the run on standard error; repeatable
    #[arg(long, value_name = "FORMAT[=FILE]", value_parser = wanted)]
    report: Vec<Wanted>,
    /// Put the result into `matrix.json` and `matrix.md` of this directory
    #[arg(long, value_name = "DIR")]
    matrix: Option<PathBuf>,
    /// What stands behind the backend: model, real, live, twin or tape
    #[arg(long, value_name = "KIND", value_parser = evidence)]
    evidence: Option<Evidence>,
    /// The backend [default: that of -b]
    #[arg(add = clap_complete::ArgValueCompleter::new(crate::complete::backends))]
    uri: Option<String>,
}

/// A report that is asked for.
#[derive(Debug, Clone)]
struct Wanted {
    format: Format,
    /// Where to; standard output if nowhere.
    file: Option<PathBuf>,
}

/// `junit=FILE`, `junit`, or a file whose ending says which.
fn wanted(text: &str) -> Result<Wanted, String> {
    if let Some((format, file)) = text.split_once('=') {
        if file.is_empty() {
            return Err("there is no file behind the `=`".to_owned());
        }
        return Ok(Wanted {
            format: format.parse()?,
            file: Some(file.into()),
        });
    }
    match Format::of(Path::new(text)) {
        Some(format) => Ok(Wanted {
            format,
            file: Some(text.into()),
        }),
        None => Ok(Wanted {
            format: text.parse()?,
            file: None,
        }),
    }
}

fn evidence(text: &str) -> Result<Evidence, String> {
    Evidence::parse(text).ok_or_else(|| "use model, real, live, twin or tape".to_owned())
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    if args.list {
        return list(app, &args);
    }
    let uri = match &args.uri {
        Some(uri) => Uri::parse(uri)?,
        None => Uri::parse(&app.backend()?)?,
    };
    if app.is_dry() {
        return app.would(tried(&args, &uri));
    }
    let backend = unmoor::catalog().connect(&uri).await?;
    let by_scheme = match uri.scheme.as_str() {
        "sim" => Evidence::Model,
        _ => Evidence::Real,
    };
    // Known before a run that takes minutes, not after it.
    let to_output = writable(&args.report)?;
    let line = |text: &str| match to_output {
        true => {
            raw(&format!("{text}\n"));
            Ok(())
        }
        false => app.out.line(text),
    };
    // Lines are told as they come; the first that cannot be written is the failure in the end.
    let unwritten = Mutex::new(None);
    let tell = |result: &CaseResult| {
        let told = line(&clean(&result.to_string()));
        if let (Err(failure), Ok(mut first)) = (told, unwritten.lock()) {
            first.get_or_insert(failure);
        }
    };
    let mut options = Options::new()
        .evidence(args.evidence.unwrap_or(by_scheme))
        .on_case(&tell);
    options.filter.clone_from(&args.filter);
    let report = run_suite(backend, &options).await?;
    line(&report.closing_line())?;
    if let Some(failure) = unwritten.into_inner().ok().flatten() {
        return Err(failure);
    }
    keep(&args, &report, app)?;
    Ok(if report.is_success() {
        Code::DONE
    } else {
        Code::NO
    })
}

/// What a run would do, one a line; cases that the backend cannot pass would be skipped.
fn tried(args: &Args, uri: &Uri) -> Vec<String> {
    let told = |case: &Case| format!("try {}/{} on {uri}", case.operation, case.name);
    let mut words: Vec<String> = chosen(&args.filter).iter().map(told).collect();
    let files = args.report.iter().filter_map(|wanted| wanted.file.as_ref());
    words.extend(files.map(|file| format!("write {}", file.display())));
    let matrix = args.matrix.iter();
    words.extend(matrix.map(|folder| format!("write the matrix into {}", folder.display())));
    words
}

/// The cases that a filter leaves.
fn chosen(filter: &[String]) -> Vec<Case> {
    let fits = |text: &String, case: &Case| case.name.contains(text) || case.operation == text;
    let mut cases = all_cases();
    cases.retain(|case| filter.is_empty() || filter.iter().any(|text| fits(text, case)));
    cases
}

const COLUMNS: Columns = &[
    ("Case", "CASE"),
    ("Operation", "OPERATION"),
    ("Needs", "NEEDS"),
    ("Claim", "CLAIM"),
];

fn list(app: &App, args: &Args) -> Outcome {
    let mut listing = Listing::new(COLUMNS);
    for case in chosen(&args.filter) {
        let needs: Vec<&str> = case.needs.iter().map(|feature| feature.as_str()).collect();
        let (name, operation, claim) = (case.name, case.operation, case.claim);
        let value = json!({
            "case": name, "operation": operation, "needs": needs, "claim": claim,
        });
        let cells = [name, operation, &needs.join(" "), claim].map(str::to_owned);
        listing.row(cells.to_vec(), value);
    }
    listing.print(app.out, &args.format.format)?;
    Ok(Code::DONE)
}

/// Whether a report goes to standard output; an error if one cannot go where it should.
fn writable(reports: &[Wanted]) -> Result<bool, Failure> {
    let to_output = reports.iter().filter(|wanted| wanted.file.is_none());
    let to_output = to_output.count();
    if to_output > 1 {
        let text = "one report goes to standard output; name files for the others: `html=FILE`";
        return Err(Failure::Usage(text.to_owned()));
    }
    for file in reports.iter().filter_map(|wanted| wanted.file.as_ref()) {
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        if !folder.is_dir() || file.is_dir() {
            let text = format!("the report cannot be written to {}", file.display());
            return Err(Failure::Usage(text));
        }
    }
    Ok(to_output == 1)
}

fn keep(args: &Args, report: &Report, app: &App) -> Result<(), Failure> {
    for Wanted { format, file } in &args.report {
        let text = report.to(*format);
        match file {
            Some(file) => {
                fs::write(file, text).map_err(|error| Failure::System("write the report", error))?
            }
            None => app.out.text(&text)?,
        }
    }
    if let Some(directory) = &args.matrix {
        let merged = Matrix::read(directory).and_then(|mut matrix| {
            matrix.merge(report);
            matrix.write(directory)
        });
        merged.map_err(|error| Failure::System("write the matrix", error))?;
    }
    Ok(())
}
