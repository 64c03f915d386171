//! The configuration of an image: how to run it, and what its layers unpack to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use unmoor_core::image::{Digest, Platform};

use super::json;
use crate::error::{ImageError, shown};
use crate::limits::Limits;

/// How a container of an image runs unless it is told otherwise.
///
/// Everything here was written by the image's author: it may be used as a default inside the
/// container, and never as a path, name or setting on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageConfig {
    /// What the image was built for.
    pub platform: Platform,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, or the program if there is no entry point.
    pub cmd: Vec<String>,
    /// Environment variables in order; names are never empty.
    pub env: Vec<(String, String)>,
    /// `user[:group]` by name or number; empty means root.
    pub user: String,
    /// Where the program starts; empty means `/`.
    pub working_dir: String,
    /// Ports the program is said to listen on.
    pub exposed_ports: Vec<ExposedPort>,
    /// Directories that should get a volume: absolute, without `.` and `..`.
    pub volumes: Vec<String>,
    /// The signal that asks the program to end, by name or number.
    pub stop_signal: Option<String>,
    /// How to see whether the program is well.
    pub healthcheck: Option<Healthcheck>,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// Digests of the unpacked layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// What was written in a way that means nothing and was left out.
    pub warnings: Vec<String>,
}

/// A port and its protocol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExposedPort {
    /// The port's number.
    pub port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// How to see whether a program is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// What to run.
    pub test: HealthTest,
    /// Time between two runs.
    pub interval: Option<Duration>,
    /// Time one run may take.
    pub timeout: Option<Duration>,
    /// Time after the start in which failures do not count.
    pub start_period: Option<Duration>,
    /// Time between two runs within the start period.
    pub start_interval: Option<Duration>,
    /// Failures in a row that make the program unhealthy.
    pub retries: Option<u32>,
}

/// What a health check runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthTest {
    /// Nothing: a check inherited from a base image is switched off.
    Disabled,
    /// A program with arguments.
    Exec(Vec<String>),
    /// A line for the image's shell.
    Shell(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct FileFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(default)]
    config: Option<RunFields>,
    rootfs: RootfsFields,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct RootfsFields {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Option<Vec<Digest>>,
}

type Set = BTreeMap<String, serde_json::Value>;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RunFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<Set>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volumes: Option<Set>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    healthcheck: Option<HealthFields>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthFields {
    #[serde(default)]
    test: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_period: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_interval: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retries: Option<i64>,
}

/// Ranges make it easy to write more ports down than anyone can have.
const MOST_PORTS: usize = 10_000;
/// Volumes that an image may declare: each is a directory and a mount of every replica.
const MOST_VOLUMES: usize = 1_000;
const KNOWN: [&str; 5] = ["architecture", "os", "variant", "config", "rootfs"];

