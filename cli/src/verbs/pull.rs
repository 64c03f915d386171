//! `pull` and `push`: the images of a stack's services, from and to their registries.

use std::collections::BTreeMap;

use unmoor::backend::Feature;
use unmoor::compose::OnUnsupported;
use unmoor::image::{ImageRef, Platform};
use unmoor::name::ServiceName;
use unmoor::plan::Scope;
use unmoor::spec::{PullPolicy, Stack};

use crate::app::App;
use crate::change::Change;
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::refuse::buildable;
use crate::verbs::Outcome;
use crate::{project, session};

/// Which images, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also the images of services that these depend on
    #[arg(long)]
    include_deps: bool,
    /// Leave out images of services that have `build:`
    #[arg(long)]
    ignore_buildable: bool,
    /// Go on with the others if one fails
    #[arg(long, visible_alias = "ignore-push-failures")]
    ignore_pull_failures: bool,
    /// Fetch an image that is there: `always`, or only if it is `missing`
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    #[arg(add = crate::complete::one_of(&POLICIES))]
    policy: Option<PullPolicy>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Only these services
    #[arg(value_name = "SERVICE", add = crate::complete::of_services())]
    services: Vec<ServiceName>,
}

/// When images are fetched.
pub(crate) const POLICIES: [&str; 3] = ["always", "missing", "never"];

/// Reads when images are fetched.
pub(crate) fn policy(text: &str) -> Result<PullPolicy, String> {
    match text {
        "always" => Ok(PullPolicy::Always),
        "missing" => Ok(PullPolicy::Missing),
        "never" => Ok(PullPolicy::Never),
        _ => Err("use always, missing or never".to_owned()),
    }
}

/// From or to the registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Pull,
    Push,
}

pub(crate) async fn run(args: Args, way: Way, app: &App, signals: &mut Interrupts) -> Outcome {
    let about = Scope::services(args.services.clone());
    let stack = app.loaded(OnUnsupported::Warn, &about)?.stack;
    let mut wanted = images(&stack, &args)?;
    if args.ignore_buildable {
        let built = buildable(app)?;
        let built = built.iter().filter_map(|name| stack.services.get(name));
        let built: Vec<_> = built.map(|service| &service.image).collect();
        wanted.retain(|image, _| !built.contains(&image));
    }
    if app.is_dry() {
        let verb = if way == Way::Pull { "pull" } else { "push" };
        return app.would(
            wanted
                .keys()
                .map(|image| format!("{verb} {}", image.familiar())),
        );
    }
    let client = app.connect().await?;
    let feature = if way == Way::Pull {
        Feature::ImagePull
    } else {
        Feature::ImagePush
    };
    session::need(&client, feature)?;
    let images = client.images()?;
    let mut failed = None;
    for (image, platform) in &wanted {
        let ui = if args.quiet { app.ui.quiet() } else { app.ui };
        let progress = Progress::new(ui);
        let tell = |travelled| match way {
            Way::Pull => progress.pull(travelled),
            Way::Push => progress.push(travelled),
        };
        let change = Change {
            progress: &progress,
            go_on: "what has travelled stays where it is",
        };
        let policy = args.policy.unwrap_or(PullPolicy::Always);
        let outcome = match way {
            Way::Pull => {
                let work = images.resolve(image, platform.as_ref(), policy, &tell);
                change
                    .carry_out(signals, work)
                    .await
                    .map(|found| found.digest)
            }
            Way::Push => change.carry_out(signals, images.push(image, &tell)).await,
        };
        match outcome {
            Ok(digest) => app.out.line(&format!("{} {digest}", image.familiar()))?,
            Err(Failure::Library(error)) if args.ignore_pull_failures => {
                app.ui
                    .warn(&format!("{}: {}", image.familiar(), error.chain()));
            }
            Err(Failure::Library(error)) => {
                // The others are tried as well; the first failure is the outcome.
                let text = format!("{}: {}", image.familiar(), error.chain());
                match &failed {
                    None => failed = Some(error),
                    Some(_) => app.ui.warn(&text),
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Code::DONE),
    }
}

/// The images of the services, each once, with the platform that is asked for.
fn images(stack: &Stack, args: &Args) -> Result<BTreeMap<ImageRef, Option<Platform>>, Failure> {
    let mut names: Vec<ServiceName> = args.services.clone();
    if names.is_empty() {
        names = stack.services.keys().cloned().collect();
    }
    let mut images = BTreeMap::new();
    let mut at = 0;
    while let Some(name) = names.get(at).cloned() {
        at += 1;
        let service = project::service(stack, &name)?;
        let platform = service
            .platform
            .as_deref()
            .map(str::parse::<Platform>)
            .transpose();
        images.insert(
            service.image.clone(),
            platform.map_err(|error| Failure::Usage(error.to_string()))?,
        );
        if args.include_deps {
            let further = service
                .depends_on
                .keys()
                .filter(|name| !names.contains(name));
            let further: Vec<ServiceName> = further.cloned().collect();
            names.extend(further);
        }
    }
    Ok(images)
}
