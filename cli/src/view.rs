//! Replicas in words and as JSON; the JSON's shape is described in the README of this directory.

use std::str::FromStr;
use std::time::SystemTime;

use serde_json::{Value, json};
use unmoor::backend::{HealthState, ObservedReplica, Phase};
use unmoor::discover::{Endpoint, Scope};
use unmoor::label::{Labels, ONE_OFF};
use unmoor::name::ServiceName;
use unmoor::spec::Published;

use crate::time::{in_words, rfc3339, since};

/// `Up 3 minutes (healthy)`, `Exited (1) 2 hours ago`, as docker says it.
pub(crate) fn status(replica: &ObservedReplica, now: SystemTime) -> String {
    let code = replica.exit.map(|exit| exit.code);
    let up = |word: &str| match replica.started {
        Some(started) => format!("{word} {}", in_words(since(started, now))),
        None => word.to_owned(),
    };
    let past = |text: String| match replica.ended {
        Some(ended) => format!("{text} {}", ago(Some(ended), now)),
        None => text,
    };
    let text = match replica.phase {
        Phase::Pending => "Created".to_owned(),
        Phase::Starting if replica.restarts > 0 => {
            past(format!("Restarting ({})", code.unwrap_or(0)))
        }
        Phase::Starting => "Starting".to_owned(),
        Phase::Running => up("Up"),
        Phase::Paused => format!("{} (Paused)", up("Up")),
        Phase::Stopping => "Stopping".to_owned(),
        Phase::Stopped | Phase::Failed => match (code, &replica.message) {
            (Some(code), _) if replica.exit.is_some_and(|exit| exit.out_of_memory) => {
                past(format!("Exited ({code}) out of memory"))
            }
            (Some(code), _) => past(format!("Exited ({code})")),
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

/// Where a replica stands, in docker's words.
pub(crate) fn state(replica: &ObservedReplica) -> &'static str {
    match replica.phase {
        Phase::Pending => "created",
        Phase::Starting if replica.restarts > 0 => "restarting",
        Phase::Starting => "starting",
        Phase::Running | Phase::Stopping => "running",
        Phase::Paused => "paused",
        Phase::Stopped | Phase::Failed => "exited",
    }
}

/// What its health check says, in docker's words; nothing without a check.
pub(crate) fn health(replica: &ObservedReplica) -> &'static str {
    match replica.health {
        HealthState::None => "",
        HealthState::Starting => "starting",
        HealthState::Healthy => "healthy",
        HealthState::Unhealthy => "unhealthy",
    }
}

/// Words for how replicas stand: ours, and docker's.
pub(crate) const PHASES: [&str; 10] = [
    "created",
    "pending",
    "starting",
    "restarting",
    "running",
    "paused",
    "stopping",
    "exited",
    "stopped",
    "failed",
];

/// How a replica is to stand, in our words or in docker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PhaseWish(String);

impl PhaseWish {
    /// True if it stands so.
    pub(crate) fn fits(&self, replica: &ObservedReplica) -> bool {
        self.0 == replica.phase.as_str() || self.0 == state(replica)
    }
}

impl FromStr for PhaseWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match PHASES.contains(&text) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("there is {}", PHASES.join(", "))),
        }
    }
}

/// Reads `status=running`.
pub(crate) fn filter(text: &str) -> Result<PhaseWish, String> {
    match text.split_once('=') {
        Some(("status", phase)) => phase.parse(),
        _ => Err("write it as status=PHASE".to_owned()),
    }
}

/// Services that are one-off copies of others.
pub(crate) fn copies<'r>(
    replicas: impl Iterator<Item = &'r ObservedReplica>,
) -> impl Iterator<Item = &'r ServiceName> {
    let copies = replicas.filter(|replica| replica.labels.contains_key(ONE_OFF));
    copies.map(|replica| &replica.id.service)
}

/// The service of a replica, or the one that it is a copy of.
pub(crate) fn service(replica: &ObservedReplica) -> &str {
    let own = replica.id.service.as_str();
    replica.labels.get(ONE_OFF).map_or(own, String::as_str)
}

/// The labels of a replica, with those by which tools know what docker compose has made.
pub(crate) fn labels(replica: &ObservedReplica) -> Labels {
    let mut labels = replica.labels.clone();
    let one_off = if labels.contains_key(ONE_OFF) {
        "True"
    } else {
        "False"
    };
    let mut set = |key: &str, value: String| {
        labels
            .entry(format!("com.docker.compose.{key}"))
            .or_insert(value);
    };
    set("project", replica.id.stack.to_string());
    set("service", service(replica).to_owned());
    set("container-number", replica.id.slot.to_string());
    set("config-hash", replica.spec_hash.clone());
    set("image", replica.image_digest.clone());
    set("oneoff", one_off.to_owned());
    set("version", env!("CARGO_PKG_VERSION").to_owned());
    labels
}

/// Repository and tag of an image's name; `<none>` where there is no tag.
pub(crate) fn repository(name: &str) -> (String, String) {
    let (name, digest) = match name.split_once('@') {
        Some((name, _)) => (name, true),
        None => (name, false),
    };
    // A colon before a slash is a registry's port.
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository.to_owned(), tag.to_owned()),
        _ if digest || name == "<none>" => (name.to_owned(), "<none>".to_owned()),
        _ => (name.to_owned(), "latest".to_owned()),
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

pub(crate) fn port(port: &Published) -> String {
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
        "ended": replica.ended.map(rfc3339),
        "restarts": replica.restarts,
        "addresses": replica.addresses,
        "ports": replica.ports.iter().map(published).collect::<Vec<_>>(),
        "labels": labels(replica),
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
