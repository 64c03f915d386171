//! The wanted thing: image, command, ports, count and policies.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::image::ImageRef;
use crate::label::Labels;
use crate::name::{NetworkName, ServiceName, VolumeName};
use crate::spec::{
    AddressMode, Attachment, BlobGrant, BlobId, BlobKind, Dependency, DriftPolicy, Exposed,
    FailureAction, HealthWish, Link, Mount, MountSource, NetworkMode, Published, Resources,
    RestartPolicy, Security, UpdateOrder, UpdatePolicy,
};
use crate::units::Bytes;

/// When an image is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// If it is not there.
    #[default]
    Missing,
    /// Every time the stack is applied.
    Always,
    /// Never; it must be there.
    Never,
}

/// Whether a service serves or runs to completion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs until stopped.
    #[default]
    Service,
    /// Runs to completion.
    Job,
}

/// How a replica is stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPolicy {
    /// Signal by name or number; `None` is the image's, else SIGTERM.
    pub signal: Option<String>,
    /// Time until SIGKILL; `None` is 10 s.
    pub grace: Option<Duration>,
}

/// How few and how many replicas a service may have, whoever changes their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The fewest.
    pub min: u32,
    /// The most.
    pub max: u32,
}

/// Bounds of what is kept of a replica's output; `None` is as the backend has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBounds {
    /// Size at which a file of the log is put aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Bytes>,
    /// How many files are kept, the one that is written to included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_files: Option<u32>,
}

impl LogBounds {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Who is asked for names that the stack does not have; empty is as the node has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// The servers that are asked, as the node reaches them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
    /// Domains that are tried behind a name; `.` alone is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver, as `ndots:2`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// True if nothing is asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a file asks of a service and nothing here can do: a plan that would run it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unhonoured {
    /// The field, as `services.web.pid`; of what the service uses, as `volumes.data.driver`.
    pub field: String,
    /// What follows.
    pub consequence: String,
    /// What to write instead; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instead: String,
}

/// Where replicas may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Constraints such as `node.labels.zone == a`.
    pub constraints: Vec<String>,
}

