//! `context`: names for backends, in the user's configuration file.

use clap_complete::ArgValueCompleter;
use serde_json::json;

use crate::app::App;
use crate::complete;
use crate::config::{self, Config, Context, DEFAULT, DEFAULT_BACKEND};
use crate::exit::{Code, Failure};
use crate::output::{Columns, Formatted, Listing};
use crate::verbs::Outcome;

const COLUMNS: Columns = &[
    ("Name", "NAME"),
    ("Backend", "BACKEND"),
    ("Description", "DESCRIPTION"),
    ("Current", ""),
];

/// What can be done with contexts.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List contexts; the one in use has a star
    #[command(alias = "list")]
    Ls(Ls),
    /// Use a context from now on
    Use(Named),
    /// Make a context, or change one
    Create(Create),
    /// Remove contexts
    Rm(Several),
    /// Show the name of the context in use
    Show,
}

/// How they are listed.
#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// Only names, one a line
    #[arg(short, long, conflicts_with = "format")]
    quiet: bool,
    #[command(flatten)]
    format: Formatted,
}

/// Which.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Its name; `default` is `local:` unless it was changed
    #[arg(add = ArgValueCompleter::new(complete::contexts))]
    name: String,
}

/// Which ones.
#[derive(Debug, clap::Args)]
pub(crate) struct Several {
    /// Also one that is in use
    #[arg(short, long)]
    force: bool,
    /// Their names
    #[arg(required = true, add = ArgValueCompleter::new(complete::contexts))]
    names: Vec<String>,
}

/// What it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// What it is for
    #[arg(long, default_value = "")]
    description: String,
    /// Its name
    #[arg(value_parser = config::name)]
    name: String,
    /// Where it leads, as `local:///srv/unmoor`; without, the backend of `-b`
    #[arg(value_name = "URI", value_parser = config::uri)]
    #[arg(add = ArgValueCompleter::new(complete::backends))]
    uri: Option<String>,
}

pub(crate) fn run(command: Command, app: &App) -> Outcome {
    let mut config = Config::load()?;
    let told = match command {
        Command::Ls(args) => return list(&args, &config, app),
        Command::Show => {
            app.out.line(&config.current())?;
            return Ok(Code::DONE);
        }
        Command::Use(args) => {
            config.backend(&args.name)?;
            config.context = (args.name != DEFAULT).then(|| args.name.clone());
            args.name
        }
        Command::Create(args) => {
            let context = Context {
                backend: led_to(args.uri, app)?,
                description: args.description,
            };
            config.contexts.insert(args.name.clone(), context);
            args.name
        }
        Command::Rm(args) => {
            for name in &args.names {
                if config.context.as_ref() == Some(name) {
                    if !args.force {
                        let text =
                            format!("context `{name}` is in use; --force removes it even so");
                        return Err(Failure::Usage(text));
                    }
                    config.context = None;
                }
                config
                    .contexts
                    .remove(name)
                    .ok_or_else(|| config::absent(name))?;
            }
            args.names.join("\n")
        }
    };
    if !app.is_dry() {
        config.store()?;
    }
    app.out.line(&told)?;
    Ok(Code::DONE)
}

/// Where a new context leads: as said, or by the option that names a backend everywhere.
fn led_to(uri: Option<String>, app: &App) -> Result<String, Failure> {
    match (uri, app.globals.backends.as_slice()) {
        (Some(uri), []) => Ok(uri),
        (None, [uri]) => config::uri(uri).map_err(Failure::Usage),
        (None, []) => {
            let text = "say where it leads, as `unmoor context create NAME local:///srv/unmoor`";
            Err(Failure::Usage(text.to_owned()))
        }
        _ => {
            let text = "a context leads to one backend: name it once";
            Err(Failure::Usage(text.to_owned()))
        }
    }
}

fn list(args: &Ls, config: &Config, app: &App) -> Outcome {
    let mut all = config.contexts.clone();
    all.entry(DEFAULT.to_owned()).or_insert_with(|| Context {
        backend: DEFAULT_BACKEND.to_owned(),
        description: String::new(),
    });
    if args.quiet {
        app.out.lines(all.keys())?;
        return Ok(Code::DONE);
    }
    let current = config.current();
    let mut listing = Listing::new(COLUMNS);
    for (name, context) in &all {
        let used = *name == current;
        let star = if used { " *" } else { "" };
        let cells = vec![
            format!("{name}{star}"),
            context.backend.clone(),
            context.description.clone(),
            used.to_string(),
        ];
        let value = json!({
            "name": name, "backend": context.backend, "description": context.description,
            "current": used,
        });
        listing.row(cells, value);
    }
    listing.print(app.out, &args.format.format)?;
    Ok(Code::DONE)
}
