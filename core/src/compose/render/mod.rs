//! A [`Stack`] as a Compose file in one form: sorted, long forms, nothing left to interpolate.
//!
//! The shape is that of `docker compose config`; what Compose has no key for stands under
//! `x-unmoor`. Loading the text again gives the same stack. Secrets given by value are not shown.

mod care;
mod service;
pub(super) mod yaml;

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::spec::{Blob, BlobKind, BlobSource, Network, NetworkMode, Stack, Volume};

/// The stack as YAML text.
#[must_use]
pub fn to_yaml(stack: &Stack) -> String {
    yaml::print(&to_json(stack))
}

/// The stack as a JSON value, as `docker compose config --format json` prints it.
#[must_use]
pub fn to_json(stack: &Stack) -> Value {
    let mut root = Map::new();
    root.insert("name".to_owned(), json!(stack.name));
    let blobs = |blobs: &std::collections::BTreeMap<crate::name::BlobName, Blob>, kind| {
        let entries = blobs.iter();
        section(entries.map(|(name, one)| (name, blob(stack, name.as_str(), one, kind))))
    };
    let sections = [
        ("configs", blobs(&stack.configs, BlobKind::Config)),
        ("networks", networks(stack)),
        ("secrets", blobs(&stack.secrets, BlobKind::Secret)),
    ];
    for (key, entries) in sections {
        if !entries.is_empty() {
            root.insert(key.to_owned(), Value::Object(entries));
        }
    }
    let services = stack.services.iter();
    let services = section(services.map(|(name, one)| (name, service::to_json(one))));
    root.insert("services".to_owned(), Value::Object(services));
    let volumes = stack.volumes.iter();
    let volumes = section(volumes.map(|(name, one)| (name, volume(stack, name.as_str(), one))));
    if !volumes.is_empty() {
        root.insert("volumes".to_owned(), Value::Object(volumes));
    }
    let mut root = Value::Object(root);
    escape(&mut root);
    root
}

fn section<N: ToString>(entries: impl Iterator<Item = (N, Value)>) -> Map<String, Value> {
    entries
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

/// Doubles every dollar sign, so that reading the text again puts no variable there.
fn escape(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('$') => *text = text.replace('$', "$$"),
        Value::Array(items) => items.iter_mut().for_each(escape),
        Value::Object(entries) => entries.values_mut().for_each(escape),
        _ => {}
    }
}

/// The networks of the stack, with the default one where a service is on it.
fn networks(stack: &Stack) -> Map<String, Value> {
    let mut all = stack.networks.clone();
    let default = crate::spec::default_network();
    let used = stack.services.values().any(|service| {
        service.network_mode == NetworkMode::Networks
            && (service.networks.is_empty() || service.networks.contains_key(&default))
    });
    if used {
        all.entry(default).or_default();
    }
    section(
        all.iter()
            .map(|(name, one)| (name, network(stack, name.as_str(), one))),
    )
}

fn network(stack: &Stack, name: &str, network: &Network) -> Value {
    let mut map = Map::new();
    map.insert("name".to_owned(), json!(format!("{}_{name}", stack.name)));
    let ipam = match &network.subnet {
        Some(subnet) => json!({ "config": [{ "subnet": subnet }] }),
        None => json!({}),
    };
    map.insert("ipam".to_owned(), ipam);
    if network.internal {
        map.insert("internal".to_owned(), json!(true));
    }
    if !network.labels.is_empty() {
        map.insert("labels".to_owned(), json!(network.labels));
    }
    Value::Object(map)
}

fn volume(stack: &Stack, name: &str, volume: &Volume) -> Value {
    let mut map = Map::new();
    match &volume.external {
        Some(external) => {
            map.insert("name".to_owned(), json!(external));
            map.insert("external".to_owned(), json!(true));
        }
        None => {
            map.insert("name".to_owned(), json!(format!("{}_{name}", stack.name)));
        }
    }
    if !volume.labels.is_empty() {
        map.insert("labels".to_owned(), json!(volume.labels));
    }
    Value::Object(map)
}

fn blob(stack: &Stack, name: &str, blob: &Blob, kind: BlobKind) -> Value {
    let own = format!("{}_{name}", stack.name);
    match (&blob.source, kind) {
        (BlobSource::External, _) => json!({ "name": name, "external": true }),
        (BlobSource::File(path), _) => json!({ "name": own, "file": path }),
        (BlobSource::Environment(variable), _) => json!({ "name": own, "environment": variable }),
        (BlobSource::Inline(bytes), BlobKind::Config) => {
            json!({ "name": own, "content": String::from_utf8_lossy(bytes.reveal()) })
        }
        (BlobSource::Inline(bytes), BlobKind::Secret) => {
            json!({ "name": own, "x-unmoor": { "sha256": bytes.fingerprint() } })
        }
        (BlobSource::Stored(fingerprint), _) => {
            json!({ "name": own, "x-unmoor": { "sha256": fingerprint } })
        }
    }
}

/// A duration as Go prints it: `1m30s`, `1.5s`, `250ms`.
fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (scale, unit) = match nanos {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return decimal(nanos, scale) + unit;
    }
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = decimal(nanos % 60_000_000_000, 1_000_000_000) + "s";
    match (hours, minutes) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

/// `value / scale` without trailing zeros; `scale` is a power of ten.
fn decimal(value: u128, scale: u128) -> String {
    let digits = scale.ilog10() as usize;
    let (whole, part) = (value / scale, value % scale);
    if part == 0 {
        return whole.to_string();
    }
    let part = format!("{part:0digits$}");
    format!("{whole}.{}", part.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        for (nanos, text) in [
            (0u64, "0s"),
            (90_000_000_000, "1m30s"),
            (1_500_000_000, "1.5s"),
            (250_000_000, "250ms"),
            (1_500, "1.5µs"),
            (604_800_000_000_000, "168h0m0s"),
            (5_400_000_000_000, "1h30m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
    }
}
