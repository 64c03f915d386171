//! What the local backend can do, and who keeps it going.

use unmoor_core::backend::{Actor, Capabilities, Feature, Support};

use crate::sandbox::cgroup::Hierarchies;

/// Held by the kernel: goes on whatever of ours runs.
const KERNEL: &[Feature] = &[
    Feature::StableAddress,
    Feature::UserNamespace,
    Feature::InternalTcp,
    Feature::InternalUdp,
    Feature::PublishTcp,
    Feature::PublishUdp,
    Feature::NetworkIsolation,
    Feature::InternalNetwork,
    Feature::Volumes,
    Feature::SharedVolumes,
    Feature::Binds,
    Feature::Tmpfs,
    Feature::Secrets,
    Feature::Configs,
    Feature::User,
    Feature::ReadOnlyRoot,
    Feature::LinuxCapabilities,
    Feature::Devices,
    Feature::Sysctls,
    Feature::Ulimits,
    Feature::Tty,
    Feature::Init,
    Feature::ExtraHosts,
    Feature::Signal,
    Feature::Stats,
    Feature::Processes,
    Feature::Copy,
    Feature::Create,
    Feature::RestartNo,
    Feature::State,
    Feature::ImageLoad,
];

/// Kept going by the shim of each replica, which stays.
const SHIM: &[Feature] = &[
    Feature::Links,
    Feature::LinkAlias,
    Feature::ReplicaAddresses,
    Feature::LinkLive,
    Feature::LinkAcross,
    Feature::DiscoverInside,
    Feature::Logs,
    Feature::HealthExec,
    Feature::HealthTcp,
    Feature::HealthHttp,
    Feature::RestartOnFailure,
    Feature::RestartAlways,
    Feature::StopSignal,
    Feature::StopGrace,
    Feature::Exec,
    Feature::ExecTty,
    Feature::Attach,
];

/// Done by whoever calls.
const CALLER: &[Feature] = &[
    Feature::Spawn,
    Feature::Scale,
    Feature::Jobs,
    Feature::Drain,
    Feature::Discover,
    Feature::Watch,
    Feature::LogsFollow,
    Feature::Events,
];

/// How far something that is not on record is taken over.
fn adoption() -> Support {
    let own = "what this installation has lost from its record, and volumes put there by hand; \
               containers of other tools are not looked at";
    Support::Limited(own.to_owned())
}

/// Everything the backend can do on a host with these hierarchies.
///
/// `obstacle` is what keeps routed packets from passing through this host, if anything does.
pub(super) fn of(hierarchies: &Hierarchies, obstacle: Option<&str>) -> Capabilities {
    let native = Support::Native;
    let mut capabilities = Capabilities::none()
        .with(KERNEL, &native, Actor::Platform)
        .with(SHIM, &native, Actor::Resident)
        .with(CALLER, &native, Actor::Caller)
        .with(
            &[Feature::RollingUpdate, Feature::Canary],
            &Support::Emulated,
            Actor::Caller,
        );
    let limits = [
        (Feature::MemoryLimit, "memory"),
        (Feature::CpuLimit, "cpu"),
        (Feature::PidsLimit, "pids"),
    ];
    for (feature, controller) in limits {
        let support = if hierarchies.can_limit(controller) {
            native.clone()
        } else {
            let hint = format!(
                "no cgroup here can limit {controller}; mount its controller, or in a container \
                 move the processes in its topmost group to one below"
            );
            Support::Unsupported(hint)
        };
        capabilities = capabilities.with(&[feature], &support, Actor::Platform);
    }
    if let Some(obstacle) = obstacle {
        let limited = Support::Limited(obstacle.to_owned());
        let routed = [Feature::PublishTcp, Feature::PublishUdp];
        capabilities = capabilities.with(&routed, &limited, Actor::Platform).with(
            &[Feature::LinkAcross],
            &limited,
            Actor::Resident,
        );
    }
    let support = match hierarchies.can_freeze() {
        true => native.clone(),
        false => Support::Unsupported("no cgroup freezer is mounted; mount cgroup2".to_owned()),
    };
    capabilities = capabilities.with(&[Feature::Pause], &support, Actor::Platform);
    let privileged = "every capability within the replica's own user namespace; no devices of the \
                      node, no rights over it";
    let on_node = "no right over the node's network: no port below the node's \
                   `net.ipv4.ip_unprivileged_port_start`, no raw sockets, no change of interfaces";
    capabilities = capabilities.with(&[Feature::Adopt], &adoption(), Actor::Platform);
    let refused = [(
        Feature::Placement,
        "there is one node; leave the constraints out",
    )];
    capabilities = capabilities.with(
        &[Feature::HostNetwork],
        &Support::Limited(on_node.to_owned()),
        Actor::Platform,
    );
    capabilities = capabilities.with(
        &[Feature::Privileged],
        &Support::Limited(privileged.to_owned()),
        Actor::Platform,
    );
    for (feature, hint) in refused {
        let support = Support::Unsupported(hint.to_owned());
        capabilities = capabilities.with(&[feature], &support, Actor::Platform);
    }
    let pull = if cfg!(feature = "pull") {
        native
    } else {
        let hint = "this build speaks to no registry (cargo feature `pull`); use image files";
        Support::Unsupported(hint.to_owned())
    };
    capabilities.with(
        &[Feature::ImagePull, Feature::ImagePush],
        &pull,
        Actor::Caller,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_decided_and_every_refusal_says_what_to_do() {
        let capabilities = of(&Hierarchies::default(), None);
        let decided: Vec<_> = capabilities.iter().map(|(feature, _)| feature).collect();
        for feature in Feature::ALL {
            assert!(decided.contains(feature), "{feature} is not decided");
            if let Support::Unsupported(hint) = capabilities.support(*feature) {
                assert!(hint.contains(';'), "{feature}: {hint}");
            }
        }
        assert!(
            !capabilities.has(Feature::MemoryLimit),
            "there is no controller"
        );
    }

    #[test]
    fn another_firewall_limits_what_is_routed_and_nothing_else() {
        let capabilities = of(&Hierarchies::default(), Some("chain x drops"));
        for (feature, _) in capabilities.iter() {
            let support = capabilities.support(feature);
            let routed = [
                Feature::PublishTcp,
                Feature::PublishUdp,
                Feature::LinkAcross,
            ];
            let limited = support == Support::Limited("chain x drops".to_owned());
            assert_eq!(limited, routed.contains(&feature), "{feature}");
        }
    }
}
