//! Verbs of docker compose that nothing here can do: refused with what does it instead.

use crate::refuse::refused;
use crate::verbs::Outcome;

/// Words that are not looked at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whatever docker compose takes
    #[arg(
        value_name = "WORDS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<String>,
}

pub(crate) fn commit() -> Outcome {
    let why = "a replica's files do not become an image";
    let instead = "`unmoor cp SERVICE:/ - > FILE` takes its files, and `unmoor image import FILE \
        NAME` makes an image of them";
    Err(refused("commit", why, instead))
}

pub(crate) fn export() -> Outcome {
    let instead = "`unmoor cp SERVICE:/ - > FILE` writes the files of a replica as an archive";
    Err(refused("export", "`cp` does that", instead))
}

pub(crate) fn publish() -> Outcome {
    let why = "Compose files are not stored in registries";
    Err(refused(
        "publish",
        why,
        "`unmoor config` writes the whole as one file",
    ))
}

pub(crate) fn bridge() -> Outcome {
    let why = "Compose files are not translated into other platforms' files";
    Err(refused(
        "bridge",
        why,
        "a backend runs them as they are: `unmoor backends`",
    ))
}
