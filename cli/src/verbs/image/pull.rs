//! `image pull`: images from their registries.

use unmoor::image::{ImageRef, Platform};
use unmoor::spec::PullPolicy;

use crate::app::App;
use crate::change::Change;
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::verbs::Outcome;

/// Fetch images from their registries; what is there already is not fetched again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Platform, as `linux/arm64` [default: this machine's]
    #[arg(long)]
    platform: Option<Platform>,
    /// Images by name
    #[arg(required = true, value_name = "IMAGE", add = crate::complete::of_images())]
    images: Vec<ImageRef>,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    if app.is_dry() {
        return app.would(
            args.images
                .iter()
                .map(|image| format!("pull {}", image.familiar())),
        );
    }
    let client = app.connect().await?;
    let images = client.images()?;
    for image in &args.images {
        let progress = Progress::new(app.ui);
        let pull = |pull| progress.pull(pull);
        let change = Change {
            progress: &progress,
            go_on: "what is fetched stays",
        };
        let platform = args.platform.as_ref();
        let work = images.resolve(image, platform, PullPolicy::Always, &pull);
        let found = change.carry_out(signals, work).await?;
        app.out
            .line(&format!("{} {}", image.familiar(), found.digest))?;
    }
    Ok(Code::DONE)
}
