//! `wait`: until replicas have ended.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use unmoor::client::DownOptions;
use unmoor::label::Selector;
use unmoor::name::ServiceName;
use unmoor::{Error, ErrorKind};

use crate::app::App;
use crate::exit::Code;
use crate::select;
use crate::verbs::Outcome;

/// Wait until the replicas of services have ended.
///
/// One line for each end; the exit code is that of the first replica that did not end with 0.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Take the stack down once the first of them has ended
    #[arg(long)]
    down_project: bool,
    /// The services
    #[arg(required = true, value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let selector = select::services(app, &client, &stack, &args.services).await?;
    let observed = client.observe(&selector).await?;
    let each: Vec<Selector> = observed
        .replicas()
        .map(|r| Selector::replica(&r.id))
        .collect();
    if each.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, "no replica is selected")
            .on(&stack)
            .into());
    }
    let mut ends: FuturesUnordered<_> = each.iter().map(|one| client.wait_ended(one)).collect();
    let mut worst = Code::DONE;
    while let Some(end) = ends.next().await {
        let (id, exit) = end?;
        let code = exit.map_or(0, |exit| exit.code);
        app.out.line(&format!("{id} exited with code {code}"))?;
        if worst == Code::DONE {
            worst = Code::of_child(code);
        }
        if args.down_project {
            break;
        }
    }
    drop(ends);
    if args.down_project {
        // In a dry run this one changes nothing either.
        client.down(&stack, &DownOptions::new()).await?;
    }
    Ok(worst)
}
