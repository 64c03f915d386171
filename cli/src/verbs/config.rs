//! `config`: what the Compose files come to, or why they do not.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;
use unmoor::compose::{Document, Form};
use unmoor::{Error, ErrorKind};

use crate::app::App;
use crate::exit::{Code, Failure};
use crate::refuse::refused;
use crate::verbs::Outcome;
use crate::{complete, project};

/// Check the Compose files and show what they mean, as docker compose would.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these services and what they need
    #[arg(value_name = "SERVICE", add = complete::of_services())]
    services_wanted: Vec<String>,
    /// How to print
    #[arg(long, value_enum)]
    format: Option<Shape>,
    #[command(flatten)]
    resolution: Resolution,
    #[command(flatten)]
    what: What,
    /// Only check
    #[arg(short, long, group = "what-to-print")]
    quiet: bool,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Refuse other programs' keys too, as docker compose does
    #[arg(long)]
    strict: bool,
}

/// How far files are resolved.
#[derive(Debug, clap::Args)]
struct Resolution {
    /// Show the merged files with their variables
    #[arg(long)]
    no_interpolate: bool,
    /// Do not fill in what the format takes for granted
    #[arg(long)]
    no_normalize: bool,
    /// Leave relative paths as they are
    #[arg(long)]
    no_path_resolution: bool,
    /// Do not read files of variables (`env_file`)
    #[arg(long)]
    no_env_resolution: bool,
    /// Do not check whether everything fits together
    #[arg(long)]
    no_consistency: bool,
    /// Refused: it reads files, and asks no registry
    #[arg(long, hide_short_help = true)]
    resolve_image_digests: bool,
    /// Refused likewise
    #[arg(long, hide_short_help = true)]
    lock_image_digests: bool,
}

impl Resolution {
    fn refuse(&self) -> Result<(), Failure> {
        let flags = [
            ("--resolve-image-digests", self.resolve_image_digests),
            ("--lock-image-digests", self.lock_image_digests),
        ];
        match flags.iter().find(|(_, said)| *said) {
            None => Ok(()),
            Some((flag, _)) => {
                let why = "`config` reads files, and asks no registry";
                Err(refused(
                    flag,
                    why,
                    "`unmoor pull` prints the digest of each image",
                ))
            }
        }
    }
}

/// A part to print instead of the whole.
#[derive(Debug, clap::Args)]
#[group(id = "what-to-print", multiple = false)]
struct What {
    /// Only the names of the services
    #[arg(long)]
    services: bool,
    /// Only the images, one a service
    #[arg(long)]
    images: bool,
    /// Only the profiles that services name
    #[arg(long)]
    profiles: bool,
    /// Only the names of the volumes
    #[arg(long)]
    volumes: bool,
    /// Only the names of the networks
    #[arg(long)]
    networks: bool,
    /// Only the models that services call
    #[arg(long)]
    models: bool,
    /// Only a fingerprint of these services' settings; `*` is all
    #[arg(long, value_name = "SERVICE,…", add = complete::of_service_lists())]
    hash: Option<String>,
    /// Only the variables of the files, with what stands in for them
    #[arg(long)]
    variables: bool,
    /// Only the variables that the files see
    #[arg(long)]
    environment: bool,
    /// Where each value at this key comes from, such as services.web.environment
    #[arg(long, value_name = "KEY", add = complete::of_keys())]
    explain: Option<String>,
}

/// How the whole is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    /// As a Compose file
    Yaml,
    /// As JSON of the same shape
    Json,
}

pub(crate) fn run(args: &Args, app: &App) -> Outcome {
    args.resolution.refuse()?;
    let document = load(args, app)?;
    if args.quiet {
        return Ok(Code::DONE);
    }
    let text = match part(args, &document)? {
        Some(text) => text,
        None if args.format == Some(Shape::Json) => document.to_json() + "\n",
        None => document.to_yaml(),
    };
    match &args.output {
        Some(path) if app.is_dry() => return app.would([format!("write {}", path.display())]),
        Some(path) => std::fs::write(path, text)
            .map_err(|error| Failure::System("write the file given with -o", error))?,
        None => app.out.text(&text)?,
    }
    Ok(Code::DONE)
}

