//! `watch`: files that change here change in the replicas, as `develop.watch` of the file says.

mod carry;
mod patterns;
mod rules;
#[cfg(target_os = "linux")]
mod tree;
#[cfg(not(target_os = "linux"))]
#[path = "tree_elsewhere.rs"]
mod tree;

use unmoor::Client;
use unmoor::backend::Feature;
use unmoor::client::UpOptions;
use unmoor::compose::OnUnsupported;
use unmoor::name::StackName;
use unmoor::plan::Scope;

use crate::app::App;
use crate::args::Services;
use crate::change::{Pulls, by_plan};
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::verbs::Outcome;
use crate::{project, session};
pub(crate) use rules::{Rule, read as rules};

use carry::Carrier;
use tree::Tree;

/// Carry changes of files into running replicas, until interrupted.
///
/// What is watched, where it goes and what happens then stands under `develop.watch` of each
/// service: `sync`, `sync+restart`, `sync+exec` and `restart`. The services are started first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not start the services first
    #[arg(long)]
    no_up: bool,
    /// Show no progress of images
    #[arg(long)]
    quiet: bool,
    /// Taken for those who are used to it: nothing is built again, so nothing is left over
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_short_help = true)]
    prune: Option<bool>,
    /// Go on without rules that cannot be followed, such as `rebuild`
    #[arg(long)]
    allow_gaps: bool,
    #[command(flatten)]
    which: Services,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let rules = rules(app, &args.which.services, args.allow_gaps)?;
    let about = Scope::services(args.which.services);
    let loaded = app.loaded(OnUnsupported::Warn, &about)?;
    let stack = &loaded.stack;
    let client = app.connect().await?;
    if rules.iter().any(|rule| rule.target.is_some()) {
        session::need(&client, Feature::Copy)?;
    }
    if !args.no_up {
        let mut options = UpOptions::new().only(about);
        options.plan.left_out = project::left_out(&loaded);
        let how = (options, Pulls::unless(args.quiet));
        by_plan(
            app,
            signals,
            how,
            "`unmoor watch` goes on",
            async |options| client.up(stack, options).await,
        )
        .await?;
    }
    if app.is_dry() {
        let told =
            |rule: &rules::Rule| format!("watch {} for {}", rule.path.display(), rule.service);
        return app.would(rules.iter().map(told));
    }
    let following = follow(app, &client, &stack.name, &rules);
    signals.guard(following).await
}

/// Carries over what changes; never ends by itself.
pub(crate) async fn follow(
    app: &App,
    client: &Client,
    stack: &StackName,
    rules: &[Rule],
) -> Result<Code, Failure> {
    let carrier = Carrier {
        app,
        client,
        stack,
        rules,
    };
    // Watched before it is carried over for the first time: a change in between is not lost.
    let mut tree = Tree::open(carrier.rules)?;
    carrier.first().await;
    for rule in carrier.rules {
        let told = format!("service {}: watching {}", rule.service, rule.path.display());
        carrier.app.ui.status(&told);
    }
    loop {
        let changed = tree.changed(carrier.rules).await?;
        carrier.carry(&changed).await;
    }
}
