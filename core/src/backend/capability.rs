//! What a backend can do, said before anything is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Place;
use crate::name::ServiceName;

macro_rules! features {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, guards: $guards:literal;)+) => {
        /// One thing a backend may be able to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Feature {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Feature {
            /// Every feature there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The feature's name in tables and files.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// One sentence on what a backend with this feature does.
            #[must_use]
            pub fn summary(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }

            /// Fields of a Compose file that need it; `-` where an operation needs it.
            #[must_use]
            pub fn guards(self) -> &'static str {
                match self { $(Self::$name => $guards),+ }
            }
        }
    };
}

features! {
    /// Starts replicas of a service from an image.
    Spawn = "spawn", guards: "services";
    /// Runs more than one replica of a service.
    Scale = "scale", guards: "deploy.replicas, scale";
    /// Resolves service names between services of a shared network.
    Links = "links", guards: "networks, links";
    /// Resolves further names for a service.
    LinkAlias = "link-alias", guards: "links, networks.aliases";
    /// Adds, re-points and removes links of running replicas.
    LinkLive = "link-live", guards: "-";
    /// Links services of different stacks.
    LinkAcross = "link-across", guards: "x-unmoor.links";
    /// Gives a service one address that outlives its replicas.
    StableAddress = "stable-address", guards: "x-unmoor.address_mode";
    /// Resolves a service's name to the addresses of its replicas, where that is asked for.
    ReplicaAddresses = "replica-addresses", guards: "x-unmoor.address_mode, deploy.endpoint_mode";
    /// Lists the addresses that answer for a service.
    Discover = "discover", guards: "-";
    /// Tells of endpoint changes as they happen.
    Watch = "watch", guards: "-";
    /// Answers a service's own questions about the services that it may see.
    DiscoverInside = "discover-inside", guards: "-";
    /// Carries TCP between services.
    InternalTcp = "internal-tcp", guards: "expose";
    /// Carries UDP between services.
    InternalUdp = "internal-udp", guards: "expose";
    /// Publishes TCP ports to the outside.
    PublishTcp = "publish-tcp", guards: "ports";
    /// Publishes UDP ports to the outside.
    PublishUdp = "publish-udp", guards: "ports";
    /// Keeps services without a common network apart.
    NetworkIsolation = "network-isolation", guards: "networks";
    /// Keeps a network from reaching the outside.
    InternalNetwork = "internal-network", guards: "networks.internal";
    /// Puts a service on the network of its node.
    HostNetwork = "host-network", guards: "network_mode";
    /// Shows what replicas wrote.
    Logs = "logs", guards: "logging";
    /// Follows what replicas write.
    LogsFollow = "logs-follow", guards: "-";
    /// Runs a command inside a replica.
    Exec = "exec", guards: "-";
    /// Gives such a command a terminal.
    ExecTty = "exec-tty", guards: "-";
    /// Sends signals to running replicas.
    Signal = "signal", guards: "-";
    /// Freezes a replica's processes and lets them go on.
    Pause = "pause", guards: "-";
    /// Makes replicas without starting them.
    Create = "create", guards: "-";
    /// Counts what replicas use.
    Stats = "stats", guards: "-";
    /// Lists the processes inside a replica.
    Processes = "processes", guards: "-";
    /// Copies files into and out of replicas.
    Copy = "copy", guards: "-";
    /// Joins the streams of a replica's own program.
    Attach = "attach", guards: "stdin_open";
    /// Tells of changes in the life of replicas.
    Events = "events", guards: "-";
    /// Checks health by a command inside.
    HealthExec = "health-exec", guards: "healthcheck";
    /// Checks health by a TCP connection.
    HealthTcp = "health-tcp", guards: "x-unmoor.health";
    /// Checks health by an HTTP request.
    HealthHttp = "health-http", guards: "x-unmoor.health";
    /// Leaves a replica that ended as it is.
    RestartNo = "restart-no", guards: "restart";
    /// Restarts a replica that failed.
    RestartOnFailure = "restart-on-failure", guards: "restart";
    /// Restarts a replica whenever it ends.
    RestartAlways = "restart-always", guards: "restart";
    /// Runs a service to completion.
    Jobs = "jobs", guards: "depends_on, deploy.mode";
    /// Replaces replicas without an interruption.
    RollingUpdate = "rolling-update", guards: "deploy.update_config, deploy.rollback_config, x-unmoor";
    /// Replaces so many replicas first, and the others once that is approved.
    Canary = "canary", guards: "x-unmoor.canary";
    /// Takes a replica out of discovery before it stops.
    Drain = "drain", guards: "x-unmoor.drain";
    /// Honours the stop signal.
    StopSignal = "stop-signal", guards: "stop_signal";
    /// Honours the grace between stop signal and kill.
    StopGrace = "stop-grace", guards: "stop_grace_period";
    /// Keeps named volumes beyond the replicas.
    Volumes = "volumes", guards: "volumes";
    /// Lets several replicas write one volume.
    SharedVolumes = "shared-volumes", guards: "volumes";
    /// Mounts paths of the node.
    Binds = "binds", guards: "volumes";
    /// Mounts memory.
    Tmpfs = "tmpfs", guards: "tmpfs";
    /// Hands secrets to services as files.
    Secrets = "secrets", guards: "secrets";
    /// Hands configs to services as files.
    Configs = "configs", guards: "configs";
    /// Limits processor time.
    CpuLimit = "cpu-limit", guards: "cpus, deploy.resources.limits.cpus, cpu_shares";
    /// Limits memory.
    MemoryLimit = "memory-limit", guards: "mem_limit, deploy.resources.limits.memory";
    /// Limits the number of processes.
    PidsLimit = "pids-limit", guards: "pids_limit, deploy.resources.limits.pids";
    /// Runs as a given user.
    User = "user", guards: "user, group_add";
    /// Makes the root file system read-only.
    ReadOnlyRoot = "read-only-root", guards: "read_only";
    /// Gives each replica a range of user and group ids of its own.
    UserNamespace = "user-namespace", guards: "x-unmoor.userns";
    /// Adds and drops Linux capabilities.
    LinuxCapabilities = "linux-capabilities", guards: "cap_add, cap_drop";
    /// Gives a service every right on its node.
    Privileged = "privileged", guards: "privileged";
    /// Gives a service devices of its node.
    Devices = "devices", guards: "devices";
    /// Sets kernel parameters of a replica.
    Sysctls = "sysctls", guards: "sysctls";
    /// Sets process limits.
    Ulimits = "ulimits", guards: "ulimits";
    /// Gives a service a terminal.
    Tty = "tty", guards: "tty";
    /// Runs a small init as first process.
    Init = "init", guards: "init";
    /// Adds lines to the hosts file.
    ExtraHosts = "extra-hosts", guards: "extra_hosts, dns, dns_search, dns_opt";
    /// Places replicas by constraints.
    Placement = "placement", guards: "deploy.placement";
    /// Takes images from an archive.
    ImageLoad = "image-load", guards: "-";
    /// Fetches images from a registry.
    ImagePull = "image-pull", guards: "pull_policy";
    /// Sends images to a registry.
    ImagePush = "image-push", guards: "-";
    /// Shows what is there and not ours, and takes it over as it runs.
    Adopt = "adopt", guards: "-";
    /// Stores the desired stack and the journal of changes.
    State = "state", guards: "-";
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How far a feature is supported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Support {
    /// The platform does it.
    Native,
    /// We do it on top of the platform.
    Emulated,
    /// A program added to the image, or beside it, does it.
    Injected,
    /// It works within a limit, given in words.
    Limited(String),
    /// It cannot be done; the text says what to do instead.
    Unsupported(String),
}

impl Support {
    /// True unless unsupported.
    #[must_use]
    pub fn is_available(&self) -> bool {
        !matches!(self, Self::Unsupported(_))
    }
}

/// Who keeps a feature going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// The platform, whether or not anything of ours runs.
    Platform,
    /// A process of ours that stays.
    Resident,
    /// The caller; when it ends, the change stands still in a serving state.
    Caller,
}

