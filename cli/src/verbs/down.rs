//! `down`: the stack goes, its volumes stay.

use std::time::Duration;

use unmoor::client::DownOptions;

use crate::app::App;
use crate::change::Change;
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
    let mut options = DownOptions::new()
        .volumes(args.volumes)
        .grace(args.timeout.map(Duration::from_secs));
    options.run = app.told(&step);
    let work = client.down(&stack, &options);
    let report = change.carry_out(signals, work).await?;
    for note in &report.notes {
        app.ui.note(note);
    }
    progress.done(&report);
    Ok(Code::DONE)
}
