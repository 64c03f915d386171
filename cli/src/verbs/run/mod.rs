//! `run`: a one-off copy of a service, with its exit code as ours.

mod streams;
mod wishes;

use unmoor::Client;
use unmoor::backend::Feature;
use unmoor::client::UpOptions;
use unmoor::compose::OnUnsupported;
use unmoor::label::{ONE_OFF, Selector};
use unmoor::name::{ReplicaId, ServiceName};
use unmoor::plan::{Orphans, Scope};
use unmoor::spec::{PullPolicy, RestartPolicy, Role, Service, Stack};

use crate::app::App;
use crate::change::{Change, Pulls, told};
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::refuse::{Building, refused};
use crate::verbs::{Outcome, pull};
use crate::{project, session};
use streams::Streams;

/// Run a one-off copy of a service, without its published ports.
///
/// What the service depends on is started first. What the copy writes is shown, standard input is
/// passed on to it, and its exit code is ours. It gets a terminal if this is one. Ctrl-C stops it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Return once it is started, and print its name
    #[arg(short, long, conflicts_with = "interactive")]
    detach: bool,
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
    #[command(flatten)]
    wishes: wishes::Wishes,
    /// No terminal
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    no_tty: bool,
    /// Pass standard input on; `--interactive=false` does not
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    interactive: Option<bool>,
    /// Taken for those who are used to it: a terminal is given where there is one
    #[arg(short, long, conflicts_with = "no_tty")]
    tty: bool,
    /// Do not start what the service depends on
    #[arg(long)]
    no_deps: bool,
    /// Name of the copy [default: SERVICE-run-ID]
    #[arg(long)]
    name: Option<ServiceName>,
    /// When its image is fetched: `always`, `missing` or `never`, over what the file says
    #[arg(long, value_name = "POLICY", value_parser = pull::policy)]
    #[arg(add = crate::complete::one_of(&pull::POLICIES))]
    pull: Option<PullPolicy>,
    /// Show no progress of images
    #[arg(long)]
    quiet_pull: bool,
    /// Show no progress at all
    #[arg(short, long)]
    quiet: bool,
    /// Remove services that the file no longer has
    #[arg(long)]
    remove_orphans: bool,
    #[command(flatten)]
    building: Building,
    /// The service
    #[arg(add = crate::complete::of_services())]
    service: ServiceName,
    /// Command in place of the service's own
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Args {
    fn refuse(&self, app: &App) -> Result<(), Failure> {
        let named = std::slice::from_ref(&self.service);
        self.building.refuse(app, named)?;
        if self.detach && self.rm {
            let why = "nobody would be there to remove the copy when it has ended";
            return Err(refused("-d --rm", why, "`unmoor rm NAME` removes it later"));
        }
        Ok(())
    }

    /// The service as it is run once.
    fn one_off(&self, stack: &Stack, streams: Streams, app: &App) -> Result<Service, Failure> {
        let spec = project::service(stack, &self.service)?.clone();
        let mut spec = self.wishes.over(spec, (stack, &self.service), app)?;
        spec.role = Role::Job;
        spec.replicas = 1;
        spec.restart = RestartPolicy::No;
        spec.container_name = None;
        spec.user = self.user.clone().or(spec.user);
        spec.working_dir = self.workdir.clone().or(spec.working_dir);
        spec.pull = self.pull.unwrap_or(spec.pull);
        if !self.command.is_empty() {
            spec.command = Some(self.command.clone());
        }
        spec.environment.extend(session::variables(&self.env));
        streams.set(&mut spec);
        Ok(spec.label(ONE_OFF, self.service.as_str()))
    }

    fn options(&self, name: &ServiceName) -> UpOptions<'static> {
        let mut options = UpOptions::new();
        if self.remove_orphans {
            options.plan.orphans = Orphans::Remove;
        }
        match self.no_deps {
            true => options.only(Scope::Alone(vec![name.clone()])),
            false => options,
        }
    }
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    args.refuse(app)?;
    let named = vec![args.service.clone()];
    let about = match args.no_deps {
        true => Scope::Alone(named),
        false => Scope::WithDependencies(named),
    };
    let loaded = app.loaded(OnUnsupported::Refuse, &about)?;
    let stack = &loaded.stack;
    let client = app.connect().await?.in_stack(stack.name.clone());
    let streams = Streams::choose(&args, &client)?;
    let spec = args.one_off(stack, streams, app)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => project::copy_name(&args.service)?,
    };
    let id = ReplicaId::new(stack.name.clone(), name, 1);
    let mut options = args.options(&id.service);
    options.plan.left_out = project::left_out(&loaded);
    let what = (&client, stack, &id.service, spec);
    let spawned = spawn(&args, app, what, options, signals).await;
    let ended = match spawned {
        // What would be there is not there to be followed.
        Ok(()) if app.is_dry() => Ok(0),
        Ok(()) => streams.follow(app, &client, &id, signals).await,
        Err(failure) => Err(failure),
    };
    if args.rm {
        client
            .remove_once(&stack.name, &id.service, told(&|_| {}))
            .await?;
    }
    ended.map(Code::of_child)
}

async fn spawn(
    args: &Args,
    app: &App,
    (client, stack, name, spec): (&Client, &Stack, &ServiceName, Service),
    options: UpOptions<'_>,
    signals: &mut Interrupts,
) -> Result<(), Failure> {
    let ui = if args.quiet { app.ui.quiet() } else { app.ui };
    let progress = Progress::new(ui);
    let pulls = Pulls::unless(args.quiet_pull);
    let step = |step| progress.step(step);
    let pull = |pull| {
        if pulls == Pulls::Shown {
            progress.pull(pull);
        }
    };
    let mut options = options.on_pull(&pull);
    options.run = app.told(&step);
    let go_on = format!("`unmoor rm -s {name}` removes what is there of it");
    let change = Change {
        progress: &progress,
        go_on: &go_on,
    };
    let work = client.spawn_once(stack, name, spec, &options);
    change.carry_out(signals, work).await.map(drop)
}

/// Refuses before anything is sent where the backend does not let output be followed.
fn need_output(client: &Client) -> Result<(), Failure> {
    session::need(client, Feature::LogsFollow)
}

/// All there is of one copy.
fn all_of(id: &ReplicaId) -> Selector {
    Selector::service(id.stack.clone(), id.service.clone())
}
