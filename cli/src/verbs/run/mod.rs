//! `run`: a one-off copy of a service, with its exit code as ours.

use unmoor::backend::Feature;
use unmoor::client::UpOptions;
use unmoor::compose::OnUnsupported;
use unmoor::label::{ONE_OFF, Selector};
use unmoor::name::ServiceName;
use unmoor::plan::Scope;
use unmoor::spec::{RestartPolicy, Role, Service};

use crate::app::App;
use crate::attach::Follow;
use crate::change::{Change, told};
use crate::exit::Code;
use crate::interrupt::Interrupts;
use crate::output::{LogStyle, Progress};
use crate::verbs::Outcome;
use crate::{project, session};

/// Run a one-off copy of a service, without its published ports.
///
/// What the service depends on is started first. What the copy writes is shown, and its exit code
/// passed on. Its standard input is empty. Ctrl-C stops it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove the copy when it has ended
    #[arg(long)]
    rm: bool,
    /// Variable, as `NAME=value`, or `NAME` for the value here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// User, as `name`, `uid` or `uid:gid`
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Do not start what the service depends on
    #[arg(long)]
    no_deps: bool,
    /// Name of the copy [default: SERVICE-run-ID]
    #[arg(long)]
    name: Option<ServiceName>,
    /// The service
    #[arg(add = crate::complete::of_services())]
    service: ServiceName,
    /// Command in place of the service's own
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Args {
    /// The service as it is run once.
    fn one_off(&self, mut spec: Service) -> Service {
        spec.role = Role::Job;
        spec.replicas = 1;
        spec.restart = RestartPolicy::No;
        spec.ports.clear();
        spec.container_name = None;
        spec.user = self.user.clone().or(spec.user);
        spec.working_dir = self.workdir.clone().or(spec.working_dir);
        if !self.command.is_empty() {
            spec.command = Some(self.command.clone());
        }
        spec.environment.extend(session::variables(&self.env));
        spec.label(ONE_OFF, self.service.as_str())
    }
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack(OnUnsupported::Refuse)?;
    let client = app.connect().await?.in_stack(stack.name.clone());
    session::need(&client, Feature::LogsFollow)?;
    let spec = project::service(&stack, &args.service)?.clone();
    let name = match &args.name {
        Some(name) => name.clone(),
        None => project::copy_name(&args.service)?,
    };
    let progress = Progress::new(app.ui);
    let (step, pull) = (|step| progress.step(step), |pull| progress.pull(pull));
    let mut options = UpOptions::new().on_pull(&pull);
    options.run = app.told(&step);
    if args.no_deps {
        options = options.only(Scope::Alone(vec![name.clone()]));
    }
    let go_on = format!("`unmoor rm -s {name}` removes what is there of it");
    let change = Change {
        progress: &progress,
        go_on: &go_on,
    };
    let follow = Follow {
        app,
        client: &client,
        selector: Selector::service(stack.name.clone(), name.clone()),
        since: None,
        look: LogStyle {
            prefix: false,
            timestamps: false,
            json: false,
        },
        tell_ends: false,
    };
    let spawned = client.spawn_once(&stack, &name, args.one_off(spec), &options);
    let ended = match change.carry_out(signals, spawned).await {
        // What would be there is not there to be followed.
        Ok(_) if app.is_dry() => Ok(0),
        Ok(_) => session::to_the_end(&follow, signals).await,
        Err(failure) => Err(failure),
    };
    if args.rm {
        client
            .remove_once(&stack.name, &name, told(&|_| {}))
            .await?;
    }
    ended.map(Code::of_child)
}
