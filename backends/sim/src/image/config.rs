//! What an image's configuration says about how to run it.

use std::time::Duration;

use serde_json::Value;
use unmoor_core::Result;
use unmoor_core::backend::ImageDefaults;
use unmoor_core::spec::{Exposed, Health, HealthTest, Protocol};

use super::wrong;

fn words(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

fn text(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

pub(super) fn defaults(config: &Value) -> Result<ImageDefaults> {
    let config = &config["config"];
    let mut exposed = Vec::new();
    if let Some(ports) = config["ExposedPorts"].as_object() {
        for port in ports.keys() {
            exposed.push(parse_port(port)?);
        }
    }
    let volumes = config["Volumes"].as_object();
    Ok(ImageDefaults {
        entrypoint: words(&config["Entrypoint"]),
        command: words(&config["Cmd"]),
        env: words(&config["Env"]),
        user: text(&config["User"]),
        working_dir: text(&config["WorkingDir"]),
        exposed,
        volumes: volumes
            .map(|v| v.keys().cloned().collect())
            .unwrap_or_default(),
        stop_signal: text(&config["StopSignal"]),
        health: health(&config["Healthcheck"]),
    })
}

/// `80`, `80/tcp`, `53/udp`.
pub(super) fn parse_port(text: &str) -> Result<Exposed> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => {
            return Err(wrong(format!(
                "load image: `{}` is no port",
                text.escape_default()
            )));
        }
    };
    let port = number.parse().map_err(|_| {
        wrong(format!(
            "load image: `{}` is no port",
            text.escape_default()
        ))
    })?;
    Ok(Exposed { port, protocol })
}

fn health(check: &Value) -> Option<Health> {
    let words = words(&check["Test"]);
    let (kind, rest) = words.split_first()?;
    let test = match kind.as_str() {
        "CMD" => HealthTest::Exec(rest.to_vec()),
        "CMD-SHELL" => HealthTest::Shell(rest.join(" ")),
        _ => return None,
    };
    let time = |key: &str| {
        let nanos = check[key].as_u64().filter(|nanos| *nanos > 0);
        nanos.map(Duration::from_nanos)
    };
    let mut health = Health::new(test);
    health.interval = time("Interval").unwrap_or(health.interval);
    health.timeout = time("Timeout").unwrap_or(health.timeout);
    health.start_period = time("StartPeriod").unwrap_or(health.start_period);
    health.start_interval = time("StartInterval").unwrap_or(health.start_interval);
    let retries = check["Retries"]
        .as_u64()
        .and_then(|n| u32::try_from(n).ok());
    health.retries = retries.filter(|n| *n > 0).unwrap_or(health.retries);
    Some(health)
}
