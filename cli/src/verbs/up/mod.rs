//! `up`: the stack as its file says; without `-d`, attached to it until it ends or is stopped.

mod attached;

use std::time::Duration;

use unmoor::name::ServiceName;
use unmoor::plan::{Scope, Start};

use crate::app::App;
use crate::args::Grace;
use crate::change::by_plan;
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::making::Making;
use crate::refuse::refused;
use crate::verbs::{Outcome, watch};

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
    /// Make everything and start nothing
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    no_start: bool,
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    grace: Grace,
    /// Volumes without a name anew with each new replica; they always are
    #[arg(short = 'V', long)]
    renew_anon_volumes: bool,
    #[command(flatten)]
    attached: attached::Attached,
    /// Also carry changes of files into the replicas, as `unmoor watch` does
    #[arg(short, long, conflicts_with_all = ["detach", "wait", "no_start"])]
    watch: bool,
    /// Make replicas anew that are there for the sake of the services named
    #[arg(long, conflicts_with = "no_recreate")]
    always_recreate_deps: bool,
    /// Refused: no keys are listened to while a stack is attached
    #[arg(long, hide_short_help = true)]
    menu: bool,
    /// Only the services named, without what they depend on
    #[arg(long, requires = "services")]
    no_deps: bool,
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

impl Args {
    fn refuse(&self) -> Result<(), Failure> {
        if self.menu {
            let why = "no keys are listened to while a stack is attached";
            return Err(refused("--menu", why, "Ctrl-C stops the stack"));
        }
        Ok(())
    }

    fn stays(&self) -> bool {
        !(self.detach || self.no_start || self.wait)
    }
}

/// What a plan is about by the services named and `--no-deps`.
pub(crate) fn scope(services: Vec<ServiceName>, no_deps: bool) -> Scope {
    match no_deps {
        true => Scope::Alone(services),
        false => Scope::services(services),
    }
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    args.refuse()?;
    let about = scope(args.services.clone(), args.no_deps);
    let (stack, mut options) = args.making.wanted(app, about)?;
    args.attached.check(&stack)?;
    if args.wait {
        options = options.wait(Duration::from_secs(args.wait_timeout));
    }
    if args.no_start {
        options.plan.start = Start::Later;
    }
    options.plan.grace = args.grace.time();
    options.plan.recreate_dependencies = args.always_recreate_deps;
    let rules = match args.watch {
        true => watch::rules(app, &args.services, args.making.allows_gaps())?,
        false => Vec::new(),
    };
    let client = app.connect().await?;
    let stays = args.stays() && !app.is_dry() && args.attached.is_possible(app, &client)?;
    let begun = client.clock().now();
    let go_on = "`unmoor up` goes on, `unmoor down` takes it back";
    let how = (options, args.making.pulls());
    by_plan(app, signals, how, go_on, async |options| {
        client.up(&stack, options).await
    })
    .await?;
    if !stays {
        return Ok(Code::DONE);
    }
    let about = attached::About {
        client: &client,
        stack: &stack,
        services: &args.services,
        begun,
        grace: args.grace.time(),
    };
    let staying = args.attached.stay(app, about, signals);
    if !args.watch {
        return staying.await;
    }
    tokio::select! {
        outcome = staying => outcome,
        failed = watch::follow(app, &client, &stack.name, &rules) => failed,
    }
}
