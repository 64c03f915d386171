//! `up`: the stack as its file says; without `-d`, attached to it until it ends or is stopped.

use std::time::Duration;

use unmoor::client::UpOptions;
use unmoor::label::Selector;
use unmoor::name::ServiceName;
use unmoor::plan::{Recreate, Scope, Start};
use unmoor::spec::{PullPolicy, Stack};

use crate::app::App;
use crate::attach;
use crate::change::Change;
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::output::{LogStyle, Progress};
use crate::project;
use crate::verbs::Outcome;

/// Start a stack, or bring it to what its file says.
///
/// The same file again changes nothing. Without `-d` it stays, shows what the replicas write, and
/// stops them on Ctrl-C; a second Ctrl-C kills them. Ctrl-C while something is being changed only
/// stops changing: what serves goes on serving, and the next `up` finishes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Return once everything is started
    #[arg(short, long)]
    detach: bool,
    /// Return once everything serves; implies -d
    #[arg(long)]
    wait: bool,
    /// Longest wait of --wait
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait_timeout: u64,
    /// Remove services that the file no longer has
    #[arg(long, env = "COMPOSE_REMOVE_ORPHANS", hide_env_values = true)]
    #[arg(value_parser = clap::builder::FalseyValueParser::new())]
    remove_orphans: bool,
    /// Make every replica anew
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,
    /// Keep replicas although their service changed
    #[arg(long)]
    no_recreate: bool,
    /// Make everything and start nothing
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    no_start: bool,
    /// Number of replicas of a service, as `web=3`, over what its file says; repeatable
    #[arg(long, value_name = "SERVICE=N", value_parser = super::scale::wish)]
    scale: Vec<(ServiceName, u32)>,
    /// When images are fetched: `always`, `missing` or `never`, over what the file says
    #[arg(long, value_name = "POLICY", value_parser = super::pull::policy)]
    pull: Option<PullPolicy>,
    /// Show no progress of images
    #[arg(long)]
    quiet_pull: bool,
    /// No replica's name before each line of an attached stack
    #[arg(long)]
    no_log_prefix: bool,
    /// When each line was written, in an attached stack
    #[arg(long)]
    timestamps: bool,
    /// Taken for those who are used to it: nothing is asked
    #[arg(short, long)]
    yes: bool,
    /// Go on without what the backend cannot do
    #[arg(long)]
    allow_gaps: bool,
    /// Only the services named, without what they depend on
    #[arg(long, requires = "services")]
    no_deps: bool,
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

impl Args {
    fn options(&self) -> UpOptions<'static> {
        let mut options = UpOptions::new().remove_orphans(self.remove_orphans);
        if self.wait {
            options = options.wait(Duration::from_secs(self.wait_timeout));
        }
        options.plan.recreate = match (self.force_recreate, self.no_recreate) {
            (true, _) => Recreate::Always,
            (_, true) => Recreate::Never,
            _ => Recreate::Changed,
        };
        options.plan.allow_gaps = self.allow_gaps;
        if self.no_start {
            options.plan.start = Start::Later;
        }
        options.only(scope(self.services.clone(), self.no_deps))
    }
}

/// What a plan is about by the services named and `--no-deps`.
pub(crate) fn scope(services: Vec<ServiceName>, no_deps: bool) -> Scope {
    match no_deps {
        true => Scope::Alone(services),
        false => Scope::services(services),
    }
}

impl Args {
    /// Puts what the command line says over what the file says.
    fn over(&self, stack: &mut Stack) -> Result<(), Failure> {
        for (name, count) in &self.scale {
            project::service(stack, name)?;
            if let Some(service) = stack.services.get_mut(name) {
                service.replicas = *count;
            }
        }
        if let Some(policy) = self.pull {
            for service in stack.services.values_mut() {
                service.pull = policy;
            }
        }
        Ok(())
    }
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let mut stack = app.stack(project::on_unsupported(args.allow_gaps))?;
    args.over(&mut stack)?;
    let client = app.connect().await?;
    let stays = !args.detach
        && !args.no_start
        && !args.wait
        && !app.is_dry()
        && attach::is_possible(app, &client);
    let begun = client.clock().now();
    let progress = Progress::new(app.ui);
    let (step, pull, plan) = (
        |step| progress.step(step),
        |pull| {
            if !args.quiet_pull {
                progress.pull(pull);
            }
        },
        |plan: &_| progress.plan(plan),
    );
    let mut options = args.options().on_pull(&pull).on_plan(&plan);
    options.run = app.told(&step);
    let change = Change {
        progress: &progress,
        go_on: "`unmoor up` goes on, `unmoor down` takes it back",
    };
    let report = change
        .carry_out(signals, client.up(&stack, &options))
        .await?;
    progress.done(&report);
    if !stays {
        return Ok(Code::DONE);
    }
    let mut selector = Selector::stack(stack.name.clone());
    selector.services.clone_from(&args.services);
    let look = LogStyle {
        prefix: !args.no_log_prefix,
        timestamps: args.timestamps,
        json: false,
    };
    attach::stay(app, &client, selector, (begun, look), signals).await
}
