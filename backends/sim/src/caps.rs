//! What the model can do.

use unmoor_core::backend::{Actor, Capabilities, Feature, Support};

const NATIVE: &[Feature] = &[
    Feature::Spawn,
    Feature::Scale,
    Feature::Links,
    Feature::LinkAlias,
    Feature::LinkLive,
    Feature::LinkAcross,
    Feature::StableAddress,
    Feature::ReplicaAddresses,
    Feature::Discover,
    Feature::Watch,
    Feature::DiscoverInside,
    Feature::InternalTcp,
    Feature::InternalUdp,
    Feature::PublishTcp,
    Feature::PublishUdp,
    Feature::NetworkIsolation,
    Feature::InternalNetwork,
    Feature::Logs,
    Feature::LogsFollow,
    Feature::Exec,
    Feature::ExecTty,
    Feature::Signal,
    Feature::Pause,
    Feature::Create,
    Feature::Stats,
    Feature::Processes,
    Feature::Copy,
    Feature::Attach,
    Feature::Events,
    Feature::HealthExec,
    Feature::HealthTcp,
    Feature::HealthHttp,
    Feature::RestartNo,
    Feature::RestartOnFailure,
    Feature::RestartAlways,
    Feature::Jobs,
    Feature::Drain,
    Feature::StopSignal,
    Feature::StopGrace,
    Feature::Volumes,
    Feature::SharedVolumes,
    Feature::Tmpfs,
    Feature::Secrets,
    Feature::Configs,
    Feature::MemoryLimit,
    Feature::PidsLimit,
    Feature::User,
    Feature::ReadOnlyRoot,
    Feature::LinuxCapabilities,
    Feature::Sysctls,
    Feature::Ulimits,
    Feature::Tty,
    Feature::ExtraHosts,
    Feature::ImageLoad,
    Feature::Adopt,
    Feature::State,
];

/// Everything the model can do, and why not for the rest.
pub(crate) fn capabilities() -> Capabilities {
    let no = |feature, hint: &str| (feature, Support::Unsupported(hint.to_owned()));
    let refused = [
        no(
            Feature::HostNetwork,
            "the model has no node; publish the ports",
        ),
        no(
            Feature::Binds,
            "the model has no files of a node; use a named volume",
        ),
        no(
            Feature::Devices,
            "the model has no node; leave the devices out",
        ),
        no(
            Feature::Privileged,
            "the model has no node; add single capabilities",
        ),
        no(
            Feature::Placement,
            "the model is one place; leave the constraints out",
        ),
        no(
            Feature::ImagePull,
            "the model has no network; load the image from a file",
        ),
        no(
            Feature::ImagePush,
            "the model has no network; push the image from another backend",
        ),
        no(
            Feature::CpuLimit,
            "programs of the model take no time; leave the limit out",
        ),
        no(
            Feature::UserNamespace,
            "the model has no node whose ids it could differ from; leave it out",
        ),
        no(
            Feature::Init,
            "the model has one process in each replica; leave it out",
        ),
    ];
    let mut capabilities = Capabilities::none()
        .with(NATIVE, &Support::Native, Actor::Platform)
        .with(
            &[Feature::RollingUpdate, Feature::Canary],
            &Support::Emulated,
            Actor::Caller,
        );
    for (feature, support) in refused {
        capabilities = capabilities.with(&[feature], &support, Actor::Platform);
    }
    capabilities
}
