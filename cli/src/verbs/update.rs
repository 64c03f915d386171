//! `update`: one service gets another image, number of replicas or variables.

use unmoor::client::UpOptions;
use unmoor::image::ImageRef;
use unmoor::name::ServiceName;
use unmoor::spec::Service;

use crate::app::App;
use crate::change::Change;
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::session;
use crate::verbs::Outcome;

/// Change a service that runs, by the order its update policy says. The next `up` goes by its file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Image
    #[arg(long)]
    image: Option<ImageRef>,
    /// Number of replicas
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
    /// Variable, as `NAME=value`, or `NAME` for the value here; repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The service
    #[arg(add = crate::complete::of_services())]
    service: ServiceName,
}

impl Args {
    fn changed(&self, mut service: Service) -> Service {
        if let Some(image) = &self.image {
            service.image = image.clone();
        }
        if let Some(replicas) = self.replicas {
            service.replicas = replicas;
        }
        service.environment.extend(session::variables(&self.env));
        service
    }
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    if args.image.is_none() && args.replicas.is_none() && args.env.is_empty() {
        let text = "say what changes: --image, --replicas or --env";
        return Err(Failure::Usage(text.to_owned()));
    }
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let progress = Progress::new(app.ui);
    let (step, pull, plan) = (
        |step| progress.step(step),
        |pull| progress.pull(pull),
        |plan: &_| progress.plan(plan),
    );
    let mut options = UpOptions::new().on_pull(&pull).on_plan(&plan);
    options.run = app.told(&step);
    let work = client.update_with(
        &stack,
        &args.service,
        |service| args.changed(service),
        &options,
    );
    let change = Change {
        progress: &progress,
        go_on: "the same `unmoor update` goes on",
    };
    let report = change.carry_out(signals, work).await?;
    progress.done(&report);
    Ok(Code::DONE)
}
