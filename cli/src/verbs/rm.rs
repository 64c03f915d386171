//! `rm`: replicas that have ended go.

use unmoor::apply::{Report, RunOptions};
use unmoor::label::{ONE_OFF, Selector};
use unmoor::name::ServiceName;
use unmoor::{Client, Error, ErrorKind};

use crate::app::App;
use crate::args::Services;
use crate::change::on_services_if_there;
use crate::interrupt::Interrupts;
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
    /// Also volumes without a name; they always go with their replica
    #[arg(short, long)]
    volumes: bool,
    #[command(flatten)]
    which: Services,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let go_on = "`unmoor rm` goes on";
    on_services_if_there(
        app,
        signals,
        &args.which,
        go_on,
        async |client, all, run| {
            if args.stop {
                client.stop(all, None, run).await?;
            }
            remove_ended(client, all, run).await
        },
    )
    .await
}

async fn remove_ended(
    client: &Client,
    selector: &Selector,
    run: RunOptions<'_>,
) -> unmoor::Result<Report> {
    let once = ended_once(client, selector).await?;
    let mut total = client.remove_ended(selector, run).await?;
    if let Some(stack) = &selector.stack {
        for name in &once {
            let report = client.remove_once(stack, name, run).await?;
            total.changed += report.changed;
        }
    }
    Ok(total)
}

/// One-off copies that have ended, which the stack must forget as well.
async fn ended_once(client: &Client, selector: &Selector) -> unmoor::Result<Vec<ServiceName>> {
    let observed = client.observe(selector).await?;
    if observed.replicas().next().is_none() {
        return Err(Error::new(ErrorKind::NotFound, "no replica is selected"));
    }
    let ended = observed
        .replicas()
        .filter(|replica| !crate::view::is_there(replica) && replica.labels.contains_key(ONE_OFF));
    Ok(ended.map(|replica| replica.id.service.clone()).collect())
}
