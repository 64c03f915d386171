//! Discovery: which addresses answer for a service now.

use std::collections::BTreeSet;
use std::time::Duration;

use unmoor_core::apply::RunOptions;
use unmoor_core::discover::{Endpoint, Readiness, Scope};
use unmoor_core::label::Selector;
use unmoor_core::name::{ReplicaId, StackName};
use unmoor_core::spec::{Exposed, Health, HealthTest, Protocol};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};

cases! { "discover";
    /// Every replica is listed with its address and port, ready and with weight.
    discover_lists_endpoints [Spawn, Scale, Discover];
    /// A discovered address answers from another service of the network.
    discovered_address_answers [Spawn, Discover, InternalTcp];
    /// Nothing selected is an empty list and no error.
    discover_nothing_is_empty [Discover];
    /// Endpoints are selected by label and by service.
    discover_by_label [Spawn, Discover];
    /// A replica whose check fails leaves discovery, and comes back when it passes.
    unready_replica_leaves_discovery [Spawn, Scale, Discover, HealthExec];
    /// A TCP check makes a replica ready only once its port answers.
    tcp_check_waits_for_the_port [Spawn, Discover, HealthTcp];
    /// An HTTP check makes a replica ready only once it answers with success.
    http_check_waits_for_success [Spawn, Discover, HealthHttp];
    /// A replica that was stopped is not an endpoint any more.
    stopped_replica_leaves_discovery [Spawn, Scale, Discover];
    /// A replica that keeps failing is no ready endpoint.
    failed_replica_is_no_endpoint [Spawn, Discover, RestartNo];
}

/// Endpoints of replicas, on a network, that get connections.
async fn ready(t: &Fixture, stack: &StackName, service: &str) -> Result<Vec<Endpoint>, Failure> {
    let selector = Selector::service(stack.clone(), named(service));
    let list = t.client().discover(&selector).await?;
    let inside = |e: &Endpoint| e.replica.is_some() && matches!(e.scope, Scope::Network(_));
    Ok(list
        .into_iter()
        .filter(|e| inside(e) && e.weight > 0)
        .collect())
}

async fn is_in(t: &Fixture, replica: &ReplicaId) -> Result<bool, Failure> {
    let observed = t.client().observe(&Selector::replica(replica)).await?;
    let seen = observed.replicas().any(|replica| replica.in_discovery);
    let list = t.client().discover(&Selector::replica(replica)).await?;
    let listed = list
        .iter()
        .any(|endpoint| endpoint.weight > 0 && endpoint.replica.is_some());
    Ok(seen && listed)
}

/// Waits until a replica gets no connections.
pub(super) async fn until_out(t: &Fixture, replica: &ReplicaId) -> Verdict {
    let what = format!("{replica} has left discovery");
    t.until(&what, || async {
        Ok((!is_in(t, replica).await?).then_some(()))
    })
    .await
}

/// Waits until a replica gets connections.
pub(super) async fn until_in(t: &Fixture, replica: &ReplicaId) -> Verdict {
    let what = format!("{replica} is in discovery");
    t.until(&what, || async {
        Ok(is_in(t, replica).await?.then_some(()))
    })
    .await
}

async fn discover_lists_endpoints(t: &Fixture) -> Verdict {
    let web = t
        .probe("serve --tcp 80 --udp 53")
        .expose(Exposed {
            port: 80,
            protocol: Protocol::Tcp,
        })
        .expose(Exposed {
            port: 53,
            protocol: Protocol::Udp,
        })
        .replicas(2);
    let stack = t.stack().service(named("web"), web);
    t.up(&stack).await?;
    let list = ready(t, &stack.name, "web").await?;
    let seen: BTreeSet<_> = list
        .iter()
        .map(|e| (e.replica.as_ref().map(|id| id.slot), e.port, e.protocol))
        .collect();
    let wanted = [1, 2].map(|slot| [(slot, 80, Protocol::Tcp), (slot, 53, Protocol::Udp)]);
    let wanted: BTreeSet<_> = wanted
        .concat()
        .into_iter()
        .map(|(slot, port, p)| (Some(slot), Some(port), p))
        .collect();
    ensure_eq!(seen, wanted, "replicas, ports and protocols");
    for endpoint in &list {
        ensure_eq!(endpoint.health, Readiness::Ready, "health of {endpoint:?}");
        ensure_eq!(
            endpoint.backend,
            t.client().info().scheme,
            "backend of {endpoint:?}"
        );
    }
    for replica in t.replicas(&stack.name, "web").await? {
        let own = list
            .iter()
            .filter(|e| e.replica.as_ref() == Some(&replica.id));
        for endpoint in own {
            let known = replica
                .addresses
                .values()
                .any(|address| *address == endpoint.address);
            ensure!(known, "{endpoint:?} has another address than {replica:?}");
        }
    }
    Ok(())
}

