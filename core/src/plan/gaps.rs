//! What a backend cannot do of what a stack asks for.

use std::collections::BTreeSet;

use super::Scope;
use super::order::networks_of;
use crate::backend::{Capabilities, Feature, Gap, Support};
use crate::error::Place;
use crate::name::{NetworkName, ServiceName};
use crate::spec::{
    AddressMode, Condition, HealthTest, HealthWish, LogBounds, MountSource, NetworkMode, Protocol,
    PullPolicy, RestartPolicy, Role, Service, Stack, UpdatePolicy,
};

/// A field that is set, and how far a backend can do what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldSupport {
    /// The service; `None` is the stack.
    pub service: Option<ServiceName>,
    /// The field, as `services.web.ports`.
    pub path: String,
    /// The feature that it needs.
    pub feature: Feature,
    /// How far that goes.
    pub support: Support,
    /// Where it stands, or the other way to write it that the file uses.
    pub place: Option<Place>,
}

/// Every field in the reach of a plan that needs something of a backend, in the order of the file,
/// each feature once a field. What is unsupported here is what the plan is refused for.
#[must_use]
pub fn fields(stack: &Stack, capabilities: &Capabilities, only: &Scope) -> Vec<FieldSupport> {
    supports(stack, capabilities, only, |_| true)
}

/// Every gap between the capabilities and what of a stack is asked for, by name.
pub(super) fn gaps(stack: &Stack, capabilities: &Capabilities, only: &Scope) -> Vec<Gap> {
    let lacks =
        |support: &Support| matches!(support, Support::Unsupported(_) | Support::Limited(_));
    let lacking = supports(stack, capabilities, only, lacks);
    lacking.into_iter().map(FieldSupport::gap).collect()
}

impl FieldSupport {
    fn gap(self) -> Gap {
        let feature = self.feature;
        let (fatal, consequence, alternative) = match self.support {
            Support::Unsupported(hint) => (true, format!("`{feature}` is not possible here"), hint),
            Support::Limited(limit) => (false, limit, String::new()),
            _ => (false, String::new(), String::new()),
        };
        Gap {
            service: self.service,
            path: self.path,
            feature,
            fatal,
            consequence,
            alternative,
            place: self.place,
        }
    }
}

/// The fields in the reach of a plan whose support is of interest.
fn supports(
    stack: &Stack,
    capabilities: &Capabilities,
    only: &Scope,
    is_of_interest: impl Fn(&Support) -> bool,
) -> Vec<FieldSupport> {
    let mut found: Vec<FieldSupport> = Vec::new();
    // Most stacks are planned as a whole: nothing is copied for them.
    let reach = (*only != Scope::All).then(|| only.reach(stack));
    let is_reached = |name: &ServiceName| reach.as_ref().is_none_or(|reach| reach.contains(name));
    let services = || stack.services.iter().filter(|(name, _)| is_reached(name));
    for (name, service) in services() {
        let first = found.len();
        for (field, feature) in wanted(service) {
            let support = within(service, field, capabilities);
            let support = support.unwrap_or_else(|| capabilities.support(feature));
            if !is_of_interest(&support) {
                continue;
            }
            let path = format!("services.{name}.{field}");
            let is_said = |old: &FieldSupport| old.path == path && old.feature == feature;
            if found[first..].iter().any(is_said) {
                continue;
            }
            let place = place(stack, name, &path, feature).cloned();
            found.push(FieldSupport {
                service: Some(name.clone()),
                path,
                feature,
                support,
                place,
            });
        }
    }
    let internal = || {
        stack
            .networks
            .iter()
            .filter(|(_, network)| network.internal)
    };
    if internal().next().is_none() {
        return found;
    }
    let used: BTreeSet<NetworkName> = services().flat_map(|(_, s)| networks_of(s)).collect();
    let support = capabilities.support(Feature::InternalNetwork);
    for (name, _) in internal().filter(|(name, _)| *only == Scope::All || used.contains(*name)) {
        if is_of_interest(&support) {
            let path = format!("networks.{name}.internal");
            found.push(FieldSupport {
                service: None,
                feature: Feature::InternalNetwork,
                support: support.clone(),
                place: stack.places.of(&path).cloned(),
                path,
            });
        }
    }
    found
}