/// A service: what every replica of it looks like, and how many there are.
///
/// Build one with [`Service::new`] and the methods below, or read it from a Compose file.
///
/// ```
/// use unmoor_core::spec::{Published, Service};
/// let web = Service::new("nginx:1.27".parse()?)
///     .publish(Published::tcp(8080, 80))
///     .env("MODE", "fast")
///     .replicas(3);
/// assert_eq!(web.replicas, 3);
/// # Ok::<(), unmoor_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Image to run.
    pub image: ImageRef,
    /// When the image is fetched.
    #[serde(default)]
    pub pull: PullPolicy,
    /// Wanted platform as `linux/arm64`.
    #[serde(default)]
    pub platform: Option<String>,
    /// Replaces the image's entrypoint (and its command).
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Variables, over the image's.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Working directory.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// `user[:group]`, by name or number.
    #[serde(default)]
    pub user: Option<String>,
    /// Host name inside; default: the replica's name.
    #[serde(default)]
    pub hostname: Option<String>,
    /// A fixed name for the one replica.
    #[serde(default)]
    pub container_name: Option<String>,
    /// Ports published on the node.
    #[serde(default)]
    pub ports: Vec<Published>,
    /// Ports other services may use, beyond those published.
    #[serde(default)]
    pub expose: Vec<Exposed>,
    /// Kind of network stack.
    #[serde(default)]
    pub network_mode: NetworkMode,
    /// Networks it is on; empty means the stack's default network.
    #[serde(default)]
    pub networks: BTreeMap<NetworkName, Attachment>,
    /// What its name resolves to; `None` is as the backend has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_mode: Option<AddressMode>,
    /// Explicit links.
    #[serde(default)]
    pub links: Vec<Link>,
    /// What must have started before.
    #[serde(default)]
    pub depends_on: BTreeMap<ServiceName, Dependency>,
    /// How many copies.
    #[serde(default = "one")]
    pub replicas: u32,
    /// How few and how many copies there may be; `None` is as many as one likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// Serves or runs to completion.
    #[serde(default)]
    pub role: Role,
    /// Limits.
    #[serde(default)]
    pub resources: Resources,
    /// Health check.
    #[serde(default)]
    pub health: HealthWish,
    /// Restart policy.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// Update policy.
    #[serde(default)]
    pub update: UpdatePolicy,
    /// How it goes back to a former specification; `None` is as an update goes.
    #[serde(default)]
    pub rollback: Option<UpdatePolicy>,
    /// What becomes of what somebody changed of it on the platform.
    #[serde(default, skip_serializing_if = "DriftPolicy::is_default")]
    pub drift: DriftPolicy,
    /// How to stop it.
    #[serde(default)]
    pub stop: StopPolicy,
    /// Mounts.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Secrets it gets.
    #[serde(default)]
    pub secrets: Vec<BlobGrant>,
    /// Configs it gets.
    #[serde(default)]
    pub configs: Vec<BlobGrant>,
    /// Where it may run.
    #[serde(default)]
    pub placement: Placement,
    /// Security settings.
    #[serde(default)]
    pub security: Security,
    /// Labels.
    #[serde(default)]
    pub labels: Labels,
    /// Further lines of its hosts file, name to address.
    #[serde(default)]
    pub extra_hosts: Vec<(String, String)>,
    /// Who is asked for other names.
    #[serde(default, skip_serializing_if = "Dns::is_default")]
    pub dns: Dns,
    /// Give it a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Keep its standard input open.
    #[serde(default)]
    pub stdin_open: bool,
    /// Run a small init as its first process.
    #[serde(default)]
    pub init: bool,
    /// How much is kept of what it writes.
    #[serde(default, skip_serializing_if = "LogBounds::is_default")]
    pub log: LogBounds,
    /// What its file asks for and nothing here can do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unhonoured: Vec<Unhonoured>,
}

fn one() -> u32 {
    1
}

impl Service {
    /// A service of one replica that runs the image as it is.
    #[must_use]
    pub fn new(image: ImageRef) -> Self {
        Self {
            image,
            pull: PullPolicy::default(),
            platform: None,
            entrypoint: None,
            command: None,
            environment: BTreeMap::new(),
            working_dir: None,
            user: None,
            hostname: None,
            container_name: None,
            ports: Vec::new(),
            expose: Vec::new(),
            network_mode: NetworkMode::default(),
            networks: BTreeMap::new(),
            address_mode: None,
            links: Vec::new(),
            depends_on: BTreeMap::new(),
            replicas: 1,
            bounds: None,
            role: Role::default(),
            resources: Resources::default(),
            health: HealthWish::default(),
            restart: RestartPolicy::default(),
            update: UpdatePolicy::default(),
            rollback: None,
            drift: DriftPolicy::default(),
            stop: StopPolicy::default(),
            mounts: Vec::new(),
            secrets: Vec::new(),
            configs: Vec::new(),
            placement: Placement::default(),
            security: Security::default(),
            labels: Labels::new(),
            extra_hosts: Vec::new(),
            dns: Dns::default(),
            tty: false,
            stdin_open: false,
            init: false,
            log: LogBounds::default(),
            unhonoured: Vec::new(),
        }
    }

