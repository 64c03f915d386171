//! Links: names, stable addresses, permission, and what happens to them while things change.

use std::collections::BTreeSet;

use unmoor_core::name::{Alias, ReplicaId};
use unmoor_core::spec::{
    AddressMode, Attachment, Condition, Dependency, Exposed, Link, Network, Protocol, Service,
};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, net, slot};

cases! { "link";
    /// A service's name resolves for others before any replica of it runs.
    link_resolves_before_start [Spawn, Links, LinkAlias, Jobs, RestartNo];
    /// Services on a shared network reach each other by service name, on the container's port.
    implicit_link_by_service_name [Spawn, Links, InternalTcp];
    /// A link's alias leads to its target.
    explicit_alias [Spawn, Links, LinkAlias, InternalTcp];
    /// An alias of a network leads to the service that has it.
    network_alias [Spawn, Links, LinkAlias, InternalTcp];
    /// A container name and a host name resolve for others on the network as a service name does.
    container_name_and_hostname_resolve [Spawn, Links, LinkAlias, InternalTcp];
    /// Each link sets `UNMOOR_LINK_<ALIAS>_HOST`, `_PORT` and `_URL` in the dependent.
    alias_env_vars [Spawn, Links, LinkAlias, Exec];
    /// A variable that the user sets is never overridden by a link.
    user_variables_win_over_links [Spawn, Links, LinkAlias, Exec];
    /// Names resolve whatever their case.
    names_ignore_case [Spawn, Links];
    /// A name that nobody has does not resolve.
    unknown_name_does_not_resolve [Spawn, Links];
    /// A service resolves its own name, and reaches itself by it.
    own_name_resolves [Spawn, Links, InternalTcp];
    /// UDP reaches a service by its name.
    udp_between_services [Spawn, Links, InternalUdp];
    /// The address behind a service's name stays the same while it is scaled and updated.
    vip_survives_scale [Spawn, Links, Scale, StableAddress, State];
    /// `tasks.<service>` resolves to the replicas' own addresses.
    tasks_name_gives_the_replicas [Spawn, Links, Scale, StableAddress];
    /// The name of a service that asks for it resolves to its ready replicas' own addresses.
    name_gives_the_replicas_on_request [Spawn, Links, Scale, ReplicaAddresses];
    /// Connections to a scaled service reach every replica.
    scaled_service_balances [Spawn, Links, Scale, InternalTcp];
    /// Only ready replicas get new connections.
    only_ready_endpoints_get_connections [Spawn, Links, Scale, InternalTcp, HealthExec];
    /// A service of which no replica is ready refuses connections and datagrams at once.
    nobody_ready_refuses [Spawn, Links, InternalTcp, InternalUdp, HealthExec];
    /// A drained replica gets no new connection.
    drained_replica_gets_no_connection [Spawn, Links, Scale, InternalTcp, Drain];
    /// Services that link to each other both come up and reach each other.
    cyclic_links_come_up [Spawn, Links, LinkAlias, InternalTcp];
    /// A link made while both run works without a restart, and ends with `unlink`.
    link_added_to_running_replicas [Spawn, Links, LinkLive, InternalTcp, State];
    /// An alias that is pointed elsewhere leads there without a restart.
    link_pointed_elsewhere [Spawn, Links, LinkLive, InternalTcp, State];
}

fn alias(name: &str) -> Alias {
    Alias::parse(name).expect("the suite's own names are valid")
}

/// A server on port 80 that says its name.
pub(super) fn web(t: &Fixture, name: &str) -> Service {
    t.server(&format!("--tcp 80 --name {name}"))
}

async fn link_resolves_before_start(t: &Fixture) -> Verdict {
    let completed = Dependency {
        condition: Condition::CompletedSuccessfully,
        ..Dependency::default()
    };
    let late = t
        .server("")
        .after(named("plain"), completed)
        .after(named("linked"), completed);
    let linked = t
        .probe("resolve other")
        .link(Link::to(named("late")).alias(alias("other")));
    let stack = t
        .stack()
        .service(named("plain"), t.probe("resolve late"))
        .service(named("linked"), linked)
        .service(named("late"), late);
    t.up(&stack).await?;
    for service in ["plain", "linked"] {
        let exit = t.replica(&stack.name, service).await?.exit;
        ensure_eq!(
            exit.map(|exit| exit.code),
            Some(0),
            "exit code of {service}, which resolved"
        );
    }
    Ok(())
}

async fn implicit_link_by_service_name(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("db"), web(t, "store"));
    t.up(&stack).await?;
    let answer = t
        .reach(&slot(&stack.name, "a", 1), "connect db 80 hello")
        .await?;
    ensure_eq!(
        answer,
        format!("{} store\n", slot(&stack.name, "db", 1)),
        "who answered"
    );
    Ok(())
}

