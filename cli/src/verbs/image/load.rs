//! `image load`: images from an archive.

use std::path::PathBuf;

use unmoor::backend::ImageInput;

use super::tell_taken;
use crate::app::App;
use crate::exit::Code;
use crate::verbs::Outcome;

/// Take images from an OCI layout (directory or tar) or from what `docker save` wrote.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The archive or directory
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// Let names move that other images have
    #[arg(long)]
    replace: bool,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    if app.is_dry() {
        return app.would([format!("load images from {}", args.input.display())]);
    }
    let client = app.connect().await?;
    let taken = client
        .images()?
        .load(&ImageInput::Archive(args.input), args.replace)
        .await?;
    tell_taken(app, &taken)?;
    Ok(Code::DONE)
}
