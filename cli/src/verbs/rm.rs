//! `rm`: replicas that have ended go.

use unmoor::label::{ONE_OFF, Selector};
use unmoor::name::ServiceName;
use unmoor::{Client, Error, ErrorKind};

use crate::app::App;
use crate::change::Change;
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::select;
use crate::verbs::Outcome;

/// Remove replicas that have ended; the next `up` makes them anew. One-off copies go for good.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stop those that run first
    #[arg(short, long)]
    stop: bool,
    /// Never ask; never done, taken for those who are used to it
    #[arg(short, long)]
    force: bool,
    /// Only these services
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let selector = select::services(&client, &stack, &args.services).await?;
    let progress = Progress::new(app.ui);
    let step = |step| progress.step(step);
    let change = Change {
        progress: &progress,
        go_on: "`unmoor rm` goes on",
    };
    if args.stop {
        change
            .carry_out(signals, client.stop(&selector, None, app.told(&step)))
            .await?;
    }
    let once = ended_once(&client, &selector).await?;
    let work = async {
        let mut total = client.remove_ended(&selector, app.told(&step)).await?;
        for name in &once {
            let report = client.remove_once(&stack, name, app.told(&step)).await?;
            total.changed += report.changed;
        }
        Ok(total)
    };
    let report = change.carry_out(signals, work).await?;
    progress.done(&report);
    Ok(Code::DONE)
}

/// One-off copies that have ended, which the stack must forget as well.
async fn ended_once(client: &Client, selector: &Selector) -> Result<Vec<ServiceName>, Failure> {
    let observed = client.observe(selector).await?;
    if observed.replicas().next().is_none() {
        return Err(Error::new(ErrorKind::NotFound, "no replica is selected").into());
    }
    let ended = observed
        .replicas()
        .filter(|replica| !crate::view::is_there(replica) && replica.labels.contains_key(ONE_OFF));
    Ok(ended.map(|replica| replica.id.service.clone()).collect())
}
