//! `rollback`: a service is what it was before its last change.

use unmoor::client::UpOptions;
use unmoor::name::ServiceName;

use crate::app::App;
use crate::change::{Pulls, by_plan};
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;

/// Bring a service back to what it was before its last change, over the image that ran then.
///
/// It goes as the service's rollback policy says, with as many replicas as now. A second time undoes
/// the first. The next `up` goes by its file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service
    #[arg(add = crate::complete::of_services())]
    service: ServiceName,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let how = (UpOptions::new(), Pulls::Shown);
    let go_on = "`unmoor up` goes by its file again";
    by_plan(app, signals, how, go_on, async |options| {
        client.rollback(&stack, &args.service, options).await
    })
    .await?;
    Ok(Code::DONE)
}