async fn explicit_alias(t: &Fixture) -> Verdict {
    let link = Link::to(named("db")).alias(alias("storage"));
    let stack = t
        .stack()
        .service(named("a"), t.server("").link(link))
        .service(named("b"), t.server(""))
        .service(named("db"), web(t, "store"));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let answer = t.reach(&a, "connect storage 80 hello").await?;
    ensure!(
        answer.ends_with(" store\n"),
        "who answered under the alias: {answer}"
    );
    let other = t.run(&slot(&stack.name, "b", 1), "resolve storage").await?;
    ensure_eq!(
        other.code,
        2,
        "exit code for the alias of somebody else's link"
    );
    Ok(())
}

async fn network_alias(t: &Fixture) -> Verdict {
    let aliases = vec![alias("storage"), alias("Old.Name")];
    let db = web(t, "store").network(net("back"), Attachment { aliases });
    let stack = t
        .stack()
        .network(net("back"), Network::default())
        .service(
            named("a"),
            t.server("").network(net("back"), Attachment::default()),
        )
        .service(named("db"), db);
    t.up(&stack).await?;
    for name in ["storage", "old.name", "db"] {
        let words = format!("connect {name} 80 hello");
        let answer = t.reach(&slot(&stack.name, "a", 1), &words).await?;
        ensure!(
            answer.ends_with(" store\n"),
            "who answered as {name}: {answer}"
        );
    }
    Ok(())
}

async fn container_name_and_hostname_resolve(t: &Fixture) -> Verdict {
    let mut db = web(t, "store");
    db.container_name = Some(format!("{}-fixed", t.stack_name()));
    db.hostname = Some("keeper".to_owned());
    let fixed = db.container_name.clone().unwrap_or_default();
    let aside = t.server("").network(net("aside"), Attachment::default());
    let stack = t
        .stack()
        .network(net("aside"), Network::default())
        .service(named("a"), t.server(""))
        .service(named("b"), aside)
        .service(named("db"), db);
    t.up(&stack).await?;
    for name in [fixed.as_str(), "keeper", "KEEPER"] {
        let words = format!("connect {name} 80 hello");
        let answer = t.reach(&slot(&stack.name, "a", 1), &words).await?;
        ensure!(
            answer.ends_with(" store\n"),
            "who answered as {name}: {answer}"
        );
        let other = t
            .run(&slot(&stack.name, "b", 1), &format!("resolve {name}"))
            .await?;
        ensure_eq!(
            other.code,
            2,
            "exit code for {name} where it has no network"
        );
    }
    Ok(())
}

async fn alias_env_vars(t: &Fixture) -> Verdict {
    let db = web(t, "store").expose(Exposed {
        port: 80,
        protocol: Protocol::Tcp,
    });
    let mut told = Link::to(named("db")).alias(alias("other-db"));
    told.port = Some(81);
    let a = t
        .server("")
        .link(Link::to(named("db")).alias(alias("my.db")))
        .link(told);
    let stack = t.stack().service(named("a"), a).service(named("db"), db);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    for (key, value) in [
        ("UNMOOR_LINK_MY_DB_HOST", "my.db\n"),
        ("UNMOOR_LINK_OTHER_DB_HOST", "other-db\n"),
        ("UNMOOR_LINK_OTHER_DB_PORT", "81\n"),
    ] {
        ensure_eq!(t.ok(&a, &format!("env {key}")).await?, value, "{key}");
    }
    // Without a port of its own a link leads to the first port the target is known to have.
    ensure_eq!(
        t.ok(&a, "env UNMOOR_LINK_MY_DB_PORT").await?,
        "80\n",
        "port of the plain link"
    );
    let url = t.ok(&a, "env UNMOOR_LINK_OTHER_DB_URL").await?;
    ensure!(url.trim_end().ends_with("://other-db:81"), "its URL: {url}");
    Ok(())
}

async fn user_variables_win_over_links(t: &Fixture) -> Verdict {
    let link = Link::to(named("db")).alias(alias("store"));
    let a = t
        .server("")
        .link(link)
        .env("UNMOOR_LINK_STORE_HOST", "mine");
    let stack = t
        .stack()
        .service(named("a"), a)
        .service(named("db"), web(t, "store"));
    t.up(&stack).await?;
    let found = t
        .ok(&slot(&stack.name, "a", 1), "env UNMOOR_LINK_STORE_HOST")
        .await?;
    ensure_eq!(found, "mine\n", "the variable that the user set");
    Ok(())
}

