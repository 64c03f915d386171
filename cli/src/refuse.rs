//! Flags of docker compose that cannot do here what they say: refused with the reason.

use unmoor::{Error, ErrorKind};

use crate::exit::Failure;

/// The refusal of a flag: what it would have to do, and what to do instead.
pub(crate) fn refused(flag: &str, why: &str, instead: &str) -> Failure {
    let error = Error::new(ErrorKind::Unsupported, format!("{flag}: {why}"));
    error.hint(instead).into()
}

/// Flags about images that are built.
#[derive(Debug, clap::Args)]
pub(crate) struct Building {
    /// Refused: images are not built yet
    #[arg(long, conflicts_with = "no_build", hide_short_help = true)]
    build: bool,
    /// Build no image; none is ever built
    #[arg(long, hide_short_help = true)]
    no_build: bool,
}

impl Building {
    /// Refuses what would need a build.
    pub(crate) fn refuse(&self) -> Result<(), Failure> {
        if !self.build {
            return Ok(());
        }
        let instead = "build it elsewhere, and bring it with `unmoor image load` or `unmoor pull`";
        Err(refused("--build", "images are not built yet", instead))
    }
}

/// True if a variable is set to what docker compose takes for yes.
pub(crate) fn is_true(variable: &str) -> bool {
    let text = std::env::var(variable).unwrap_or_default();
    matches!(
        text.to_ascii_lowercase().as_str(),
        "1" | "t" | "true" | "y" | "yes" | "on"
    )
}