fn load(args: &Args, app: &App) -> Result<Document, Failure> {
    let mut input = project::input(&app.globals)?;
    input.options.strict = args.strict;
    input.options.only.clone_from(&args.services_wanted);
    let names_only = args.what.services || args.what.hash.is_some();
    let mut form = Form::default();
    // A fingerprint is always that of what would run.
    let raw = args.resolution.no_interpolate && args.what.hash.is_none();
    form.interpolate = !(raw || args.what.variables);
    form.normalize = !args.resolution.no_normalize;
    form.paths = !args.resolution.no_path_resolution;
    form.environment = !(args.resolution.no_env_resolution || names_only);
    form.consistency = !args.resolution.no_consistency;
    let document = input.document(form)?;
    app.warn(&document.warnings);
    Ok(document)
}

/// The part that was asked for.
fn part(args: &Args, document: &Document) -> Result<Option<String>, Failure> {
    let what = &args.what;
    let as_json = args.format == Some(Shape::Json);
    Ok(Some(if what.services {
        lines(&document.services())
    } else if what.images {
        lines(&document.images())
    } else if what.profiles {
        lines(&document.profiles())
    } else if what.volumes {
        lines(&document.volumes())
    } else if what.networks {
        lines(&document.networks())
    } else if what.models {
        lines(&document.models())
    } else if let Some(wanted) = &what.hash {
        hashes(document, wanted)?
    } else if what.variables {
        variables(document, as_json)
    } else if what.environment {
        let set = document.environment().iter();
        lines(
            &set.map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>(),
        )
    } else if let Some(field) = &what.explain {
        explained(document, field, as_json)?
    } else {
        return Ok(None);
    }))
}

fn lines(items: &[String]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}

fn hashes(document: &Document, wanted: &str) -> Result<String, Failure> {
    let all = document.hashes();
    if wanted == "*" {
        return Ok(all
            .iter()
            .map(|(name, hash)| format!("{name} {hash}\n"))
            .collect());
    }
    let mut names: Vec<&str> = wanted.split(',').collect();
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        let Some(hash) = all.get(name) else {
            let error = Error::new(ErrorKind::NotFound, format!("there is no service `{name}`"));
            return Err(error.into());
        };
        writeln!(text, "{name} {hash}").expect("a string takes any text");
    }
    Ok(text)
}

fn variables(document: &Document, as_json: bool) -> String {
    let found = document.template_variables();
    if as_json {
        let entries = found.iter().map(|(name, variable)| {
            let value = json!({
                "Name": name,
                "DefaultValue": variable.default,
                "PresenceValue": variable.alternative,
                "Required": variable.is_required,
            });
            (name.clone(), value)
        });
        let all: serde_json::Map<String, serde_json::Value> = entries.collect();
        return serde_json::Value::Object(all).to_string() + "\n";
    }
    // As docker compose has it: at least twenty wide, three apart, the last one as it comes.
    let mut rows =
        vec![["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"].map(str::to_owned)];
    rows.extend(found.iter().map(|(name, variable)| {
        [
            name.clone(),
            variable.is_required.to_string(),
            variable.default.clone(),
            variable.alternative.clone(),
        ]
    }));
    let wide = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count() + 3);
        widths.max().unwrap_or_default().max(20)
    };
    let [first, second, third] = [0, 1, 2].map(wide);
    let mut text = String::new();
    for [name, required, default, alternative] in &rows {
        let line = format!("{name:first$}{required:second$}{default:third$}{alternative}\n");
        text.push_str(&line);
    }
    text
}

fn explained(document: &Document, field: &str, as_json: bool) -> Result<String, Failure> {
    let found = document.explain(field);
    if found.is_empty() {
        let error = Error::new(ErrorKind::NotFound, format!("nothing is said at `{field}`"))
            .hint("a key is a path such as services.web.ports; `*` is any name");
        return Err(error.into());
    }
    if as_json {
        let items = found.iter().map(|one| {
            json!({
                "field": one.field,
                "value": one.value,
                "place": one.place.as_ref().map(ToString::to_string),
                "default": one.is_default,
                "variables": one.variables,
            })
        });
        return Ok(serde_json::Value::Array(items.collect()).to_string() + "\n");
    }
    let mut text = String::new();
    for one in &found {
        let place = one
            .place
            .as_ref()
            .map_or("nowhere".to_owned(), ToString::to_string);
        let from = match one.is_default {
            true => format!("default, for {place}"),
            false => place,
        };
        write!(text, "{}: {}\n    {from}\n", one.field, one.value).expect("a string");
        for variable in &one.variables {
            writeln!(text, "    {variable}").expect("a string takes any text");
        }
    }
    Ok(text)
}
