//! `update`: one service gets another image, number of replicas or variables.

use unmoor::client::UpOptions;
use unmoor::image::ImageRef;
use unmoor::name::ServiceName;
use unmoor::spec::Service;

use crate::app::App;
use crate::change::{Pulls, by_plan};
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
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
    let how = (UpOptions::new(), Pulls::Shown);
    let go_on = "the same `unmoor update` goes on";
    by_plan(app, signals, how, go_on, async |options| {
        let change = |service| args.changed(service);
        client
            .update_with(&stack, &args.service, change, options)
            .await
    })
    .await?;
    Ok(Code::DONE)
}
