//! What `up` and `create` share: what is made anew, what goes, and what the command line says over
//! the file.

use unmoor::client::UpOptions;
use unmoor::name::ServiceName;
use unmoor::plan::{Orphans, Recreate, Scope};
use unmoor::spec::{DriftPolicy, PullPolicy, Stack};

use crate::app::App;
use crate::change::Pulls;
use crate::exit::Failure;
use crate::refuse::{Building, is_true};
use crate::verbs::{pull, scale};
use crate::{complete, project};

/// Variable that keeps `up` from telling of services that the file no longer has.
const IGNORE_ORPHANS: &str = "COMPOSE_IGNORE_ORPHANS";

/// How a stack is made.
#[derive(Debug, clap::Args)]
pub(crate) struct Making {
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
    /// What becomes of what was changed on the platform, over what services say: `reconcile`,
    /// `report` or `ignore`
    #[arg(long, value_name = "HOW", value_parser = drift)]
    #[arg(add = complete::one_of(&["reconcile", "report", "ignore"]))]
    drift: Option<DriftPolicy>,
    /// Number of replicas of a service, as `web=3`, over what its file says; repeatable
    #[arg(long, value_name = "SERVICE=N", value_parser = scale::wish)]
    #[arg(add = complete::of_scale())]
    scale: Vec<(ServiceName, u32)>,
    /// When images are fetched: `always`, `missing` or `never`, over what the file says
    #[arg(long, value_name = "POLICY", value_parser = pull::policy)]
    #[arg(add = complete::one_of(&pull::POLICIES))]
    pull: Option<PullPolicy>,
    /// Show no progress of images
    #[arg(long)]
    quiet_pull: bool,
    /// Taken for those who are used to it: nothing is asked
    #[arg(short, long)]
    yes: bool,
    /// Go on without what the backend cannot do
    #[arg(long)]
    allow_gaps: bool,
    #[command(flatten)]
    building: Building,
}

fn drift(text: &str) -> Result<DriftPolicy, String> {
    match text {
        "reconcile" => Ok(DriftPolicy::Reconcile),
        "report" => Ok(DriftPolicy::Report),
        "ignore" => Ok(DriftPolicy::Ignore),
        _ => Err("use reconcile, report or ignore".to_owned()),
    }
}

impl Making {
    /// The stack of the files, with what the command line says over it, and how what is meant of it
    /// is changed. Services that are named are taken in whatever their profiles.
    pub(crate) fn wanted(
        &self,
        app: &App,
        about: Scope,
    ) -> Result<(Stack, UpOptions<'static>), Failure> {
        self.building
            .refuse(app, about.names().unwrap_or_default())?;
        let mut options = self.options()?.only(about);
        let about = &options.plan.only;
        let loaded = app.loaded(project::on_unsupported(self.allow_gaps), about)?;
        options.plan.left_out = project::left_out(&loaded);
        for (name, _) in &self.scale {
            project::active(&loaded, name)?;
        }
        let mut stack = loaded.stack;
        if let Some(policy) = self.pull {
            for service in stack.services.values_mut() {
                service.pull = policy;
            }
        }
        Ok((stack, options))
    }

    /// The options of the change.
    fn options(&self) -> Result<UpOptions<'static>, Failure> {
        let mut options = UpOptions::new();
        options.plan.orphans = match (self.remove_orphans, is_true(IGNORE_ORPHANS)) {
            (true, true) => {
                let text = format!("{IGNORE_ORPHANS} and --remove-orphans exclude each other");
                return Err(Failure::Usage(text));
            }
            (true, false) => Orphans::Remove,
            (false, true) => Orphans::Ignore,
            (false, false) => Orphans::Keep,
        };
        options.plan.recreate = match (self.force_recreate, self.no_recreate) {
            (true, _) => Recreate::Always,
            (_, true) => Recreate::Never,
            _ => Recreate::Changed,
        };
        options.plan.allow_gaps = self.allow_gaps;
        options.plan.drift = self.drift;
        options.scale = self.scale.iter().cloned().collect();
        Ok(options)
    }

    /// True if it goes on without what cannot be done.
    pub(crate) fn allows_gaps(&self) -> bool {
        self.allow_gaps
    }

    /// Whether the progress of images is shown.
    pub(crate) fn pulls(&self) -> Pulls {
        Pulls::unless(self.quiet_pull)
    }
}