/// What a platform's numbers make of a field.
fn within(service: &Service, field: &str, capabilities: &Capabilities) -> Option<Support> {
    let limits = &capabilities.limits;
    match field {
        "stop_grace_period" => {
            let limit = limits
                .stop_grace
                .filter(|limit| service.stop.grace > Some(*limit))?;
            let text = format!("replicas are killed after {} s", limit.as_secs());
            let is_there = capabilities.has(Feature::StopGrace);
            is_there.then_some(Support::Limited(text))
        }
        "deploy.replicas" => {
            let most = limits.replicas.filter(|most| service.replicas > *most)?;
            let text = format!("a service has at most {most} replicas here; ask for fewer");
            Some(Support::Unsupported(text))
        }
        _ => None,
    }
}

/// Where a field stands: itself, or the other way to write it that the file uses.
fn place<'s>(
    stack: &'s Stack,
    service: &ServiceName,
    path: &str,
    feature: Feature,
) -> Option<&'s Place> {
    if let Some(exact) = stack.places.exactly(path) {
        return Some(exact);
    }
    let others = feature.guards().split(", ");
    let mut others = others.map(|field| format!("services.{service}.{field}"));
    let other = others.find_map(|path| stack.places.exactly(&path));
    other.or_else(|| stack.places.of(path))
}

/// Fields that are set, with the feature each needs.
fn wanted(service: &Service) -> Vec<(&'static str, Feature)> {
    let mut list = vec![("image", Feature::Spawn)];
    let mut want = |needed: bool, field: &'static str, feature: Feature| {
        if needed {
            list.push((field, feature));
        }
    };
    want(service.replicas > 1, "deploy.replicas", Feature::Scale);
    want(service.user.is_some(), "user", Feature::User);
    let groups = !service.security.groups.is_empty();
    want(groups, "group_add", Feature::User);
    let bounded = service.log != LogBounds::default();
    want(bounded, "logging", Feature::Logs);
    want(!service.links.is_empty(), "links", Feature::Links);
    want(!service.links.is_empty(), "links", Feature::LinkAlias);
    let across = service.links.iter().any(|link| link.target.stack.is_some());
    want(across, "x-unmoor.links", Feature::LinkAcross);
    want(
        service.networks.len() > 1,
        "networks",
        Feature::NetworkIsolation,
    );
    let (address, feature) = match service.address_mode {
        Some(AddressMode::Replicas) => (true, Feature::ReplicaAddresses),
        asked => (asked.is_some(), Feature::StableAddress),
    };
    want(address, "x-unmoor.address_mode", feature);
    let aliases = service
        .networks
        .values()
        .any(|attachment| !attachment.aliases.is_empty());
    want(aliases, "networks", Feature::LinkAlias);
    want(
        service.network_mode == NetworkMode::Host,
        "network_mode",
        Feature::HostNetwork,
    );
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let published = service.network_mode != NetworkMode::Host
            && service.ports.iter().any(|port| port.protocol == protocol);
        let exposed = service.expose.iter().any(|port| port.protocol == protocol);
        let (publish, internal) = match protocol {
            Protocol::Tcp => (Feature::PublishTcp, Feature::InternalTcp),
            Protocol::Udp => (Feature::PublishUdp, Feature::InternalUdp),
        };
        want(published, "ports", publish);
        want(exposed, "expose", internal);
    }
    if let HealthWish::Check(health) = &service.health {
        let feature = match health.test {
            HealthTest::Exec(_) | HealthTest::Shell(_) => Feature::HealthExec,
            HealthTest::Tcp { .. } => Feature::HealthTcp,
            HealthTest::Http { .. } => Feature::HealthHttp,
        };
        want(true, "healthcheck", feature);
    }
    wanted_life(service, &mut want);
    wanted_files(service, &mut want);
    wanted_rights(service, &mut want);
    list
}