/// A feature's support and who acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// How far.
    pub support: Support,
    /// By whom.
    pub actor: Actor,
}

/// Numbers a platform imposes; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limits {
    /// Most replicas of one service.
    pub replicas: Option<u32>,
    /// Longest grace between stop signal and kill.
    pub stop_grace: Option<Duration>,
}

/// Everything a backend can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    features: BTreeMap<Feature, Capability>,
    /// Numbers.
    pub limits: Limits,
}

impl Capabilities {
    /// Nothing is supported.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Declares features of one kind of support.
    #[must_use]
    pub fn with(mut self, features: &[Feature], support: &Support, actor: Actor) -> Self {
        for feature in features {
            self.features.insert(
                *feature,
                Capability {
                    support: support.clone(),
                    actor,
                },
            );
        }
        self
    }

    /// How far a feature is supported.
    #[must_use]
    pub fn support(&self, feature: Feature) -> Support {
        match self.features.get(&feature) {
            Some(capability) => capability.support.clone(),
            None => Support::Unsupported("this backend does not offer it".to_owned()),
        }
    }

    /// Who keeps the feature going, if it is supported.
    #[must_use]
    pub fn actor(&self, feature: Feature) -> Option<Actor> {
        let capability = self.features.get(&feature)?;
        capability
            .support
            .is_available()
            .then_some(capability.actor)
    }

    /// True unless the feature is unsupported.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self.support(feature).is_available()
    }

    /// Every feature with its capability, undeclared ones left out.
    pub fn iter(&self) -> impl Iterator<Item = (Feature, &Capability)> {
        self.features
            .iter()
            .map(|(feature, capability)| (*feature, capability))
    }
}

/// A wanted thing that the backend cannot do, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The service it is about; `None` is the stack.
    pub service: Option<ServiceName>,
    /// The field that wants it, as `services.web.ports`.
    pub path: String,
    /// The feature that is missing.
    pub feature: Feature,
    /// True: it stops the plan. False: it only differs.
    pub fatal: bool,
    /// What will not happen.
    pub consequence: String,
    /// What to do instead.
    pub alternative: String,
    /// Where the field stands, if the stack came from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {}", self.path, self.consequence)?;
        if !self.alternative.is_empty() {
            write!(f, " ({})", self.alternative)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_a_sentence_and_a_name_of_its_own() {
        let mut names = std::collections::BTreeSet::new();
        for feature in Feature::ALL {
            assert!(feature.summary().trim().ends_with('.'), "{feature}");
            assert!(!feature.guards().is_empty(), "{feature}");
            assert!(names.insert(feature.as_str()), "{feature} twice");
        }
    }

    #[test]
    fn what_is_not_declared_is_unsupported() {
        let caps = Capabilities::none().with(&[Feature::Logs], &Support::Native, Actor::Platform);
        assert!(caps.has(Feature::Logs));
        assert!(!caps.has(Feature::Exec));
        assert_eq!(caps.actor(Feature::Exec), None);
    }
}
