//! Discovery from inside a service: what it may see, and what not.

use std::collections::BTreeSet;

use unmoor_core::discover::{Endpoint, EndpointEvent, Scope};
use unmoor_core::label::Selector;
use unmoor_core::name::{Alias, ReplicaId};
use unmoor_core::spec::{
    Attachment, Exposed, Link, LinkTarget, Network, NetworkMode, Protocol, Service,
};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, net, slot};

cases! { "ask";
    /// A service lists what answers on its networks, as discovery outside does, and nothing else.
    inside_lists_what_its_networks_have [Spawn, Scale, Links, Discover, DiscoverInside, Exec];
    /// A service asks for one name as it would resolve it: another service, or the alias of a link.
    inside_asks_for_a_name [Spawn, Links, LinkAlias, DiscoverInside, Exec];
    /// A link across stacks shows what it leads to, and nothing else of that stack.
    inside_sees_the_end_of_a_link_across [Spawn, Links, LinkAcross, DiscoverInside, Exec];
    /// A replica that is not ready is not in the list of those inside.
    inside_follows_readiness [Spawn, Scale, Links, HealthExec, DiscoverInside, Exec];
    /// Every replica has a token of its own, and nobody is answered without it.
    inside_answers_its_own_token_only [Spawn, Scale, DiscoverInside, Exec];
    /// A service without a network is told of nobody to ask.
    inside_without_a_network_has_nobody_to_ask [Spawn, DiscoverInside, Exec];
}

fn web(t: &Fixture) -> Service {
    t.server("--tcp 80").expose(Exposed {
        port: 80,
        protocol: Protocol::Tcp,
    })
}

fn read(text: &str) -> Result<Vec<Endpoint>, Failure> {
    match serde_json::from_str(text) {
        Ok(EndpointEvent::Resync { endpoints, .. }) => Ok(endpoints),
        Ok(other) => Err(Failure::Failed(format!("no whole list: {other:?}"))),
        Err(error) => Err(Failure::Failed(format!("no list ({error}): {text}"))),
    }
}

async fn seen(t: &Fixture, from: &ReplicaId, name: &str) -> Result<Vec<Endpoint>, Failure> {
    read(&t.ok(from, &format!("discover {name}")).await?)
}

fn services(list: &[Endpoint]) -> BTreeSet<String> {
    list.iter().map(|e| e.service.to_string()).collect()
}

fn slots(list: &[Endpoint]) -> BTreeSet<u32> {
    let ready = list.iter().filter(|e| e.weight > 0);
    ready
        .filter_map(|e| Some(e.replica.as_ref()?.slot))
        .collect()
}

/// The endpoints of replicas on networks that get connections.
fn inner(list: impl IntoIterator<Item = Endpoint>) -> BTreeSet<Endpoint> {
    let is = |e: &Endpoint| matches!(e.scope, Scope::Network(_)) && e.replica.is_some();
    list.into_iter().filter(|e| is(e) && e.weight > 0).collect()
}

async fn inside_lists_what_its_networks_have(t: &Fixture) -> Verdict {
    const SECRET: &str = "nobody-lists-this";
    let on = |service: Service, network: &str| service.network(net(network), Attachment::default());
    let front = on(on(web(t), "front"), "back").replicas(2);
    let stack = t
        .stack()
        .network(net("front"), Network::default())
        .network(net("back"), Network::default())
        .service(named("a"), on(t.server(""), "front"))
        .service(named("web"), front.env("PASSWORD", SECRET))
        .service(named("db"), on(web(t), "back"));
    t.up(&stack).await?;
    let other = t.stack().service(named("stranger"), web(t));
    t.up(&other).await?;
    let a = slot(&stack.name, "a", 1);
    let list = seen(t, &a, "").await?;
    ensure_eq!(
        services(&list),
        BTreeSet::from(["a", "web"].map(str::to_owned)),
        "services that it sees"
    );
    ensure!(
        list.iter().all(|e| e.stack == stack.name),
        "other stacks: {list:?}"
    );
    let outside = t
        .client()
        .discover(&Selector::stack(stack.name.clone()))
        .await?;
    let front = |e: &Endpoint| e.scope == Scope::Network(net("front"));
    ensure_eq!(
        inner(list.clone()),
        inner(outside.into_iter().filter(front)),
        "replicas, seen from inside and from outside"
    );
    ensure!(list.iter().all(front), "another network: {list:?}");
    let text = t.ok(&a, "discover").await?;
    ensure!(!text.contains(SECRET), "a secret is in it");
    Ok(())
}

