//! Plans: everything is said before anything is written.

use unmoor_core::backend::Feature;
use unmoor_core::client::UpOptions;
use unmoor_core::name::ServiceName;
use unmoor_core::spec::{
    Device, Mount, MountSource, NetworkMode, Protocol, Published, Resources, Rlimit, Service, Stack,
};
use unmoor_core::units::{Bytes, MilliCpu};
use unmoor_core::{Error, ErrorKind};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};

cases! { "plan";
    /// Everything that the backend cannot do is listed at once, with field and way out.
    plan_lists_all_gaps_before_writing [Spawn];
    /// What the backend cannot do is refused before anything is written.
    unsupported_is_refused_before_any_write [Spawn];
    /// Planning writes nothing.
    plan_writes_nothing [Spawn];
    /// A plan made earlier is carried out as it was made.
    plan_then_apply [Spawn];
    /// A plan whose facts have changed is not carried out.
    outdated_plan_is_a_conflict [Spawn, Scale];
    /// A service that is gone from the stack runs on until its removal is asked for.
    removed_service_needs_remove_orphans [Spawn];
    /// A plan names what it changes and why.
    plan_says_why [Spawn];
    /// A stack that refers to what it does not define is refused before anything is written.
    undefined_references_are_refused [Spawn];
    /// Mounts over the system's own places are refused before anything is written.
    reserved_places_are_refused [Spawn];
}

type Wish = (Feature, fn(Service) -> Service);

fn port(protocol: Protocol) -> Published {
    Published {
        host_port: None,
        protocol,
        ..Published::tcp(1, 99)
    }
}

fn mounted(mut service: Service, source: MountSource, target: &str) -> Service {
    service.mounts.push(Mount {
        source,
        target: target.to_owned(),
        read_only: false,
    });
    service
}

/// One small wish for each of many features.
const WISHES: &[Wish] = &[
    (Feature::PublishTcp, |s| s.publish(port(Protocol::Tcp))),
    (Feature::PublishUdp, |s| s.publish(port(Protocol::Udp))),
    (Feature::Binds, |s| s.mount(Mount::bind("/etc", "/bound"))),
    (Feature::Tmpfs, |s| {
        mounted(
            s,
            MountSource::Tmpfs {
                size: None,
                mode: 0o700,
            },
            "/memory",
        )
    }),
    (Feature::Volumes, |s| {
        mounted(s, MountSource::Anonymous, "/volume")
    }),
    (Feature::HostNetwork, |mut s| {
        s.network_mode = NetworkMode::Host;
        s
    }),
    (Feature::CpuLimit, |mut s| {
        s.resources.cpu = Some(MilliCpu(100));
        s
    }),
    (Feature::MemoryLimit, |s| {
        s.resources(Resources {
            memory: Some(Bytes(64 << 20)),
            ..Resources::default()
        })
    }),
    (Feature::PidsLimit, |mut s| {
        s.resources.pids = Some(50);
        s
    }),
    (Feature::Privileged, |mut s| {
        s.security.privileged = true;
        s
    }),
    (Feature::Devices, |mut s| {
        s.security.devices.push(Device {
            source: "/dev/null".to_owned(),
            target: "/dev/nothing".to_owned(),
            access: "rwm".to_owned(),
        });
        s
    }),
    (Feature::LinuxCapabilities, |mut s| {
        s.security.cap_drop.push("ALL".to_owned());
        s
    }),
    (Feature::ReadOnlyRoot, |mut s| {
        s.security.read_only = true;
        s
    }),
    (Feature::Sysctls, |mut s| {
        s.security
            .sysctls
            .insert("net.core.somaxconn".to_owned(), "100".to_owned());
        s
    }),
    (Feature::Ulimits, |mut s| {
        s.security
            .ulimits
            .insert("nofile".to_owned(), Rlimit { soft: 10, hard: 10 });
        s
    }),
    (Feature::User, |mut s| {
        s.user = Some("1000".to_owned());
        s
    }),
    (Feature::Tty, |mut s| {
        s.tty = true;
        s
    }),
    (Feature::Init, |mut s| {
        s.init = true;
        s
    }),
    (Feature::StopSignal, |mut s| {
        s.stop.signal = Some("SIGINT".to_owned());
        s
    }),
    (Feature::ExtraHosts, |mut s| {
        s.extra_hosts
            .push(("x.example".to_owned(), "192.0.2.1".to_owned()));
        s
    }),
    (Feature::Placement, |mut s| {
        s.placement
            .constraints
            .push("node.labels.x == y".to_owned());
        s
    }),
];

