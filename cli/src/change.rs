//! Carrying out a change: progress while it goes, and a way out that leaves what is healthy.

use std::pin::pin;
use std::time::Duration;

use unmoor::Client;
use unmoor::apply::{self, RunOptions};
use unmoor::client::UpOptions;
use unmoor::label::Selector;

use crate::app::App;
use crate::args::Services;
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::verbs::Outcome;

/// Time between two looks of a live progress.
const FRAME: Duration = Duration::from_millis(100);

/// A change that is shown and can be broken off.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    /// Where it is shown.
    pub(crate) progress: &'a Progress,
    /// What to say to someone who breaks it off.
    pub(crate) go_on: &'a str,
}

impl Change<'_> {
    /// Waits for the work, showing how it goes, until a signal asks to leave it.
    pub(crate) async fn carry_out<T>(
        &self,
        interrupts: &mut Interrupts,
        work: impl Future<Output = unmoor::Result<T>>,
    ) -> Result<T, Failure> {
        let mut work = pin!(work);
        let mut frames = tokio::time::interval(FRAME);
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome.map_err(Failure::from),
                signal = interrupts.next() => {
                    let (ended, total) = self.progress.counts();
                    let advice = format!(
                        "{ended} of {total} actions are done, what serves goes on serving; {}",
                        self.go_on
                    );
                    break Err(Failure::Interrupted(signal, Some(advice)));
                }
                _ = frames.tick() => self.progress.tick(),
            }
        };
        self.progress.finish();
        outcome
    }
}

/// Does something to the replicas of some services, or of all, showing how it goes.
pub(crate) async fn on_services(
    app: &App,
    signals: &mut Interrupts,
    which: &Services,
    go_on: &str,
    act: impl AsyncFnOnce(&Client, &Selector, RunOptions<'_>) -> unmoor::Result<apply::Report>,
) -> Outcome {
    let (client, selector) = app.select(which).await?;
    let progress = Progress::new(app.ui);
    let step = |step| progress.step(step);
    let change = Change {
        progress: &progress,
        go_on,
    };
    let work = act(&client, &selector, app.told(&step));
    let report = change.carry_out(signals, work).await?;
    progress.done(&report);
    Ok(Code::DONE)
}

/// As [`on_services`], and where none of their replicas is there, there is nothing to do: scripts
/// stop and remove before they know whether there is something.
pub(crate) async fn on_services_if_there(
    app: &App,
    signals: &mut Interrupts,
    which: &Services,
    go_on: &str,
    act: impl AsyncFnOnce(&Client, &Selector, RunOptions<'_>) -> unmoor::Result<apply::Report>,
) -> Outcome {
    let act = async |client: &Client, all: &Selector, run: RunOptions<'_>| match client
        .observe(all)
        .await?
        .replicas()
        .next()
    {
        Some(_) => act(client, all, run).await,
        None => Ok(apply::Report::default()),
    };
    on_services(app, signals, which, go_on, act).await
}

/// Whether the progress of images is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulls {
    Shown,
    Hidden,
}

impl Pulls {
    /// By `--quiet-pull`.
    pub(crate) fn unless(quiet: bool) -> Self {
        match quiet {
            true => Self::Hidden,
            false => Self::Shown,
        }
    }
}

/// Does something by a plan, showing the plan, its images and its steps.
pub(crate) async fn by_plan(
    app: &App,
    signals: &mut Interrupts,
    (options, pulls): (UpOptions<'_>, Pulls),
    go_on: &str,
    act: impl AsyncFnOnce(&UpOptions<'_>) -> unmoor::Result<apply::Report>,
) -> Result<apply::Report, Failure> {
    let progress = Progress::new(app.ui);
    let step = |step| progress.step(step);
    let plan = |plan: &_| progress.plan(plan);
    let pull = |pull| {
        if pulls == Pulls::Shown {
            progress.pull(pull);
        }
    };
    let mut options = options.on_pull(&pull).on_plan(&plan);
    options.run = app.told(&step);
    let change = Change {
        progress: &progress,
        go_on,
    };
    let report = change.carry_out(signals, act(&options)).await?;
    progress.done(&report);
    Ok(report)
}

/// Run options that tell their progress.
pub(crate) fn told<'a>(step: &'a (dyn Fn(apply::Progress) + Send + Sync)) -> RunOptions<'a> {
    let mut options = RunOptions::default();
    options.on_progress = step;
    options
}
