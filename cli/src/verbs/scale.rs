//! `scale`: how many replicas of services run.

use unmoor::client::UpOptions;
use unmoor::name::ServiceName;
use unmoor::plan::Scope;

use crate::app::App;
use crate::change::{Pulls, by_plan};
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// Set how many replicas of services run. It stays so over later `up`s, and `plan` says it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not start what the services depend on
    #[arg(long)]
    no_deps: bool,
    /// Service and number, as `web=3`
    #[arg(required = true, value_name = "SERVICE=N", value_parser = wish)]
    #[arg(add = crate::complete::of_scale())]
    wishes: Vec<(ServiceName, u32)>,
}

pub(crate) fn wish(text: &str) -> Result<(ServiceName, u32), String> {
    let (name, count) = text.split_once('=').ok_or("write it as SERVICE=N")?;
    let name = ServiceName::parse(name).map_err(|error| error.to_string())?;
    let count = count
        .parse()
        .map_err(|_| format!("`{count}` is not a number of replicas"))?;
    Ok((name, count))
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let go_on = "`unmoor scale` with the same numbers goes on";
    for (service, count) in &args.wishes {
        let mut options = UpOptions::new();
        if args.no_deps {
            options = options.only(Scope::Alone(vec![service.clone()]));
        }
        by_plan(
            app,
            signals,
            (options, Pulls::Shown),
            go_on,
            async |options| client.scale(&stack, service, *count, options).await,
        )
        .await?;
    }
    Ok(Code::DONE)
}