async fn inside_asks_for_a_name(t: &Fixture) -> Verdict {
    let link = Link::to(named("web")).alias(Alias::parse("shop").expect("a valid name"));
    let stack = t
        .stack()
        .service(named("a"), t.server("").link(link))
        .service(named("b"), t.server(""))
        .service(named("web"), web(t).replicas(2));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    for name in ["web", "WEB", "shop"] {
        let list = seen(t, &a, name).await?;
        let only = BTreeSet::from(["web".to_owned()]);
        ensure_eq!(services(&list), only, "services that {name} leads to");
        ensure_eq!(slots(&list), BTreeSet::from([1, 2]), "slots of {name}");
        for endpoint in list.iter().filter(|e| e.replica.is_none()) {
            ensure_eq!(endpoint.port, Some(80), "port of {name}");
        }
    }
    for (from, name) in [("a", "nobody"), ("b", "shop")] {
        let output = t
            .run(&slot(&stack.name, from, 1), &format!("discover {name}"))
            .await?;
        ensure_eq!(output.code, 2, "exit code for {name} in {from}");
    }
    Ok(())
}

async fn inside_sees_the_end_of_a_link_across(t: &Fixture) -> Verdict {
    let far = t
        .stack()
        .service(named("db"), web(t))
        .service(named("other"), web(t));
    t.up(&far).await?;
    let link = Link {
        target: LinkTarget {
            stack: Some(far.name.clone()),
            service: named("db"),
        },
        alias: Alias::parse("remote").expect("a valid name"),
        port: None,
    };
    let near = t.stack().service(named("a"), t.server("").link(link));
    t.up(&near).await?;
    let a = slot(&near.name, "a", 1);
    let remote = seen(t, &a, "remote").await?;
    let resolved = t.ok(&a, "resolve remote").await?;
    let addresses: BTreeSet<_> = remote.iter().map(|e| format!("{}\n", e.address)).collect();
    ensure_eq!(addresses, BTreeSet::from([resolved]), "its addresses");
    ensure!(
        remote.iter().all(|e| e.stack == far.name && e.weight > 0),
        "what it leads to: {remote:?}"
    );
    let all = seen(t, &a, "").await?;
    let of_far: Vec<_> = all.into_iter().filter(|e| e.stack == far.name).collect();
    ensure_eq!(
        services(&of_far),
        BTreeSet::from(["db".to_owned()]),
        "of the other stack"
    );
    Ok(())
}

async fn inside_follows_readiness(t: &Fixture) -> Verdict {
    let service = t
        .server("--tcp 80 --unready-file /area/unready")
        .health(t.health(80))
        .replicas(2);
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("web"), service);
    t.up(&stack).await?;
    let (a, bad) = (slot(&stack.name, "a", 1), slot(&stack.name, "web", 2));
    let until = async |wanted: &[u32]| {
        let wanted: BTreeSet<u32> = wanted.iter().copied().collect();
        t.until("the list inside is as it should be", || async {
            Ok((slots(&seen(t, &a, "web").await?) == wanted).then_some(()))
        })
        .await
    };
    until(&[1, 2]).await?;
    t.ok(&bad, "write /area/unready x").await?;
    until(&[1]).await?;
    t.ok(&bad, "remove /area/unready").await?;
    until(&[1, 2]).await
}

async fn inside_answers_its_own_token_only(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server("").replicas(2));
    t.up(&stack).await?;
    let (one, two) = (slot(&stack.name, "a", 1), slot(&stack.name, "a", 2));
    let token = async |from: &ReplicaId| {
        let text = t.ok(from, "env UNMOOR_DISCOVERY_TOKEN").await?;
        Ok::<_, Failure>(text.trim_end().to_owned())
    };
    let (own, other) = (token(&one).await?, token(&two).await?);
    ensure!(own != other, "two replicas have the same token");
    for wrong in [other.as_str(), "x"] {
        let output = t.run(&one, &format!("discover --token {wrong}")).await?;
        ensure_eq!(output.code, 4, "exit code with another token");
        ensure!(
            !output.out.contains("endpoints"),
            "it was answered: {}",
            output.out
        );
    }
    t.ok(&one, &format!("discover --token {own}")).await?;
    // The platform's own words do not have it.
    let observed = format!("{:?}", t.observe(&stack.name).await?);
    ensure!(!observed.contains(&own), "what is observed has the token");
    Ok(())
}

async fn inside_without_a_network_has_nobody_to_ask(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service.network_mode = NetworkMode::None;
    let stack = t.stack().service(named("a"), service);
    t.client()
        .up(
            &stack,
            &unmoor_core::client::UpOptions::new().wait(PATIENCE),
        )
        .await?;
    let a = slot(&stack.name, "a", 1);
    for name in ["UNMOOR_DISCOVERY_URL", "UNMOOR_DISCOVERY_TOKEN"] {
        let output = t.run(&a, &format!("env {name}")).await?;
        ensure_eq!(output.code, 1, "exit code of `env {name}`: {}", output.out);
    }
    Ok(())
}
