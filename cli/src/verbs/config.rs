//! `config`: what the Compose files come to, or why they do not.

use unmoor::compose::{self, OnUnsupported};

use crate::app::App;
use crate::exit::Code;
use crate::verbs::Outcome;

/// Check the Compose files and show what they mean.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print
    #[arg(long, value_enum, default_value = "yaml")]
    format: Form,
    /// Only the names of the services
    #[arg(long, group = "what")]
    services: bool,
    /// Only the images, one a service
    #[arg(long, group = "what")]
    images: bool,
    /// Only the names of the volumes
    #[arg(long, group = "what")]
    volumes: bool,
    /// Only check
    #[arg(short, long, group = "what")]
    quiet: bool,
}

/// How the whole is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// As a Compose file
    Yaml,
    /// As JSON of the same shape
    Json,
}

pub(crate) fn run(args: &Args, app: &App) -> Outcome {
    let stack = app.stack(OnUnsupported::Warn)?;
    if args.quiet {
        return Ok(Code::DONE);
    }
    if args.format == Form::Json && !(args.services || args.images || args.volumes) {
        app.out.json(&compose::to_json(&stack))?;
        return Ok(Code::DONE);
    }
    let text = if args.services {
        lines(stack.services.keys())
    } else if args.images {
        lines(
            stack
                .services
                .values()
                .map(|service| service.image.familiar()),
        )
    } else if args.volumes {
        lines(stack.volumes.keys())
    } else {
        compose::to_yaml(&stack)
    };
    app.out.text(&text)?;
    Ok(Code::DONE)
}

fn lines<T: std::fmt::Display>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| format!("{item}\n")).collect()
}
