//! `link`: one service reaches another by a name.

use unmoor::name::{Alias, ServiceName, StackName};
use unmoor::spec::{Link, LinkTarget};

use crate::app::App;
use crate::change::Change;
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::verbs::Outcome;

/// Let one service reach another by a name, at once and without a restart where the backend can.
///
/// The link stays over later `up`s until `unlink`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service that shall reach the other
    #[arg(add = crate::complete::of_services())]
    from: ServiceName,
    /// The service to reach, `stack/service` for another stack, and the name if it shall differ
    #[arg(value_name = "[STACK/]TO[:ALIAS]", value_parser = target)]
    #[arg(add = crate::complete::of_services())]
    to: Link,
}

fn target(text: &str) -> Result<Link, String> {
    let (target, alias) = match text.split_once(':') {
        Some((target, alias)) => (target, Some(alias)),
        None => (text, None),
    };
    let (stack, service) = match target.split_once('/') {
        Some((stack, service)) => (Some(stack), service),
        None => (None, target),
    };
    let stack = stack
        .map(StackName::parse)
        .transpose()
        .map_err(|error| error.to_string())?;
    let service = ServiceName::parse(service).map_err(|error| error.to_string())?;
    let alias = match alias {
        Some(alias) => Alias::parse(alias).map_err(|error| error.to_string())?,
        None => Alias::from(&service),
    };
    Ok(Link {
        target: LinkTarget { stack, service },
        alias,
        port: None,
    })
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let progress = Progress::new(app.ui);
    let change = Change {
        progress: &progress,
        go_on: "the same `unmoor link` goes on",
    };
    let report = change
        .carry_out(signals, client.link(&stack, &args.from, args.to))
        .await?;
    progress.done(&report);
    Ok(Code::DONE)
}
