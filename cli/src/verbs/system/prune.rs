//! `system prune`: what nothing uses goes.

use std::collections::BTreeSet;
use std::io::Write as _;

use unmoor::Client;
use unmoor::image::ImageRef;
use unmoor::label::{ONE_OFF, Selector};
use unmoor::name::ReplicaId;

use crate::app::App;
use crate::change::told;
use crate::exit::{Code, Failure};
use crate::verbs::Outcome;
use crate::{terminal, view};

/// Remove one-off copies that have ended; with `-a` also images that no stack uses.
///
/// Stacks, their replicas and their volumes are never touched: `down` takes a stack away.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also images that no replica and no stack uses
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let client = app.connect().await?;
    let copies = ended_copies(&client).await?;
    let images = match args.all {
        true => unused_images(&client).await?,
        false => Vec::new(),
    };
    let mut words: Vec<String> = copies
        .iter()
        .map(|id| format!("remove replica {id}"))
        .collect();
    words.extend(
        images
            .iter()
            .map(|image| format!("remove image {}", image.familiar())),
    );
    if app.is_dry() {
        return app.would(words);
    }
    if words.is_empty() {
        app.ui.status("nothing to remove");
        return Ok(Code::DONE);
    }
    if !args.force && !confirmed(app, &words)? {
        return Ok(Code::NO);
    }
    for id in &copies {
        client
            .remove_once(&id.stack, &id.service, told(&|_| {}))
            .await?;
        app.out.line(&format!("replica {id}"))?;
    }
    for image in &images {
        client.images()?.remove(image).await?;
        app.out.line(&format!("image {}", image.familiar()))?;
    }
    Ok(Code::DONE)
}

/// One-off copies of all stacks that have ended.
async fn ended_copies(client: &Client) -> Result<Vec<ReplicaId>, Failure> {
    let observed = client.observe(&Selector::all()).await?;
    let ended = observed
        .replicas()
        .filter(|replica| !view::is_there(replica) && replica.labels.contains_key(ONE_OFF));
    Ok(ended.map(|replica| replica.id.clone()).collect())
}

/// Names of images that nothing runs on and no stack on record wants.
async fn unused_images(client: &Client) -> Result<Vec<ImageRef>, Failure> {
    let observed = client.observe(&Selector::all()).await?;
    let running: BTreeSet<&str> = observed
        .replicas()
        .map(|r| r.image_digest.as_str())
        .collect();
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for stack in client.stacks().await? {
        let effective = client.record(&stack).await?.effective(&stack);
        wanted.extend(
            effective
                .services
                .values()
                .map(|service| service.image.familiar()),
        );
    }
    let entries = client.images()?.list().await?;
    let unused = entries
        .into_iter()
        .filter(|entry| !running.contains(entry.digest.to_string().as_str()));
    let names = unused.filter_map(|entry| entry.reference);
    Ok(names
        .filter(|name| !wanted.contains(&name.familiar()))
        .collect())
}

/// Asks at a terminal; without one, only `--force` goes on.
fn confirmed(app: &App, words: &[String]) -> Result<bool, Failure> {
    if !terminal::is_interactive() {
        let text = "this removes things and there is no terminal to ask at: say --force";
        return Err(Failure::Usage(text.to_owned()));
    }
    app.out.lines(words)?;
    app.out.text("Go on? [y/N] ")?;
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|error| Failure::System("read the answer", error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
