//! `down`: the stack goes, its volumes stay.

use std::time::Duration;

use unmoor::client::DownOptions;
use unmoor::label::Selector;

use crate::app::App;
use crate::change::{Change, told};
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::verbs::Outcome;

/// Take a stack down: its replicas, networks, secrets and configs.
///
/// Volumes stay with their data unless `-v` is given. With `-p NAME` no file is needed. What the
/// file no longer has goes too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also remove named volumes, with their data
    #[arg(short, long)]
    volumes: bool,
    /// Time between stop signal and kill, over what the file says
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Taken for those who are used to it: orphans always go
    #[arg(long)]
    remove_orphans: bool,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let progress = Progress::new(app.ui);
    let step = |step| progress.step(step);
    let change = Change {
        progress: &progress,
        go_on: "`unmoor down` goes on",
    };
    let work = async {
        if let Some(seconds) = args.timeout {
            let selector = Selector::stack(stack.clone());
            let grace = Some(Duration::from_secs(seconds));
            match client.stop(&selector, grace, told(&step)).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        let options = DownOptions::new().volumes(args.volumes).on_progress(&step);
        client.down(&stack, &options).await
    };
    let report = change.carry_out(signals, work).await?;
    for note in &report.notes {
        app.ui.note(note);
    }
    progress.done(&report);
    Ok(Code::DONE)
}