    /// Replaces the image's command.
    #[must_use]
    pub fn command<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command = Some(words.into_iter().map(Into::into).collect());
        self
    }

    /// Replaces the image's entrypoint.
    #[must_use]
    pub fn entrypoint<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.entrypoint = Some(words.into_iter().map(Into::into).collect());
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(key.into(), value.into());
        self
    }

    /// Publishes a port on the node.
    #[must_use]
    pub fn publish(mut self, port: Published) -> Self {
        self.ports.push(port);
        self
    }

    /// Declares a container port that other services may use.
    #[must_use]
    pub fn expose(mut self, exposed: Exposed) -> Self {
        self.expose.push(exposed);
        self
    }

    /// Puts it on a network.
    #[must_use]
    pub fn network(mut self, name: NetworkName, attachment: Attachment) -> Self {
        self.networks.insert(name, attachment);
        self
    }

    /// Adds a link.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.links.push(link);
        self
    }

    /// Makes it start after another service.
    #[must_use]
    pub fn after(mut self, service: ServiceName, dependency: Dependency) -> Self {
        self.depends_on.insert(service, dependency);
        self
    }

    /// Sets how many copies run.
    #[must_use]
    pub fn replicas(mut self, count: u32) -> Self {
        self.replicas = count;
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn resources(mut self, resources: Resources) -> Self {
        self.resources = resources;
        self
    }

    /// Sets the health check.
    #[must_use]
    pub fn health(mut self, health: crate::spec::Health) -> Self {
        self.health = HealthWish::Check(health);
        self
    }

    /// Sets the restart policy.
    #[must_use]
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.restart = policy;
        self
    }

    /// Adds a mount.
    #[must_use]
    pub fn mount(mut self, mount: Mount) -> Self {
        self.mounts.push(mount);
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Which copy goes first in an update, and why.
    ///
    /// A service with a writable volume or bind, a fixed name or a fixed host port outside a
    /// balanced one stops first, because two copies must never write the same data or hold the
    /// same place; every other service starts first.
    #[must_use]
    pub fn update_order(&self) -> (UpdateOrder, &'static str) {
        self.order_by(&self.update)
    }

    /// How it goes back to a former specification. Its clients get as long as in an update, and so
    /// do replacements. A failure on the way back stops it where it is.
    #[must_use]
    pub fn rollback_policy(&self) -> UpdatePolicy {
        let policy = self.rollback.unwrap_or(self.update);
        let on_failure = match policy.on_failure {
            FailureAction::Rollback => FailureAction::Pause,
            other => other,
        };
        UpdatePolicy {
            drain: self.update.drain,
            deadline: self.update.deadline,
            on_failure,
            // What ran before needs no trial.
            canary: None,
            ..policy
        }
    }

    pub(crate) fn order_by(&self, policy: &UpdatePolicy) -> (UpdateOrder, &'static str) {
        if let Some(order) = policy.order {
            return (order, "the file says so");
        }
        if self.mounts.iter().any(Mount::is_shared_and_writable) {
            return (
                UpdateOrder::StopFirst,
                "it writes a volume or bind that two copies would share",
            );
        }
        if self.container_name.is_some() {
            return (UpdateOrder::StopFirst, "its container name is fixed");
        }
        if self.network_mode == NetworkMode::Host {
            return (UpdateOrder::StopFirst, "it uses the network of the node");
        }
        (
            UpdateOrder::StartFirst,
            "it holds no data and no fixed place",
        )
    }

    /// The named volumes it mounts.
    pub fn volumes(&self) -> impl Iterator<Item = &VolumeName> {
        self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Volume(name) => Some(name),
            _ => None,
        })
    }

    /// The secrets and configs it gets.
    pub fn blobs(&self) -> impl Iterator<Item = BlobId> {
        let of = |kind: BlobKind| {
            move |grant: &BlobGrant| BlobId {
                kind,
                name: grant.name.clone(),
            }
        };
        let secrets = self.secrets.iter().map(of(BlobKind::Secret));
        secrets.chain(self.configs.iter().map(of(BlobKind::Config)))
    }

    /// Every container port it is known to listen on: published, then exposed.
    #[must_use]
    pub fn known_ports(&self) -> Vec<Exposed> {
        let mut ports: Vec<Exposed> = self
            .ports
            .iter()
            .map(|p| Exposed {
                port: p.target,
                protocol: p.protocol,
            })
            .collect();
        ports.extend(&self.expose);
        let mut seen = std::collections::BTreeSet::new();
        ports.retain(|port| seen.insert(*port));
        ports
    }
}
