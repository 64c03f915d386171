//! `stats`: what replicas use, again and again.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::{Value, json};
use unmoor::backend::{Feature, Transfer, Usage};
use unmoor::name::ReplicaId;
use unmoor::units::Bytes;

use crate::app::App;
use crate::args::Services;
use crate::exit::{Code, Failure};
use crate::output::{Columns, Formatted, ListFormat, Listing};
use crate::time::rfc3339;
use crate::verbs::Outcome;
use crate::{select, session};

/// Time between two looks; processor use is counted over it.
const PACE: Duration = Duration::from_secs(1);

const COLUMNS: Columns = &[
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
    ("ID", ""),
    ("Container", ""),
];

/// Show what replicas use: processor, memory, network, disks, processes.
///
/// Goes on until it is interrupted. With `--format json` each look is one line.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also replicas that do not run
    #[arg(short, long)]
    all: bool,
    /// One look, then the end
    #[arg(long)]
    no_stream: bool,
    /// Taken for those who are used to it: nothing is cut off
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    format: Formatted,
    #[command(flatten)]
    which: Services,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    let stack = app.stack_name()?;
    let client = app.connect().await?;
    session::need(&client, Feature::Stats)?;
    let selector = select::services(app, &client, &stack, &args.which.services).await?;
    let mut before = by_replica(client.usage(&selector).await?);
    loop {
        client.clock().sleep(PACE).await;
        let mut now = client.usage(&selector).await?;
        if args.all {
            let observed = client.observe(&selector).await?;
            let time = client.clock().now();
            for replica in observed.replicas() {
                if !now.iter().any(|usage| usage.replica == replica.id) {
                    now.push(Usage::new(replica.id.clone(), time));
                }
            }
            now.sort_by(|a, b| a.replica.cmp(&b.replica));
        }
        print(app, &args, &now, &before)?;
        if args.no_stream {
            return Ok(Code::DONE);
        }
        before = by_replica(now);
    }
}

fn by_replica(usage: Vec<Usage>) -> BTreeMap<ReplicaId, Usage> {
    usage
        .into_iter()
        .map(|usage| (usage.replica.clone(), usage))
        .collect()
}

fn print(
    app: &App,
    args: &Args,
    now: &[Usage],
    before: &BTreeMap<ReplicaId, Usage>,
) -> Result<(), Failure> {
    let mut listing = Listing::new(COLUMNS);
    let mut values = Vec::new();
    for usage in now {
        let share = before
            .get(&usage.replica)
            .and_then(|before| usage.cpu_since(before));
        let value = as_json(usage, share);
        values.push(value.clone());
        listing.row(cells(usage, share), value);
    }
    let format = &args.format.format;
    if *format == ListFormat::Json && !args.no_stream {
        return app.out.json_line(&values);
    }
    let text = listing.render(format)?;
    let redraws =
        !args.no_stream && *format == ListFormat::Table && std::io::stdout().is_terminal();
    let clear = if redraws { "\u{1b}[H\u{1b}[2J" } else { "" };
    app.out.text(&format!("{clear}{text}"))
}

fn cells(usage: &Usage, share: Option<u64>) -> Vec<String> {
    let unknown = || "--".to_owned();
    let used = usage
        .memory
        .map_or_else(unknown, |bytes| Bytes(bytes).to_string());
    let limit = usage
        .memory_limit
        .map_or_else(unknown, |bytes| Bytes(bytes).to_string());
    let transfer = |transfer: Option<Transfer>| match transfer {
        Some(both) => format!("{} / {}", Bytes(both.received), Bytes(both.sent)),
        None => unknown(),
    };
    vec![
        usage.replica.to_string(),
        share.map_or_else(unknown, percent),
        format!("{used} / {limit}"),
        memory_share(usage).map_or_else(unknown, percent),
        transfer(usage.network),
        transfer(usage.block),
        usage.pids.map_or_else(unknown, |pids| pids.to_string()),
        usage.replica.to_string(),
        usage.replica.to_string(),
    ]
}

/// Hundredths of a percent of the limit.
fn memory_share(usage: &Usage) -> Option<u64> {
    let (used, limit) = (usage.memory?, usage.memory_limit?);
    Some(used.saturating_mul(10_000) / limit.max(1))
}

fn percent(hundredths: u64) -> String {
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

fn as_json(usage: &Usage, share: Option<u64>) -> Value {
    let transfer = |transfer: Option<Transfer>, names: [&str; 2]| {
        transfer.map(|both| json!({ names[0]: both.received, names[1]: both.sent }))
    };
    json!({
        "replica": usage.replica.to_string(), "service": usage.replica.service,
        "time": rfc3339(usage.time),
        "cpu_ns": usage.cpu.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        "cpu_hundredths_percent": share,
        "memory": usage.memory, "memory_limit": usage.memory_limit,
        "pids": usage.pids, "pids_limit": usage.pids_limit,
        "network": transfer(usage.network, ["received", "sent"]),
        "block": transfer(usage.block, ["read", "written"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_with_two_digits() {
        assert_eq!(percent(5), "0.05%");
        assert_eq!(percent(12_345), "123.45%");
    }
}