/// What the backend does not have, of those that can be wished for.
fn missing(t: &Fixture) -> Result<Vec<Wish>, Failure> {
    let list: Vec<Wish> = WISHES
        .iter()
        .filter(|(feature, _)| !t.has(*feature))
        .copied()
        .collect();
    if list.is_empty() {
        let text = "the backend has everything that the case could wish for";
        return Err(Failure::Skipped(text.to_owned()));
    }
    Ok(list)
}

async fn refusal(t: &Fixture, stack: &Stack) -> Result<Error, Failure> {
    let Err(error) = t.up(stack).await else {
        return Err("what the backend does not have was accepted"
            .to_owned()
            .into());
    };
    ensure_eq!(error.kind(), ErrorKind::Unsupported, "kind of {error:?}");
    ensure!(
        t.observe(&stack.name).await?.is_empty(),
        "something was written"
    );
    Ok(error)
}

async fn plan_lists_all_gaps_before_writing(t: &Fixture) -> Verdict {
    let wishes = missing(t)?;
    let mut stack = t.stack().service(named("plain"), t.server(""));
    for (number, (_, wish)) in wishes.iter().enumerate() {
        stack = stack.service(named(&format!("s{number}")), wish(t.server("")));
    }
    let error = refusal(t, &stack).await?;
    for (number, (feature, _)) in wishes.iter().enumerate() {
        let service: ServiceName = named(&format!("s{number}"));
        let gap = error
            .gaps()
            .iter()
            .find(|gap| gap.feature == *feature && gap.service.as_ref() == Some(&service));
        let Some(gap) = gap else {
            return Err(format!("`{feature}` is not among the gaps: {:?}", error.gaps()).into());
        };
        ensure!(gap.fatal, "the gap does not stop the plan: {gap}");
        let path = format!("services.{service}.");
        ensure!(
            gap.path.starts_with(&path),
            "the gap names another field: {}",
            gap.path
        );
        ensure!(!gap.consequence.is_empty(), "the gap says nothing: {gap:?}");
    }
    let planned = t.client().plan(&stack, &UpOptions::new()).await;
    ensure!(planned.is_err(), "a plan was made of what cannot be done");
    Ok(())
}

async fn unsupported_is_refused_before_any_write(t: &Fixture) -> Verdict {
    for (feature, wish) in missing(t)? {
        let stack = t
            .stack()
            .service(named("first"), t.server(""))
            .service(named("second"), wish(t.server("")));
        let error = refusal(t, &stack).await?;
        let named = error.gaps().iter().any(|gap| gap.feature == feature);
        ensure!(named, "`{feature}` is not named: {error:?}");
    }
    Ok(())
}

async fn plan_writes_nothing(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server(""));
    let planned = t.client().plan(&stack, &UpOptions::new()).await?;
    ensure!(
        !planned.plan.is_empty(),
        "the plan for a new stack is empty"
    );
    ensure!(
        t.observe(&stack.name).await?.is_empty(),
        "something was written"
    );
    let known = t.client().stacks().await?;
    ensure!(!known.contains(&stack.name), "the stack is recorded");
    Ok(())
}

async fn plan_then_apply(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server(""));
    let options = UpOptions::new().wait(crate::fixture::PATIENCE);
    let planned = t.client().plan(&stack, &options).await?;
    let writes = planned
        .plan
        .entries
        .iter()
        .filter(|entry| !entry.action.is_wait())
        .count();
    let report = t.client().apply(&planned, &options).await?;
    ensure_eq!(report.changed, writes, "actions that wrote");
    t.ok(&slot(&stack.name, "a", 1), "print here").await?;
    Ok(())
}