async fn discovered_address_answers(t: &Fixture) -> Verdict {
    let web = t.probe("serve --tcp 80 --name web").expose(Exposed {
        port: 80,
        protocol: Protocol::Tcp,
    });
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("web"), web);
    t.up(&stack).await?;
    let selector = Selector::service(stack.name.clone(), named("web"));
    for endpoint in t.client().discover(&selector).await? {
        if endpoint.scope == Scope::External {
            continue;
        }
        let Some(port) = endpoint.port else { continue };
        let words = format!("connect {} {port} hello", endpoint.address);
        let answer = t.reach(&slot(&stack.name, "a", 1), &words).await?;
        ensure!(
            answer.ends_with(" web\n"),
            "who answered at {endpoint:?}: {answer}"
        );
    }
    Ok(())
}

async fn discover_nothing_is_empty(t: &Fixture) -> Verdict {
    let list = t
        .client()
        .discover(&Selector::stack(t.stack_name()))
        .await?;
    ensure!(
        list.is_empty(),
        "endpoints of a stack that does not exist: {list:?}"
    );
    Ok(())
}

async fn discover_by_label(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.probe("serve --tcp 80").label("tier", "front"))
        .service(named("b"), t.probe("serve --tcp 80").label("tier", "back"));
    t.up(&stack).await?;
    let all = t
        .client()
        .discover(&Selector::stack(stack.name.clone()))
        .await?;
    let services: BTreeSet<_> = all.iter().map(|e| e.service.clone()).collect();
    ensure_eq!(
        services,
        BTreeSet::from([named("a"), named("b")]),
        "services of the stack"
    );
    let selector = Selector::stack(stack.name.clone()).with_label("tier", "back");
    let back = t.client().discover(&selector).await?;
    ensure!(!back.is_empty(), "nothing has the label");
    ensure!(
        back.iter().all(|e| e.service == named("b")),
        "others are selected too: {back:?}"
    );
    let one = t
        .client()
        .discover(&Selector::service(stack.name.clone(), named("a")))
        .await?;
    ensure!(
        !one.is_empty() && one.iter().all(|e| e.service == named("a")),
        "by service: {one:?}"
    );
    Ok(())
}

async fn unready_replica_leaves_discovery(t: &Fixture) -> Verdict {
    let web = t
        .server("--tcp 80 --unready-file /area/unready")
        .health(t.health(80))
        .replicas(2);
    let stack = t.stack().service(named("web"), web);
    t.up(&stack).await?;
    let (one, two) = (slot(&stack.name, "web", 1), slot(&stack.name, "web", 2));
    until_in(t, &one).await?;
    t.ok(&one, "write /area/unready x").await?;
    until_out(t, &one).await?;
    ensure!(
        is_in(t, &two).await?,
        "the other replica left discovery too"
    );
    t.ok(&one, "remove /area/unready").await?;
    until_in(t, &one).await
}

async fn becomes_ready_late(t: &Fixture, options: &str, test: HealthTest) -> Verdict {
    let pace = Duration::from_millis(100);
    let health = Health::new(test)
        .interval(pace)
        .retries(3)
        .start(PATIENCE, pace);
    let late = Duration::from_millis(600);
    let stack = t.stack().service(
        named("web"),
        t.probe(&format!("serve {options}")).health(health),
    );
    let start = t.time();
    t.up_only(&stack).await?;
    ensure!(
        ready(t, &stack.name, "web").await?.is_empty(),
        "it is ready before its check passed"
    );
    t.client()
        .wait_ready(&stack.name, &named("web"), PATIENCE)
        .await?;
    let took = t.time().saturating_sub(start);
    ensure!(
        took >= late,
        "it was ready after {took:?}, before its server was"
    );
    until_in(t, &slot(&stack.name, "web", 1)).await
}

async fn tcp_check_waits_for_the_port(t: &Fixture) -> Verdict {
    becomes_ready_late(
        t,
        "--tcp 80 --listen-after 600",
        HealthTest::Tcp { port: 80 },
    )
    .await
}

async fn http_check_waits_for_success(t: &Fixture) -> Verdict {
    let test = HealthTest::Http {
        port: 80,
        path: "/ready".to_owned(),
    };
    becomes_ready_late(t, "--tcp 80 --ready-after 600", test).await
}

async fn stopped_replica_leaves_discovery(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("web"), t.probe("serve --tcp 80").replicas(2));
    t.up(&stack).await?;
    let one = slot(&stack.name, "web", 1);
    t.client()
        .stop(&Selector::replica(&one), None, RunOptions::default())
        .await?;
    let list = ready(t, &stack.name, "web").await?;
    let slots: BTreeSet<_> = list
        .iter()
        .filter_map(|e| Some(e.replica.as_ref()?.slot))
        .collect();
    ensure_eq!(slots, BTreeSet::from([2]), "slots in discovery");
    Ok(())
}

async fn failed_replica_is_no_endpoint(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.probe("exit 1"));
    t.up_only(&stack).await?;
    t.until("it has failed", || async {
        Ok(t.replica(&stack.name, "web").await?.exit)
    })
    .await?;
    let list = ready(t, &stack.name, "web").await?;
    ensure!(
        list.is_empty(),
        "a replica that failed is listed as ready: {list:?}"
    );
    Ok(())
}
