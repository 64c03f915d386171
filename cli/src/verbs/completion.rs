//! `completion` and `man`: what shells and manual readers want of this program.

use std::path::PathBuf;

use clap_complete::env::EnvCompleter;

use crate::app::App;
use crate::exit::{Code, Failure};
use crate::verbs::Outcome;
use crate::{args, examples};

/// Print what makes a shell complete words of this program, names of services included.
///
/// For bash: `source <(unmoor completion bash)`; for zsh the same; for fish:
/// `unmoor completion fish | source`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

/// Shells that can be helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The variable by which the shell asks; see `main`.
pub(crate) const VARIABLE: &str = "UNMOOR_COMPLETE";

pub(crate) fn run(said: &Args, app: &App) -> Outcome {
    let shell: &dyn EnvCompleter = match said.shell {
        Shell::Bash => &clap_complete::env::Bash,
        Shell::Zsh => &clap_complete::env::Zsh,
        Shell::Fish => &clap_complete::env::Fish,
    };
    let mut script = Vec::new();
    let written = shell.write_registration(VARIABLE, "unmoor", "unmoor", "unmoor", &mut script);
    written.map_err(Failure::Output)?;
    app.out.bytes(&script)?;
    Ok(Code::DONE)
}

/// Write the manual pages.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Directory for them
    directory: PathBuf,
}

pub(crate) fn man(said: &Man, app: &App) -> Outcome {
    let failed = |error| Failure::System("write manual pages", error);
    if app.is_dry() {
        return app.would([format!(
            "write manual pages to {}",
            said.directory.display()
        )]);
    }
    std::fs::create_dir_all(&said.directory).map_err(failed)?;
    examples::pages(args::command(), &said.directory).map_err(failed)?;
    Ok(Code::DONE)
}