async fn outdated_plan_is_a_conflict(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let stack = |count| Stack::new(name.clone()).service(named("a"), t.server("").replicas(count));
    t.up(&stack(1)).await?;
    let options = UpOptions::new();
    let planned = t.client().plan(&stack(3), &options).await?;
    t.up(&stack(2)).await?;
    let outcome = t.client().apply(&planned, &options).await;
    let kind = outcome.err().map(|error| error.kind());
    ensure_eq!(kind, Some(ErrorKind::Conflict), "kind of the refusal");
    ensure_eq!(
        t.replicas(&name, "a").await?.len(),
        2,
        "replicas afterwards"
    );
    Ok(())
}

async fn removed_service_needs_remove_orphans(t: &Fixture) -> Verdict {
    let both = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("b"), t.server(""));
    t.up(&both).await?;
    let one = Stack::new(both.name.clone()).service(named("a"), t.server(""));
    let report = t.up(&one).await?;
    ensure_eq!(
        t.replicas(&both.name, "b").await?.len(),
        1,
        "replicas of what is gone"
    );
    let told = report.notes.iter().any(|note| note.contains("`b`"));
    ensure!(told, "nothing is said of it: {:?}", report.notes);
    let options = UpOptions::new().remove_orphans(true);
    t.client().up(&one, &options).await?;
    ensure!(t.replicas(&both.name, "b").await?.is_empty(), "it runs on");
    ensure_eq!(
        t.replicas(&both.name, "a").await?.len(),
        1,
        "replicas of the other"
    );
    Ok(())
}

async fn plan_says_why(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let stack =
        |value: &str| Stack::new(name.clone()).service(named("web"), t.server("").env("V", value));
    let planned = t.client().plan(&stack("1"), &UpOptions::new()).await?;
    let text = planned.plan.to_string();
    ensure!(
        text.contains("web"),
        "the plan does not name the service:\n{text}"
    );
    t.up(&stack("1")).await?;
    let planned = t.client().plan(&stack("2"), &UpOptions::new()).await?;
    let text = planned.plan.to_string();
    ensure!(
        text.contains("changed"),
        "the plan does not say why:\n{text}"
    );
    let entries = planned
        .plan
        .entries
        .iter()
        .filter(|entry| !entry.action.is_wait());
    for entry in entries {
        ensure!(!entry.reason.is_empty(), "no reason for `{}`", entry.action);
    }
    Ok(())
}

async fn is_invalid(t: &Fixture, service: Service, what: &str) -> Verdict {
    let stack = t
        .stack()
        .service(named("ok"), t.server(""))
        .service(named("a"), service);
    let Err(error) = t.up(&stack).await else {
        return Err(format!("{what} was accepted").into());
    };
    ensure_eq!(
        error.kind(),
        ErrorKind::InvalidSpec,
        "kind for {what}: {error:?}"
    );
    ensure!(
        t.observe(&stack.name).await?.is_empty(),
        "something was written for {what}"
    );
    Ok(())
}

async fn undefined_references_are_refused(t: &Fixture) -> Verdict {
    use unmoor_core::name::{BlobName, VolumeName};
    use unmoor_core::spec::{Attachment, BlobGrant, BlobKind, Dependency, Link};
    let volume = VolumeName::parse("none")?;
    let mut with_secret = t.server("");
    with_secret
        .secrets
        .push(BlobGrant::new(BlobKind::Secret, BlobName::parse("none")?));
    let wishes = [
        (
            "a service",
            t.server("").after(named("none"), Dependency::default()),
        ),
        (
            "a link's target",
            t.server("").link(Link::to(named("none"))),
        ),
        (
            "a network",
            t.server("")
                .network(crate::fixture::net("none"), Attachment::default()),
        ),
        ("a volume", t.server("").mount(Mount::volume(volume, "/x"))),
        ("a secret", with_secret),
    ];
    for (what, service) in wishes {
        is_invalid(t, service, &format!("{what} that is not defined")).await?;
    }
    Ok(())
}

async fn reserved_places_are_refused(t: &Fixture) -> Verdict {
    for target in ["/", "/proc", "/sys/fs", "relative", "/a/../b"] {
        let service = mounted(t.server(""), MountSource::Anonymous, target);
        is_invalid(t, service, &format!("a mount at `{target}`")).await?;
    }
    Ok(())
}
