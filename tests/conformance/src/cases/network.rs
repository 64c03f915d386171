//! Networks: who is on which, and that those apart stay apart.

use unmoor_core::name::ReplicaId;
use unmoor_core::spec::{Attachment, Network, Service};

use super::link::web;
use crate::case::{Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, net, slot};

cases! { "network";
    /// Services without a common network neither resolve nor reach each other.
    isolation_between_networks [Spawn, Links, NetworkIsolation, Discover];
    /// A service on two networks is reached from both, and is no bridge between them.
    two_networks_one_service [Spawn, Links, NetworkIsolation];
    /// Two stacks do not see each other's names.
    stacks_are_apart [Spawn, Links, NetworkIsolation];
    /// From an internal network there is no way out, while its services reach each other.
    internal_network_has_no_way_out [Spawn, Links, InternalNetwork];
}

fn on(service: Service, networks: &[&str]) -> Service {
    networks.iter().fold(service, |service, name| {
        service.network(net(name), Attachment::default())
    })
}

/// That `from` neither resolves the name nor reaches the address.
pub(super) async fn is_apart(
    t: &Fixture,
    from: &ReplicaId,
    name: &str,
    address: std::net::IpAddr,
) -> Verdict {
    let found = t.run(from, &format!("resolve {name}")).await?;
    ensure_eq!(
        found.code,
        2,
        "exit code for `{name}` in {from}: it printed {}",
        found.out
    );
    let words = format!("connect --timeout 700 {address} 80 hello");
    let reached = t.run(from, &words).await?;
    ensure_eq!(
        reached.code,
        3,
        "exit code for {address} in {from}: it printed {}",
        reached.out
    );
    Ok(())
}

async fn isolation_between_networks(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .network(net("front"), Network::default())
        .network(net("back"), Network::default())
        .service(named("a"), on(t.server(""), &["front"]))
        .service(named("near"), on(web(t, "near"), &["front"]))
        .service(named("far"), on(web(t, "far"), &["back"]));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    t.reach(&a, "connect near 80 hello").await?;
    let far = t.replica(&stack.name, "far").await?;
    let address = far.addresses.get(&net("back")).copied();
    let Some(address) = address else {
        return Err("the address of a replica is not known".to_owned().into());
    };
    is_apart(t, &a, "far", address).await?;
    let service = t.observe(&stack.name).await?.services.remove(&named("far"));
    match service.and_then(|service| service.addresses.get(&net("back")).copied()) {
        Some(stable) => is_apart(t, &a, "far", stable).await,
        None => Ok(()),
    }
}

async fn two_networks_one_service(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .network(net("left"), Network::default())
        .network(net("right"), Network::default())
        .service(named("a"), on(t.server(""), &["left"]))
        .service(named("b"), on(web(t, "b"), &["right"]))
        .service(named("both"), on(web(t, "both"), &["left", "right"]));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    for from in [&a, &slot(&stack.name, "b", 1)] {
        let answer = t.reach(from, "connect both 80 hello").await?;
        ensure!(answer.ends_with(" both\n"), "who answered {from}: {answer}");
    }
    t.reach(&slot(&stack.name, "both", 1), "connect b 80 hello")
        .await?;
    ensure_eq!(
        t.run(&a, "resolve b").await?.code,
        2,
        "exit code for a name across"
    );
    Ok(())
}

async fn stacks_are_apart(t: &Fixture) -> Verdict {
    let one = t.stack().service(named("a"), t.server(""));
    let two = t.stack().service(named("b"), web(t, "b"));
    t.up(&one).await?;
    t.up(&two).await?;
    let b = t.replica(&two.name, "b").await?;
    let Some(address) = b.addresses.values().next() else {
        return Err("the address of a replica is not known".to_owned().into());
    };
    is_apart(t, &slot(&one.name, "a", 1), "b", *address).await
}

async fn internal_network_has_no_way_out(t: &Fixture) -> Verdict {
    let internal = Network {
        internal: true,
        ..Network::default()
    };
    let stack = t
        .stack()
        .network(net("inside"), internal)
        .network(net("open"), Network::default())
        .service(named("a"), on(t.server(""), &["inside"]))
        .service(named("b"), on(web(t, "b"), &["inside"]))
        .service(named("c"), on(t.server(""), &["open"]));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    ensure_eq!(
        t.ok(&a, "route").await?,
        "no default route\n",
        "the way out of it"
    );
    let out = t.ok(&slot(&stack.name, "c", 1), "route").await?;
    ensure!(
        out.starts_with("default via "),
        "the way out of an open one: {out}"
    );
    let answer = t.reach(&a, "connect b 80 hello").await?;
    ensure!(answer.ends_with(" b\n"), "who answered inside: {answer}");
    Ok(())
}
