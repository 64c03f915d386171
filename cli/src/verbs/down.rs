//! `down`: the stack goes, its volumes stay.

use std::collections::BTreeSet;

use unmoor::apply::Report;
use unmoor::client::DownOptions;
use unmoor::compose::{Form, OnUnsupported};
use unmoor::image::ImageRef;
use unmoor::label::Selector;
use unmoor::name::{ServiceName, StackName};
use unmoor::plan::Scope;
use unmoor::{Client, ErrorKind};

use crate::app::App;
use crate::args::{Grace, Services};
use crate::change::{Change, on_services_if_there};
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::output::Progress;
use crate::project;
use crate::verbs::Outcome;

/// Take a stack down: its replicas, networks, secrets and configs.
///
/// Volumes stay with their data unless `-v` is given. With `-p NAME` no file is needed. What the
/// file no longer has goes too. With services named, only their replicas go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also remove named volumes, with their data
    #[arg(short, long, conflicts_with = "services")]
    volumes: bool,
    #[command(flatten)]
    grace: Grace,
    /// Also remove images of the services: `all`, or those that a build would name (`local`)
    #[arg(long, value_name = "WHICH", value_enum, conflicts_with = "services")]
    rmi: Option<Images>,
    /// Taken for those who are used to it: orphans always go
    #[arg(long)]
    remove_orphans: bool,
    #[command(flatten)]
    which: Services,
}

/// Which images go with a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Images {
    /// Those of every service
    All,
    /// Those of services with `build:` and no `image:`
    Local,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    match args.which.services.is_empty() {
        true => whole(&args, app, signals).await,
        false => some(&args, app, signals).await,
    }
}

/// Removes the replicas of some services.
async fn some(args: &Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let (which, grace) = (&args.which, args.grace.time());
    let go_on = "`unmoor down` with the same services goes on";
    on_services_if_there(app, signals, which, go_on, async |client, all, run| {
        let stopped = client.stop(all, grace, run).await?;
        let mut report: Report = client.remove_ended(all, run).await?;
        report.changed += stopped.changed;
        Ok(report)
    })
    .await
}

async fn whole(args: &Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    let mut images = BTreeSet::new();
    if let Some(which) = args.rmi {
        client.images()?;
        images = match which {
            Images::All => images_of(&client, &stack).await?,
            Images::Local => built_images(app)?,
        };
    }
    let progress = Progress::new(app.ui);
    let step = |step| progress.step(step);
    let change = Change {
        progress: &progress,
        go_on: "`unmoor down` goes on",
    };
    let mut options = DownOptions::new()
        .volumes(args.volumes)
        .grace(args.grace.time());
    options.run = app.told(&step);
    let work = client.down(&stack, &options);
    let report = change.carry_out(signals, work).await?;
    for note in &report.notes {
        app.ui.note(note);
    }
    for image in &images {
        remove(app, &client, image).await?;
    }
    progress.done(&report);
    Ok(Code::DONE)
}

/// The images of services with `build:` and no `image:`: nobody but a build gives them a name.
fn built_images(app: &App) -> Result<BTreeSet<ImageRef>, Failure> {
    if app.globals.project_name.is_some() && app.globals.files.is_empty() {
        let text = "without the file it is not known which images a build named, so all stay";
        app.ui.note(text);
        return Ok(BTreeSet::new());
    }
    let document = project::input(&app.globals)?.document(Form::default())?;
    let value = document.to_value();
    let services = value["services"].as_object().into_iter().flatten();
    let built = services.filter(|(_, one)| !one["build"].is_null() && one["image"].is_null());
    let stack = project::load(&app.globals, OnUnsupported::Warn, &Scope::All)?.stack;
    let image = |name: &String| {
        let name = ServiceName::parse(name).ok()?;
        stack
            .services
            .get(&name)
            .map(|service| service.image.clone())
    };
    Ok(built.filter_map(|(name, _)| image(name)).collect())
}

/// The images of what is wanted and of what is there.
async fn images_of(client: &Client, stack: &StackName) -> Result<BTreeSet<ImageRef>, Failure> {
    let wanted = client.record(stack).await?.effective(stack);
    let mut images: BTreeSet<ImageRef> = wanted
        .services
        .into_values()
        .map(|service| service.image)
        .collect();
    let observed = client.observe(&Selector::stack(stack.clone())).await?;
    let there = observed.replicas();
    images.extend(there.filter_map(|replica| replica.image.parse().ok()));
    Ok(images)
}

async fn remove(app: &App, client: &Client, image: &ImageRef) -> Result<(), Failure> {
    let name = image.familiar();
    if app.is_dry() {
        app.ui.status(&format!("image {name}: would be removed"));
        return Ok(());
    }
    match client.images()?.remove(image).await {
        Ok(()) => app.ui.status(&format!("image {name}: removed")),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // Another stack runs on it.
        Err(error) if error.kind() == ErrorKind::WrongPhase => {
            app.ui
                .warn(&format!("image {name} stays: {}", error.chain()));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
