//! `conformance`: a backend against what every backend promises.

use crate::app::App;
use crate::exit::Code;
use crate::verbs::Outcome;

/// Check a backend.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The backend [default: that of -b]
    uri: Option<String>,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let _ = (args, app);
    Ok(Code::DONE)
}
