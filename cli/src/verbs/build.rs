//! `build`: refused where something is to be built, because nothing builds images yet.

use unmoor::name::ServiceName;

use crate::app::App;
use crate::exit::Code;
use crate::refuse;
use crate::verbs::Outcome;

/// Refused: images are not built yet. Where no service has `build:`, there is nothing to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Services, and options of docker compose
    #[arg(
        value_name = "SERVICE",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<String>,
}

pub(crate) fn run(args: &Args, app: &App) -> Outcome {
    let names = args.words.iter().map(ServiceName::parse);
    let named: Vec<ServiceName> = names.filter_map(Result::ok).collect();
    refuse::builds(app, &named, "build")?;
    app.ui
        .note("no service has `build:`, so there is nothing to build");
    Ok(Code::DONE)
}