impl ImageConfig {
    /// An empty configuration for this platform.
    pub fn new(platform: Platform) -> Self {
        Self {
            platform,
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            env: Vec::new(),
            user: String::new(),
            working_dir: String::new(),
            exposed_ports: Vec::new(),
            volumes: Vec::new(),
            stop_signal: None,
            healthcheck: None,
            labels: BTreeMap::new(),
            diff_ids: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Reads a configuration of an image with `layers` layers.
    pub fn parse(
        bytes: &[u8],
        what: &str,
        layers: usize,
        limits: &Limits,
    ) -> Result<Self, ImageError> {
        let map = json::object(bytes, what, limits.document_bytes)?;
        json::check_case(&map, &KNOWN, what)?;
        let fields: FileFields = json::typed(map, what)?;
        let variant = fields.variant.as_deref().filter(|text| !text.is_empty());
        let platform = Platform::new(&fields.os, &fields.architecture, variant)
            .map_err(|error| ImageError::document(what, error.to_string()))?;
        let diff_ids = fields.rootfs.diff_ids.unwrap_or_default();
        if fields.rootfs.kind != "layers" {
            return Err(ImageError::document(
                what,
                "its rootfs is not made of layers",
            ));
        }
        if diff_ids.len() != layers {
            let problem = format!(
                "it describes {} layers, but the manifest has {layers}",
                diff_ids.len()
            );
            return Err(ImageError::document(what, problem));
        }
        let mut config = Self {
            diff_ids,
            ..Self::new(platform)
        };
        config.take_run(fields.config.unwrap_or_default(), what)?;
        Ok(config)
    }

    fn take_run(&mut self, run: RunFields, what: &str) -> Result<(), ImageError> {
        self.entrypoint = no_nul(run.entrypoint.unwrap_or_default(), "Entrypoint", what)?;
        self.cmd = no_nul(run.cmd.unwrap_or_default(), "Cmd", what)?;
        self.user = no_nul(vec![run.user.unwrap_or_default()], "User", what)?.remove(0);
        self.labels = run.labels.unwrap_or_default();
        self.stop_signal = run.stop_signal.filter(|signal| !signal.is_empty());
        self.healthcheck = run.healthcheck.and_then(healthcheck);
        for line in no_nul(run.env.unwrap_or_default(), "Env", what)? {
            // Never a value of the caller's environment, whatever the entry looks like.
            match line.split_once('=') {
                Some((name, value)) if !name.is_empty() => self.set_env(name, value),
                _ => self.warn("Env", &line),
            }
        }
        for port in run.exposed_ports.unwrap_or_default().into_keys() {
            match exposed(&port) {
                Some(ports) if self.exposed_ports.len() + ports.len() <= MOST_PORTS => {
                    self.exposed_ports.extend(ports);
                }
                _ => self.warn("ExposedPorts", &port),
            }
        }
        self.exposed_ports.sort();
        self.exposed_ports.dedup();
        let volumes = run.volumes.unwrap_or_default();
        if volumes.len() > MOST_VOLUMES {
            let text = format!(
                "it declares {} volumes; {MOST_VOLUMES} at most",
                volumes.len()
            );
            return Err(ImageError::document(what, &text));
        }
        for volume in volumes.into_keys() {
            match inside(&volume) {
                Some(path) if path != "/" => self.volumes.push(path),
                _ => self.warn("Volumes", &volume),
            }
        }
        let dir = run.working_dir.unwrap_or_default();
        match inside(&dir) {
            Some(path) if !dir.is_empty() => self.working_dir = path,
            Some(_) => {}
            None => return Err(ImageError::document(what, "its WorkingDir has a NUL byte")),
        }
        Ok(())
    }

    /// Sets a variable, in its old place if it was set before.
    pub fn set_env(&mut self, name: &str, value: &str) {
        match self.env.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
    }

    fn warn(&mut self, field: &str, value: &str) {
        if self.warnings.len() < 32 {
            let value = shown(value.as_bytes());
            self.warnings.push(format!(
                "{field} entry \"{value}\" means nothing and is left out"
            ));
        }
    }

    /// The configuration as bytes; equal input gives equal bytes.
    pub(crate) fn write(&self) -> Vec<u8> {
        let set = |keys: Vec<String>| {
            let empty = serde_json::Value::Object(serde_json::Map::new());
            let set: Set = keys.into_iter().map(|key| (key, empty.clone())).collect();
            (!set.is_empty()).then_some(set)
        };
        let list = |items: &[String]| (!items.is_empty()).then(|| items.to_vec());
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let env: Vec<_> = self
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let port = |port: &ExposedPort| format!("{}/{}", port.port, port.protocol);
        let run = RunFields {
            user: text(&self.user),
            exposed_ports: set(self.exposed_ports.iter().map(port).collect()),
            env: list(&env),
            entrypoint: list(&self.entrypoint),
            cmd: list(&self.cmd),
            volumes: set(self.volumes.clone()),
            working_dir: text(&self.working_dir),
            labels: (!self.labels.is_empty()).then(|| self.labels.clone()),
            stop_signal: self.stop_signal.clone(),
            healthcheck: self.healthcheck.as_ref().map(health_fields),
        };
        let fields = FileFields {
            // A real time would give the same content another digest each day.
            created: Some("1970-01-01T00:00:00Z".to_owned()),
            architecture: self.platform.arch().to_owned(),
            os: self.platform.os().to_owned(),
            variant: self.platform.variant().map(str::to_owned),
            config: Some(run),
            rootfs: RootfsFields {
                kind: "layers".to_owned(),
                diff_ids: Some(self.diff_ids.clone()),
            },
        };
        serde_json::to_vec(&fields).expect("a configuration has only text keys")
    }
}

fn no_nul(items: Vec<String>, field: &str, what: &str) -> Result<Vec<String>, ImageError> {
    if items.iter().any(|item| item.contains('\0')) {
        return Err(ImageError::document(
            what,
            format!("its {field} has a NUL byte"),
        ));
    }
    Ok(items)
}

/// An absolute path inside the container, read as a process with that root would.
fn inside(path: &str) -> Option<String> {
    if path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// `80`, `80/tcp` or `8000-8010/udp`.
pub(crate) fn exposed(text: &str) -> Option<Vec<ExposedPort>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| digits && *port != 0)
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return None;
    }
    Some(
        (first..=last)
            .map(|port| ExposedPort {
                port,
                protocol: protocol.clone(),
            })
            .collect(),
    )
}

fn healthcheck(fields: HealthFields) -> Option<Healthcheck> {
    let test = fields.test?;
    let (kind, rest) = test.split_first()?;
    let test = match kind.as_str() {
        "NONE" => HealthTest::Disabled,
        "CMD" => HealthTest::Exec(rest.to_vec()),
        "CMD-SHELL" => HealthTest::Shell(rest.join(" ")),
        _ => return None,
    };
    let time = |nanoseconds: Option<i64>| {
        let nanoseconds = u64::try_from(nanoseconds?).ok()?;
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    };
    Some(Healthcheck {
        test,
        interval: time(fields.interval),
        timeout: time(fields.timeout),
        start_period: time(fields.start_period),
        start_interval: time(fields.start_interval),
        retries: fields
            .retries
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| *n > 0),
    })
}

fn health_fields(check: &Healthcheck) -> HealthFields {
    let test = match &check.test {
        HealthTest::Disabled => vec!["NONE".to_owned()],
        HealthTest::Exec(command) => [&["CMD".to_owned()], command.as_slice()].concat(),
        HealthTest::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
    };
    let time = |time: Option<Duration>| time.and_then(|t| i64::try_from(t.as_nanos()).ok());
    HealthFields {
        test: Some(test),
        interval: time(check.interval),
        timeout: time(check.timeout),
        start_period: time(check.start_period),
        start_interval: time(check.start_interval),
        retries: check.retries.map(i64::from),
    }
}
