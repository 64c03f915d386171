//! What a backend cannot do of what a stack asks for.

use std::collections::BTreeSet;

use super::Scope;
use super::order::networks_of;
use crate::backend::{Capabilities, Feature, Gap, Support};
use crate::error::Place;
use crate::name::{NetworkName, ServiceName};
use crate::spec::{
    Condition, HealthTest, HealthWish, MountSource, NetworkMode, Protocol, RestartPolicy, Service,
    Stack,
};

/// A field that is set, and how far a backend can do what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSupport {
    /// The service; `None` is the stack.
    pub service: Option<ServiceName>,
    /// The field, as `services.web.ports`.
    pub path: String,
    /// The feature that it needs.
    pub feature: Feature,
    /// How far that goes.
    pub support: Support,
}

/// Every field of a stack that needs something of a backend, in the order of the file, each
/// feature once a field.
#[must_use]
pub fn fields(stack: &Stack, capabilities: &Capabilities) -> Vec<FieldSupport> {
    let mut found: Vec<FieldSupport> = Vec::new();
    let mut add = |service: Option<&ServiceName>, path: String, feature: Feature| {
        let field = FieldSupport {
            service: service.cloned(),
            path,
            feature,
            support: capabilities.support(feature),
        };
        if !found.contains(&field) {
            found.push(field);
        }
    };
    for (name, service) in &stack.services {
        for (field, feature) in wanted(service) {
            add(Some(name), format!("services.{name}.{field}"), feature);
        }
    }
    for (name, network) in &stack.networks {
        if network.internal {
            add(
                None,
                format!("networks.{name}.internal"),
                Feature::InternalNetwork,
            );
        }
    }
    found
}

/// Every gap between the capabilities and what of a stack is asked for, by name.
pub(super) fn gaps(stack: &Stack, capabilities: &Capabilities, only: &Scope) -> Vec<Gap> {
    let mut found = Vec::new();
    let reach = only.reach(stack);
    let services = || {
        stack
            .services
            .iter()
            .filter(|(name, _)| reach.contains(*name))
    };
    for (name, service) in services() {
        for (field, feature) in wanted(service) {
            let path = format!("services.{name}.{field}");
            push(&mut found, capabilities, Some(name), path, feature);
        }
        if let (Some(limit), Some(grace)) = (capabilities.limits.stop_grace, service.stop.grace)
            && grace > limit
        {
            found.push(Gap {
                service: Some(name.clone()),
                path: format!("services.{name}.stop_grace_period"),
                feature: Feature::StopGrace,
                fatal: false,
                consequence: format!("replicas are killed after {} s", limit.as_secs()),
                alternative: String::new(),
                place: None,
            });
        }
    }
    let used: BTreeSet<NetworkName> = services().flat_map(|(_, s)| networks_of(s)).collect();
    for (name, network) in &stack.networks {
        if network.internal && (*only == Scope::All || used.contains(name)) {
            let path = format!("networks.{name}.internal");
            push(
                &mut found,
                capabilities,
                None,
                path,
                Feature::InternalNetwork,
            );
        }
    }
    for gap in &mut found {
        gap.place = place(stack, gap).cloned();
    }
    found
}

/// Where the field of a gap stands: itself, or the other way to write it that the file uses.
fn place<'s>(stack: &'s Stack, gap: &Gap) -> Option<&'s Place> {
    if let Some(exact) = stack.places.exactly(&gap.path) {
        return Some(exact);
    }
    let service = gap.service.as_ref()?;
    let others = gap.feature.guards().split(", ");
    let mut others = others.map(|field| format!("services.{service}.{field}"));
    let other = others.find_map(|path| stack.places.exactly(&path));
    other.or_else(|| stack.places.of(&gap.path))
}

fn push(
    found: &mut Vec<Gap>,
    capabilities: &Capabilities,
    service: Option<&ServiceName>,
    path: String,
    feature: Feature,
) {
    let (fatal, consequence, alternative) = match capabilities.support(feature) {
        Support::Unsupported(hint) => (true, format!("`{feature}` is not possible here"), hint),
        Support::Limited(limit) => (false, limit, String::new()),
        Support::Native | Support::Emulated | Support::Injected => return,
    };
    found.push(Gap {
        service: service.cloned(),
        path,
        feature,
        fatal,
        consequence,
        alternative,
        place: None,
    });
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
    want(!service.links.is_empty(), "links", Feature::LinkAlias);
    let across = service.links.iter().any(|link| link.target.stack.is_some());
    want(across, "x-unmoor.links", Feature::LinkAcross);
    want(
        service.networks.len() > 1,
        "networks",
        Feature::NetworkIsolation,
    );
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
    wanted_files(service, &mut want);
    wanted_rights(service, &mut want);
    list
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
    want(rights.read_only, "read_only", Feature::ReadOnlyRoot);
    want(!rights.sysctls.is_empty(), "sysctls", Feature::Sysctls);
    want(!rights.ulimits.is_empty(), "ulimits", Feature::Ulimits);
    want(service.tty, "tty", Feature::Tty);
    want(service.init, "init", Feature::Init);
    want(
        !service.extra_hosts.is_empty(),
        "extra_hosts",
        Feature::ExtraHosts,
    );
    want(
        !service.placement.constraints.is_empty(),
        "deploy.placement",
        Feature::Placement,
    );
}
