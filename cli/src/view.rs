//! Replicas in words and as JSON; the JSON's shape is described in the README of this directory.

use std::time::SystemTime;

use serde_json::{Value, json};
use unmoor::backend::{HealthState, ObservedReplica, Phase};
use unmoor::discover::{Endpoint, Scope};
use unmoor::spec::Published;

use crate::time::{in_words, rfc3339, since};

/// `Up 3 minutes (healthy)`, `Exited (1)`, as docker says it.
pub(crate) fn status(replica: &ObservedReplica, now: SystemTime) -> String {
    let code = replica.exit.map(|exit| exit.code);
    let up = |word: &str| match replica.started {
        Some(started) => format!("{word} {}", in_words(since(started, now))),
        None => word.to_owned(),
    };
    let text = match replica.phase {
        Phase::Pending => "Created".to_owned(),
        Phase::Starting if replica.restarts > 0 => format!("Restarting ({})", code.unwrap_or(0)),
        Phase::Starting => "Starting".to_owned(),
        Phase::Running => up("Up"),
        Phase::Paused => format!("{} (Paused)", up("Up")),
        Phase::Stopping => "Stopping".to_owned(),
        Phase::Stopped | Phase::Failed => match (code, &replica.message) {
            (Some(code), _) if replica.exit.is_some_and(|exit| exit.out_of_memory) => {
                format!("Exited ({code}) out of memory")
            }
            (Some(code), _) => format!("Exited ({code})"),
            (None, Some(message)) => format!("Failed: {message}"),
            (None, None) if replica.phase == Phase::Failed => "Failed".to_owned(),
            (None, None) => "Stopped".to_owned(),
        },
    };
    let health = match replica.health {
        HealthState::Healthy => " (healthy)",
        HealthState::Unhealthy => " (unhealthy)",
        HealthState::Starting => " (health: starting)",
        HealthState::None => "",
    };
    if replica.phase == Phase::Running {
        text + health
    } else {
        text
    }
}

/// True if it has not ended.
pub(crate) fn is_there(replica: &ObservedReplica) -> bool {
    !matches!(replica.phase, Phase::Stopped | Phase::Failed)
}

/// `0.0.0.0:8080->80/tcp, 9000/tcp`.
pub(crate) fn ports(ports: &[Published]) -> String {
    let texts: Vec<String> = ports.iter().map(port).collect();
    texts.join(", ")
}

fn port(port: &Published) -> String {
    match (port.host_ip, port.host_port) {
        (None, Some(_)) => format!("0.0.0.0:{port}"),
        _ => port.to_string(),
    }
}

/// `3 minutes ago`, or nothing if it is not known.
pub(crate) fn ago(moment: Option<SystemTime>, now: SystemTime) -> String {
    let text = moment.map(|moment| format!("{} ago", in_words(since(moment, now))));
    text.unwrap_or_default()
}

/// The command as docker shows it: quoted, and short.
pub(crate) fn command(words: &[String]) -> String {
    const LONGEST: usize = 20;
    let text = words.join(" ");
    if text.chars().count() <= LONGEST {
        return format!("\"{text}\"");
    }
    let start: String = text.chars().take(LONGEST - 1).collect();
    format!("\"{start}…\"")
}

/// A replica as JSON.
pub(crate) fn replica(replica: &ObservedReplica) -> Value {
    json!({
        "name": replica.id.to_string(),
        "stack": replica.id.stack,
        "service": replica.id.service,
        "slot": replica.id.slot,
        "image": replica.image,
        "digest": replica.image_digest,
        "command": replica.command,
        "phase": replica.phase,
        "health": replica.health,
        "ready": replica.is_ready(),
        "in_discovery": replica.in_discovery,
        "exit": replica.exit,
        "message": replica.message,
        "created": replica.created.map(rfc3339),
        "started": replica.started.map(rfc3339),
        "restarts": replica.restarts,
        "addresses": replica.addresses,
        "ports": replica.ports.iter().map(published).collect::<Vec<_>>(),
        "labels": replica.labels,
    })
}

fn published(port: &Published) -> Value {
    json!({
        "target": port.target,
        "host_ip": port.host_ip,
        "host_port": port.host_port.map(|range| range.first),
        "protocol": port.protocol,
    })
}

/// From where an endpoint can be reached.
pub(crate) fn scope(endpoint: &Endpoint) -> String {
    match &endpoint.scope {
        Scope::Network(name) => format!("network {name}"),
        Scope::External => "external".to_owned(),
        _ => "other".to_owned(),
    }
}
