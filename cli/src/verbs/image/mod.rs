//! `image`: the images of a backend.

mod import;
mod load;
mod ls;
mod pull;
mod rm;

use unmoor::backend::ImageEntry;

use crate::app::App;
use crate::exit::Failure;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// What can be done with images.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List images
    #[command(alias = "list")]
    Ls(ls::Args),
    /// Take images from an OCI layout or from what `docker save` wrote
    Load(load::Args),
    /// Make an image of a root file system
    Import(import::Args),
    /// Remove names, and images that nothing names or uses any more
    Rm(rm::Args),
    /// Fetch images from their registries
    Pull(pull::Args),
}

pub(crate) async fn run(command: Command, app: &App, signals: &mut Interrupts) -> Outcome {
    match command {
        Command::Ls(args) => signals.guard(ls::run(args, app)).await,
        Command::Load(args) => signals.guard(load::run(args, app)).await,
        Command::Import(args) => signals.guard(import::run(args, app)).await,
        Command::Rm(args) => signals.guard(rm::run(args, app)).await,
        Command::Pull(args) => pull::run(args, app, signals).await,
    }
}

/// One line for each image taken: its name, and its digest.
fn tell_taken(app: &App, taken: &[ImageEntry]) -> Result<(), Failure> {
    for entry in taken {
        let name = entry
            .reference
            .as_ref()
            .map(|reference| reference.familiar());
        let name = name.unwrap_or_else(|| "(no name)".to_owned());
        app.out
            .line(&format!("{} {}", crate::output::clean(&name), entry.digest))?;
    }
    Ok(())
}