async fn names_ignore_case(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("Mixed"), t.server(""));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let first = t.ok(&a, "resolve Mixed").await?;
    for name in ["mixed", "MIXED"] {
        ensure_eq!(
            t.ok(&a, &format!("resolve {name}")).await?,
            first,
            "address of {name}"
        );
    }
    Ok(())
}

async fn unknown_name_does_not_resolve(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server(""));
    t.up(&stack).await?;
    for name in ["nobody", "nobody.invalid"] {
        let output = t
            .run(&slot(&stack.name, "a", 1), &format!("resolve {name}"))
            .await?;
        ensure_eq!(
            output.code,
            2,
            "exit code for {name}: it printed {}",
            output.out
        );
    }
    Ok(())
}

async fn own_name_resolves(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), web(t, "self"));
    t.up(&stack).await?;
    let answer = t
        .reach(&slot(&stack.name, "a", 1), "connect a 80 hello")
        .await?;
    ensure!(answer.ends_with(" self\n"), "who answered: {answer}");
    Ok(())
}

async fn udp_between_services(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("u"), t.server("--udp 5353 --name udp"));
    t.up(&stack).await?;
    let answer = t
        .reach(&slot(&stack.name, "a", 1), "udp u 5353 hello")
        .await?;
    ensure!(answer.ends_with(" udp\n"), "who answered: {answer}");
    Ok(())
}

async fn vip_survives_scale(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("web"), web(t, "web"));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let first = t.ok(&a, "resolve web").await?;
    ensure_eq!(first.lines().count(), 1, "number of addresses: {first}");
    for count in [3, 1, 2] {
        let options = unmoor_core::client::UpOptions::new().wait(crate::fixture::PATIENCE);
        t.client()
            .scale(&stack.name, &named("web"), count, &options)
            .await?;
        ensure_eq!(
            t.ok(&a, "resolve web").await?,
            first,
            "address with {count} replicas"
        );
        t.reach(&a, "connect web 80 hello").await?;
    }
    t.client()
        .update(&stack.name, &named("web"), |service| {
            service.env("NEW", "1")
        })
        .await?;
    ensure_eq!(
        t.ok(&a, "resolve web").await?,
        first,
        "address after an update"
    );
    Ok(())
}

async fn tasks_name_gives_the_replicas(t: &Fixture) -> Verdict {
    gives_the_replicas(t, "tasks.web", None).await
}

async fn name_gives_the_replicas_on_request(t: &Fixture) -> Verdict {
    gives_the_replicas(t, "web", Some(AddressMode::Replicas)).await
}

async fn gives_the_replicas(t: &Fixture, name: &str, mode: Option<AddressMode>) -> Verdict {
    let mut service = web(t, "web").replicas(3);
    service.address_mode = mode;
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("web"), service);
    t.up(&stack).await?;
    let mut wanted = BTreeSet::new();
    for replica in t.replicas(&stack.name, "web").await? {
        wanted.extend(replica.addresses.values().map(ToString::to_string));
    }
    ensure_eq!(
        wanted.len(),
        3,
        "number of addresses as observed: {wanted:?}"
    );
    let all = |out: &str| out.lines().map(str::to_owned).collect::<BTreeSet<_>>() == wanted;
    let question = format!("resolve {name}");
    t.until_says(&slot(&stack.name, "a", 1), &question, all)
        .await?;
    Ok(())
}

/// Connects until `count` different replicas have answered.
async fn until_all_answer(t: &Fixture, from: &ReplicaId, count: usize) -> Verdict {
    let mut seen = BTreeSet::new();
    for _ in 0..300 {
        let answer = t.run(from, "connect web 80 hello").await?;
        if answer.code == 0 {
            seen.insert(answer.out);
        }
        if seen.len() == count {
            return Ok(());
        }
    }
    Err(Failure::Failed(format!(
        "of {count} replicas only {seen:?} answered"
    )))
}

async fn scaled_service_balances(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("web"), web(t, "web").replicas(3));
    t.up(&stack).await?;
    until_all_answer(t, &slot(&stack.name, "a", 1), 3).await
}

