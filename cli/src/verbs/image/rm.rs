//! `image rm`: names of images go.

use unmoor::image::ImageRef;

use crate::app::App;
use crate::exit::Code;
use crate::verbs::Outcome;

/// Remove names, and images that no name and no replica needs any more.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images by name
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<ImageRef>,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    if app.is_dry() {
        return app.would(
            args.images
                .iter()
                .map(|image| format!("remove image {}", image.familiar())),
        );
    }
    let client = app.connect().await?;
    for image in &args.images {
        client.images()?.remove(image).await?;
        app.out.line(&image.familiar())?;
    }
    Ok(Code::DONE)
}
