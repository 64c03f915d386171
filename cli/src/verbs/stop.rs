//! `stop` and `restart`: replicas end, and with the second start again.

use unmoor::Client;
use unmoor::label::Selector;
use unmoor::name::{ServiceName, StackName};

use crate::app::App;
use crate::args::{Grace, Services};
use crate::change::on_services_if_there;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// Which services, and how long their stop may take.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    grace: Grace,
    #[command(flatten)]
    which: Services,
}

/// Which services, how long their stop may take, and who goes along.
#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    grace: Grace,
    /// Without services that depend on these with `restart: true`
    #[arg(long)]
    no_deps: bool,
    #[command(flatten)]
    which: Services,
}

/// Replicas end and stay; `start` starts them again.
pub(crate) async fn stop(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let (which, grace) = (&args.which, args.grace.time());
    let go_on = "`unmoor stop` goes on";
    on_services_if_there(app, signals, which, go_on, async |client, all, run| {
        client.stop(all, grace, run).await
    })
    .await
}

/// Replicas end and start again, and after them those of services that are to go along.
pub(crate) async fn restart(args: Restart, app: &App, signals: &mut Interrupts) -> Outcome {
    let (which, grace) = (&args.which, args.grace.time());
    let go_on = "`unmoor restart` goes on";
    on_services_if_there(app, signals, which, go_on, async |client, all, run| {
        let mut report = client.restart(all, grace, run).await?;
        let along = match (&all.stack, args.no_deps) {
            (Some(stack), false) => along(client, stack, &which.services).await?,
            _ => Vec::new(),
        };
        if !along.is_empty() {
            let mut further = all.clone();
            further.services = along;
            report.changed += client.restart(&further, grace, run).await?.changed;
        }
        Ok(report)
    })
    .await
}

/// Services with replicas that depend on one of these with `restart: true`, directly or not.
async fn along(
    client: &Client,
    stack: &StackName,
    named: &[ServiceName],
) -> unmoor::Result<Vec<ServiceName>> {
    let wanted = client.record(stack).await?.effective(stack);
    let observed = client.observe(&Selector::stack(stack.clone())).await?;
    let there = |name: &ServiceName| observed.replicas().any(|one| one.id.service == *name);
    let mut reached = named.to_vec();
    let mut at = 0;
    while let Some(name) = reached.get(at).cloned() {
        at += 1;
        for (other, service) in &wanted.services {
            let goes = service.depends_on.get(&name).is_some_and(|one| one.restart);
            if goes && !reached.contains(other) && there(other) {
                reached.push(other.clone());
            }
        }
    }
    Ok(reached.split_off(named.len()))
}