fn wanted_life(service: &Service, want: &mut impl FnMut(bool, &'static str, Feature)) {
    let pulls = service.pull == PullPolicy::Always;
    want(pulls, "pull_policy", Feature::ImagePull);
    want(service.role == Role::Job, "deploy.mode", Feature::Jobs);
    let policies = [Some(service.update), service.rollback];
    let rolls = |policy: &UpdatePolicy| {
        // These two are not about how replicas take turns.
        let usual = UpdatePolicy {
            drain: policy.drain,
            deadline: policy.deadline,
            canary: policy.canary,
            ..UpdatePolicy::default()
        };
        *policy != usual
    };
    want(
        service.update.canary.is_some(),
        "x-unmoor.canary",
        Feature::Canary,
    );
    want(
        policies.iter().flatten().any(rolls),
        "deploy.update_config",
        Feature::RollingUpdate,
    );
    let restart = match service.restart {
        RestartPolicy::No => Feature::RestartNo,
        RestartPolicy::OnFailure { .. } => Feature::RestartOnFailure,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => Feature::RestartAlways,
    };
    want(true, "restart", restart);
    let completes = |d: &crate::spec::Dependency| d.condition == Condition::CompletedSuccessfully;
    want(
        service.depends_on.values().any(completes),
        "depends_on",
        Feature::Jobs,
    );
    want(
        service.stop.signal.is_some(),
        "stop_signal",
        Feature::StopSignal,
    );
    want(
        service.stop.grace.is_some(),
        "stop_grace_period",
        Feature::StopGrace,
    );
    want(
        !service.update.drain.is_zero(),
        "x-unmoor.drain",
        Feature::Drain,
    );
}

fn wanted_files(service: &Service, want: &mut impl FnMut(bool, &'static str, Feature)) {
    for mount in &service.mounts {
        let (field, feature) = match mount.source {
            MountSource::Volume(_) | MountSource::Anonymous => ("volumes", Feature::Volumes),
            MountSource::Bind { .. } => ("volumes", Feature::Binds),
            MountSource::Tmpfs { .. } => ("tmpfs", Feature::Tmpfs),
        };
        want(true, field, feature);
        let shared = service.replicas > 1 && matches!(mount.source, MountSource::Volume(_));
        want(
            shared && !mount.read_only,
            "volumes",
            Feature::SharedVolumes,
        );
    }
    want(!service.secrets.is_empty(), "secrets", Feature::Secrets);
    want(!service.configs.is_empty(), "configs", Feature::Configs);
}

fn wanted_rights(service: &Service, want: &mut impl FnMut(bool, &'static str, Feature)) {
    let (limits, rights) = (&service.resources, &service.security);
    want(limits.cpu.is_some(), "cpus", Feature::CpuLimit);
    want(limits.cpu_shares.is_some(), "cpu_shares", Feature::CpuLimit);
    want(limits.memory.is_some(), "mem_limit", Feature::MemoryLimit);
    want(
        limits.memory_reservation.is_some(),
        "mem_reservation",
        Feature::MemoryLimit,
    );
    want(limits.pids.is_some(), "pids_limit", Feature::PidsLimit);
    want(rights.privileged, "privileged", Feature::Privileged);
    want(!rights.devices.is_empty(), "devices", Feature::Devices);
    want(
        !rights.cap_add.is_empty(),
        "cap_add",
        Feature::LinuxCapabilities,
    );
    want(
        !rights.cap_drop.is_empty(),
        "cap_drop",
        Feature::LinuxCapabilities,
    );
    want(rights.own_ids, "x-unmoor.userns", Feature::UserNamespace);
    want(rights.read_only, "read_only", Feature::ReadOnlyRoot);
    want(!rights.sysctls.is_empty(), "sysctls", Feature::Sysctls);
    want(!rights.ulimits.is_empty(), "ulimits", Feature::Ulimits);
    want(service.tty, "tty", Feature::Tty);
    want(service.stdin_open, "stdin_open", Feature::Attach);
    want(service.init, "init", Feature::Init);
    want(
        !service.extra_hosts.is_empty(),
        "extra_hosts",
        Feature::ExtraHosts,
    );
    let dns = &service.dns;
    want(!dns.servers.is_empty(), "dns", Feature::ExtraHosts);
    want(!dns.search.is_empty(), "dns_search", Feature::ExtraHosts);
    want(!dns.options.is_empty(), "dns_opt", Feature::ExtraHosts);
    want(
        !service.placement.constraints.is_empty(),
        "deploy.placement",
        Feature::Placement,
    );
}
