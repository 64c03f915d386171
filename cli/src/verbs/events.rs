//! `events`: changes in the life of replicas, as they happen.

use std::pin::pin;
use std::time::SystemTime;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use unmoor::Client;
use unmoor::event::{Change, ReplicaEvent};

use crate::app::App;
use crate::args::Services;
use crate::exit::Code;
use crate::refuse::refused;
use crate::time::rfc3339;
use crate::verbs::Outcome;
use crate::verbs::logs::moment;

/// Tell of changes in the life of replicas from now on, one a line, until interrupted or `--until`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Refused: nobody keeps what has happened
    #[arg(long, value_name = "WHEN", hide_short_help = true)]
    since: Option<String>,
    /// End then: `2026-01-31T12:00:00Z`, seconds since 1970; what is past ends at once
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    #[command(flatten)]
    which: Services,
}

pub(crate) async fn run(args: Args, app: &App) -> Outcome {
    if args.since.is_some() {
        let why = "nobody keeps what has happened; changes are told from now on";
        let instead = "`unmoor logs --since` shows what was written";
        return Err(refused("--since", why, instead));
    }
    let until = moment("--until", args.until.as_deref(), SystemTime::now())?;
    let (client, selector) = app.select(&args.which).await?;
    let mut events = client.events(&selector).await?;
    let mut over = pin!(reached(&client, until));
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = &mut over => None,
        };
        let Some(event) = event else {
            return Ok(Code::DONE);
        };
        match event {
            Err(error) => app.ui.warn(&error.chain()),
            Ok(event) if args.json => app.out.json_line(&as_json(&event))?,
            Ok(event) => app.out.line(&told(&event))?,
        }
    }
}

/// Returns at this moment; never without one.
async fn reached(client: &Client, until: Option<SystemTime>) {
    let Some(until) = until else {
        return std::future::pending().await;
    };
    // A past one is reached.
    let left = until.duration_since(client.clock().now());
    client.clock().sleep(left.unwrap_or_default()).await;
}

/// The change in docker's words.
fn action(change: Change) -> &'static str {
    match change {
        Change::Created => "create",
        Change::Started => "start",
        Change::Healthy => "health_status: healthy",
        Change::Unhealthy => "health_status: unhealthy",
        Change::Paused => "pause",
        Change::Resumed => "unpause",
        Change::Ended { .. } => "die",
        Change::Removed => "destroy",
        _ => "change",
    }
}

fn exit_code(change: Change) -> Option<i32> {
    match change {
        Change::Ended { exit } => exit.map(|exit| exit.code),
        _ => None,
    }
}

fn told(event: &ReplicaEvent) -> String {
    let code = exit_code(event.change).map(|code| format!("exitCode={code}, "));
    format!(
        "{} container {} {} ({}image={}, name={})",
        rfc3339(event.time),
        action(event.change),
        event.replica,
        code.unwrap_or_default(),
        crate::output::clean(&event.image),
        event.replica,
    )
}

fn as_json(event: &ReplicaEvent) -> Value {
    let mut attributes = json!({ "image": event.image, "name": event.replica.to_string() });
    if let Some(code) = exit_code(event.change) {
        attributes["exitCode"] = json!(code.to_string());
    }
    json!({
        "time": rfc3339(event.time), "type": "container", "action": action(event.change),
        "id": event.replica.to_string(), "stack": event.replica.stack,
        "service": event.replica.service, "attributes": attributes,
    })
}
