//! `top`: the processes inside replicas.

use std::time::{Duration, SystemTime};

use serde_json::json;
use unmoor::backend::{Feature, Phase, ProcessEntry};
use unmoor::name::ReplicaId;

use crate::app::App;
use crate::args::Services;
use crate::exit::Code;
use crate::output::{Columns, Formatted, Listing};
use crate::time::{in_words, rfc3339, since};
use crate::verbs::Outcome;
use crate::{select, session};

const COLUMNS: Columns = &[
    ("Name", "NAME"),
    ("User", "UID"),
    ("PID", "PID"),
    ("Parent", "PPID"),
    ("NodePID", "NODE PID"),
    ("RunningFor", "STARTED"),
    ("Time", "TIME"),
    ("Command", "CMD"),
];

/// List the processes inside replicas that run, with their numbers and users inside.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    format: Formatted,
    #[command(flatten)]
    which: Services,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    session::need(&client, Feature::Processes)?;
    let selector = select::services(app, &client, &stack, &args.which.services).await?;
    let observed = client.observe(&selector).await?;
    let now = client.clock().now();
    let mut listing = Listing::new(COLUMNS);
    for replica in observed.replicas() {
        if !matches!(replica.phase, Phase::Running | Phase::Paused) {
            continue;
        }
        for process in client.processes(&replica.id).await? {
            add(&mut listing, &replica.id, &process, now);
        }
    }
    listing.print(app.out, &args.format.format)?;
    Ok(Code::DONE)
}

fn add(listing: &mut Listing, id: &ReplicaId, process: &ProcessEntry, now: SystemTime) {
    let started = process
        .started
        .map(|time| format!("{} ago", in_words(since(time, now))));
    let cells = vec![
        id.to_string(),
        process.user.to_string(),
        process.pid.to_string(),
        process.parent.to_string(),
        process
            .node_pid
            .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        started.unwrap_or_else(|| "-".to_owned()),
        clock(process.cpu),
        process.command.join(" "),
    ];
    let value = json!({
        "replica": id.to_string(), "service": id.service, "pid": process.pid,
        "node_pid": process.node_pid, "parent": process.parent, "user": process.user,
        "cpu_ms": u64::try_from(process.cpu.as_millis()).unwrap_or(u64::MAX),
        "started": process.started.map(rfc3339), "command": process.command,
    });
    listing.row(cells, value);
}

/// `00:01:07`, as ps says it.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}
