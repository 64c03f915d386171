//! `apply`: carries out a plan that `plan -o` wrote, if everything is as it was then.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use unmoor::client::{StoredPlan, UpOptions};
use unmoor::plan::Scope;
use unmoor::{Error, ErrorKind};

use crate::app::App;
use crate::change::{Pulls, by_plan};
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::project;
use crate::verbs::Outcome;

/// Largest plan; ten thousand services need a third of it.
const LARGEST: u64 = 64 << 20;

/// Carry out a plan that `unmoor plan -o FILE` wrote.
///
/// Everything that it was made from is looked up again, and nothing is sent if any of it differs:
/// then plan again. It can be applied from another directory. A plan keeps no contents of secrets and
/// configs: those of files are read again, and where one stood in the Compose file or in a variable,
/// name that file too: `unmoor -f compose.yaml apply FILE`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The plan; `-` is standard input
    #[arg(value_name = "FILE")]
    plan: PathBuf,
    /// Show no progress of images
    #[arg(long)]
    quiet_pull: bool,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let mut stored = StoredPlan::decode(&read(&args.plan)?).map_err(|error| {
        let file = args.plan.display();
        match error.subject() {
            None => error.on(file),
            Some(_) => error,
        }
    })?;
    if !stored.lacks().is_empty() {
        supply(&mut stored, app)?;
    }
    let client = app.connect().await?;
    let how = (UpOptions::new(), Pulls::unless(args.quiet_pull));
    let go_on = "`unmoor up` goes on, a plan fits only what it was made for";
    by_plan(app, signals, how, go_on, async |options| {
        let planned = client.recall(&stored, options.on_pull).await?;
        client.apply(&planned, options).await
    })
    .await?;
    Ok(Code::DONE)
}

/// Takes contents from the Compose files, if there are any.
fn supply(stored: &mut StoredPlan, app: &App) -> Result<(), Failure> {
    let unsupported = project::on_unsupported(true);
    match project::load(&app.globals, unsupported, &Scope::All) {
        Ok(loaded) => stored.supply(&loaded.stack),
        // Not every content is needed; the plan says which is, when it is.
        Err(_) if app.globals.files.is_empty() => {}
        Err(failure) => return Err(failure),
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| {
        let text = format!("read the plan `{}`", path.display());
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::InvalidSpec,
        };
        Failure::from(Error::new(kind, text).because(error))
    };
    let input: Box<dyn io::Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    let mut bytes = Vec::new();
    input
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        let text = format!("the plan `{}` is larger than 64 MiB", path.display());
        return Err(Error::new(ErrorKind::InvalidSpec, text).into());
    }
    Ok(bytes)
}
