//! `image import`: an image of a root file system.

use std::path::PathBuf;

use unmoor::backend::ImageInput;
use unmoor::image::ImageRef;

use super::tell_taken;
use crate::app::App;
use crate::exit::Code;
use crate::verbs::Outcome;

/// Make an image of a root file system. A name that another image has moves to the new one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Setting of the image, as `ENTRYPOINT ["/app"]`, `CMD …`, `ENV k=v`, `EXPOSE 80`, `USER u`,
    /// `WORKDIR d`, `VOLUME d`, `STOPSIGNAL s`, `LABEL k=v`; repeatable
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// Leave a name that another image has
    #[arg(long)]
    no_replace: bool,
    /// Tar file or directory with the root file system
    file: PathBuf,
    /// Name of the image
    #[arg(value_name = "IMAGE")]
    reference: ImageRef,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    if app.is_dry() {
        return app.would([format!(
            "import {} as {}",
            args.file.display(),
            args.reference.familiar()
        )]);
    }
    let client = app.connect().await?;
    let input = ImageInput::Rootfs {
        path: args.file,
        reference: args.reference,
        changes: args.changes,
    };
    let taken = client.images()?.load(&input, !args.no_replace).await?;
    tell_taken(app, &taken)?;
    Ok(Code::DONE)
}