async fn only_ready_endpoints_get_connections(t: &Fixture) -> Verdict {
    let service = t
        .server("--tcp 80 --unready-file /area/unready")
        .health(t.health(80))
        .replicas(3);
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("web"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    until_all_answer(t, &a, 3).await?;
    let bad = slot(&stack.name, "web", 2);
    t.ok(&bad, "write /area/unready x").await?;
    super::discover::until_out(t, &bad).await?;
    for _ in 0..40 {
        let answer = t.ok(&a, "connect web 80 hello").await?;
        ensure!(
            !answer.starts_with(&format!("{bad} ")),
            "a replica that is not ready answered"
        );
    }
    t.ok(&bad, "remove /area/unready").await?;
    super::discover::until_in(t, &bad).await?;
    until_all_answer(t, &a, 3).await
}

async fn nobody_ready_refuses(t: &Fixture) -> Verdict {
    let service = t
        .server("--tcp 80 --udp 81 --unready-file /area/unready")
        .health(t.health(80));
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("web"), service);
    t.up(&stack).await?;
    let (a, web) = (slot(&stack.name, "a", 1), slot(&stack.name, "web", 1));
    t.ok(&web, "write /area/unready x").await?;
    super::discover::until_out(t, &web).await?;
    for command in ["connect web 80 hello", "udp web 81 hello"] {
        let failed = || async {
            let output = t.run(&a, command).await?;
            Ok((output.code == 3).then_some(output.err))
        };
        // What is answered by nobody, or late, says so in another word.
        let why = t.until("it is not served any more", failed).await?;
        ensure!(why.contains("refused"), "{command}: {why}");
    }
    t.ok(&web, "remove /area/unready").await?;
    super::discover::until_in(t, &web).await?;
    t.reach(&a, "udp web 81 hello").await?;
    Ok(())
}

async fn drained_replica_gets_no_connection(t: &Fixture) -> Verdict {
    use unmoor_core::backend::{Action, Applied, Commit, Step};
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("web"), web(t, "web").replicas(2));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    until_all_answer(t, &a, 2).await?;
    let drained = slot(&stack.name, "web", 1);
    let step = Step {
        stack: stack.name.clone(),
        plan: "conformance".to_owned(),
        index: 0,
        deadline: crate::fixture::PATIENCE,
        commit: Commit::Now,
    };
    let drain = Action::DrainReplica {
        replica: drained.clone(),
    };
    ensure_eq!(
        t.backend().apply(&drain, &step).await?,
        Applied::Changed,
        "draining"
    );
    ensure_eq!(
        t.backend().apply(&drain, &step).await?,
        Applied::Unchanged,
        "draining again"
    );
    for _ in 0..40 {
        let answer = t.ok(&a, "connect web 80 hello").await?;
        ensure!(
            !answer.starts_with(&format!("{drained} ")),
            "the drained replica answered"
        );
    }
    t.ok(&drained, "connect localhost 80 hello").await?;
    Ok(())
}

async fn cyclic_links_come_up(t: &Fixture) -> Verdict {
    let with =
        |name: &str, other: &str| web(t, name).link(Link::to(named(other)).alias(alias("peer")));
    let stack = t
        .stack()
        .service(named("a"), with("a", "b"))
        .service(named("b"), with("b", "a"));
    t.up(&stack).await?;
    for (from, to) in [("a", "b"), ("b", "a")] {
        let answer = t
            .reach(&slot(&stack.name, from, 1), "connect peer 80 hello")
            .await?;
        ensure!(
            answer.ends_with(&format!(" {to}\n")),
            "who answered {from}: {answer}"
        );
    }
    Ok(())
}

async fn link_added_to_running_replicas(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("db"), web(t, "store"));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let started = t.replica(&stack.name, "a").await?.started;
    ensure_eq!(
        t.run(&a, "resolve storage").await?.code,
        2,
        "exit code before the link"
    );
    let link = Link::to(named("db")).alias(alias("storage"));
    t.client().link(&stack.name, &named("a"), link).await?;
    let answer = t.reach(&a, "connect storage 80 hello").await?;
    ensure!(answer.ends_with(" store\n"), "who answered: {answer}");
    t.client()
        .unlink(&stack.name, &named("a"), &alias("storage"))
        .await?;
    t.until("the alias is gone", || async {
        Ok((t.run(&a, "resolve storage").await?.code == 2).then_some(()))
    })
    .await?;
    ensure_eq!(
        t.replica(&stack.name, "a").await?.started,
        started,
        "start of the dependent"
    );
    Ok(())
}

async fn link_pointed_elsewhere(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("one"), web(t, "one"))
        .service(named("two"), web(t, "two"));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let started = t.replica(&stack.name, "a").await?.started;
    for target in ["one", "two", "one"] {
        let link = Link::to(named(target)).alias(alias("current"));
        t.client().link(&stack.name, &named("a"), link).await?;
        let wanted = format!(" {target}\n");
        t.until_says(&a, "connect current 80 hello", |out| out.ends_with(&wanted))
            .await?;
    }
    ensure_eq!(
        t.replica(&stack.name, "a").await?.started,
        started,
        "start of the dependent"
    );
    Ok(())
}
