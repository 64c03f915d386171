//! Visitors come all the time, through links and through published ports, while a stack changes.

use unmoor_core::client::{AdoptOptions, DownOptions, UpOptions};
use unmoor_core::name::ReplicaId;
use unmoor_core::spec::{Health, Link, Published, Service, Stack};

use super::{Change, Ground, alias, always};
use crate::case::{Failure, Verdict, cases};
use crate::fixture::{Fixture, named, slot};
use crate::load::{self, Count, Outside};

cases! { "changes";
    /// While another service of the file changes, no connection fails.
    traffic_through_up [Spawn, Links, InternalTcp, Drain, HealthExec, RollingUpdate, State];
    /// While another service is spawned and updated, no connection fails.
    traffic_through_spawn [Spawn, Links, InternalTcp, Drain, HealthExec, RollingUpdate, State];
    /// While a service is scaled up and down, no connection to it fails.
    traffic_through_scale [Spawn, Scale, Links, InternalTcp, Drain, HealthExec, State];
    /// While a service is updated again and again, no connection to it fails.
    traffic_through_update [Spawn, Links, InternalTcp, Drain, HealthExec, RollingUpdate, State];
    /// While a service goes back and forth, no connection to it fails.
    traffic_through_rollback [Spawn, Links, InternalTcp, Drain, HealthExec, RollingUpdate, State];
    /// While whoever asks gets links, no connection of his fails.
    traffic_through_link [Spawn, Links, LinkLive, InternalTcp, Drain, HealthExec, State];
    /// While the link that visitors take is re-pointed, no connection over it fails.
    traffic_through_repoint [Spawn, Links, LinkLive, InternalTcp, Drain, HealthExec, State];
    /// While whoever asks loses another link, no connection of his fails.
    traffic_through_unlink_of_another [Spawn, Links, LinkLive, InternalTcp, Drain, HealthExec, State];
    /// While another service is removed, no connection fails.
    traffic_through_remove_of_another [Spawn, Links, InternalTcp, Drain, HealthExec, State];
    /// While another stack of the same services comes and goes, no connection fails.
    traffic_through_down_of_another [Spawn, Links, InternalTcp, Drain, HealthExec];
    /// While a stack becomes somebody else's and is taken over, no connection fails.
    traffic_through_adoption [Adopt, Spawn, Links, InternalTcp, Drain, HealthExec];
    /// A replica that dies takes with it what it has in hand; nobody else is turned away.
    traffic_through_deaths [Spawn, Scale, Links, InternalTcp, Drain, HealthExec, RestartAlways];
    /// While a service is scaled, updated and brought back, no request at its published port fails.
    published_traffic_through_changes [Spawn, Scale, PublishTcp, Discover, Drain, HealthExec, RollingUpdate, State];
    /// A replica that dies takes with it what it has in hand; nobody else at the published port is
    /// turned away.
    published_traffic_through_deaths [Spawn, Scale, PublishTcp, Discover, Drain, HealthExec, RestartAlways];
}

/// So often each change is made.
const ROUNDS: usize = 4;

/// Makes a change again and again under load.
async fn traffic(t: &Fixture, change: Change) -> Verdict {
    let mut ground = Ground::busy(t);
    if matches!(change, Change::Link | Change::Repoint | Change::Unlink) {
        // They take a link: the one that is re-pointed, or one beside those that come and go.
        ground.asking = t
            .server("--load current 80 10")
            .link(Link::to(named("web")).alias(alias("current")));
    }
    ground.up(t).await?;
    let load = ground.load();
    let before = load::begin(t, &load).await?;
    for n in 1..=ROUNDS {
        change.prepare(t, &ground, n).await?;
        change.done(t, &ground, n).await?;
        load::more(t, &load, 5).await?;
    }
    change.check(t, &ground, ROUNDS).await?;
    load::more(t, &load, 10).await?.no_more_failed(&before)
}

async fn traffic_through_up(t: &Fixture) -> Verdict {
    traffic(t, Change::Up).await
}

async fn traffic_through_spawn(t: &Fixture) -> Verdict {
    traffic(t, Change::Spawn).await
}

async fn traffic_through_scale(t: &Fixture) -> Verdict {
    traffic(t, Change::Scale).await
}

async fn traffic_through_update(t: &Fixture) -> Verdict {
    traffic(t, Change::Update).await
}

async fn traffic_through_rollback(t: &Fixture) -> Verdict {
    traffic(t, Change::Rollback).await
}

async fn traffic_through_link(t: &Fixture) -> Verdict {
    traffic(t, Change::Link).await
}

async fn traffic_through_repoint(t: &Fixture) -> Verdict {
    traffic(t, Change::Repoint).await
}

async fn traffic_through_unlink_of_another(t: &Fixture) -> Verdict {
    traffic(t, Change::Unlink).await
}

async fn traffic_through_remove_of_another(t: &Fixture) -> Verdict {
    traffic(t, Change::Remove).await
}

async fn traffic_through_down_of_another(t: &Fixture) -> Verdict {
    let (ground, other) = (Ground::busy(t), Ground::busy(t));
    ground.up(t).await?;
    let load = ground.load();
    let before = load::begin(t, &load).await?;
    for _ in 0..2 {
        other.up(t).await?;
        let options = DownOptions::new().volumes(true);
        t.client().down(&other.name, &options).await?;
    }
    load::more(t, &load, 10).await?.no_more_failed(&before)
}

/// A service that thinks about each answer, so that it has some in hand when it dies.
fn mortal(t: &Fixture) -> Service {
    let health: Health = t.health(80);
    always(t.server("--tcp 80 --slow 20"))
        .health(health)
        .replicas(3)
}

/// Ends the program of each replica in turn, the next when all serve again.
async fn deaths(t: &Fixture, stack: &Stack) -> Result<u64, Failure> {
    let replicas: Vec<ReplicaId> = (1..=3).map(|n| slot(&stack.name, "web", n)).collect();
    for replica in &replicas {
        t.reach(replica, "connect localhost 80 die 9").await?;
        t.until("it was started again", || async {
            let list = t.replicas(&stack.name, "web").await?;
            let again = list
                .iter()
                .any(|now| now.id == *replica && now.restarts > 0);
            Ok(again.then_some(()))
        })
        .await?;
        for replica in &replicas {
            crate::cases::discover::until_in(t, replica).await?;
        }
    }
    Ok(replicas.len() as u64)
}

async fn traffic_through_adoption(t: &Fixture) -> Verdict {
    let ground = Ground::busy(t);
    ground.up(t).await?;
    let load = ground.load();
    let before = load::begin(t, &load).await?;
    for _ in 0..ROUNDS {
        t.disown(&ground.name).await?;
        let options = AdoptOptions::new();
        t.client().adopt(&ground.name, &options).await?;
        load::more(t, &load, 5).await?;
    }
    load::more(t, &load, 10).await?.no_more_failed(&before)
}

async fn traffic_through_deaths(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("load"), t.server("--load web 80 1").replicas(3))
        .service(named("web"), mortal(t));
    t.up(&stack).await?;
    let loads: Vec<ReplicaId> = (1..=3).map(|n| slot(&stack.name, "load", n)).collect();
    let mut before: Vec<Count> = Vec::new();
    for load in &loads {
        before.push(load::begin(t, load).await?);
    }
    let deaths = deaths(t, &stack).await?;
    for (load, before) in loads.iter().zip(&before) {
        // Each has one connection at a time, so one in hand of whoever dies.
        load::more(t, load, 10).await?.only_cut(before, deaths)?;
    }
    Ok(())
}

/// The same stack with its port published.
fn published(t: &Fixture, web: Service) -> Stack {
    let port = Published {
        host_port: None,
        ..Published::tcp(1, 80)
    };
    t.stack().service(named("web"), web.publish(port))
}

/// Publishes a port that stays the same whatever replicas there are.
async fn at_a_door(t: &Fixture, web: Service) -> Result<Stack, Failure> {
    let chosen = published(t, t.probe("serve --tcp 80"));
    t.up(&chosen).await?;
    let protocol = unmoor_core::spec::Protocol::Tcp;
    let door = t.door(&chosen.name, "web", protocol).await?;
    t.down(&chosen.name).await?;
    let port = door
        .port
        .ok_or_else(|| Failure::Failed("no port".to_owned()))?;
    let web = web.publish(Published::tcp(port, 80));
    let stack = t.stack().service(named("web"), web);
    t.up(&stack).await?;
    Ok(stack)
}

async fn published_traffic_through_changes(t: &Fixture) -> Verdict {
    let web = t.server("--tcp 80").health(t.health(80)).replicas(2);
    let stack = at_a_door(t, web).await?;
    let (client, web) = (t.client(), named("web"));
    let outside = Outside::new(t, &stack.name, "web");
    let change = async {
        let options = UpOptions::new().wait(crate::fixture::PATIENCE);
        for (count, version) in [(4, "1"), (1, "2"), (2, "3")] {
            client.scale(&stack.name, &web, count, &options).await?;
            let change = |service: Service| service.env("VERSION", version);
            client.update(&stack.name, &web, change).await?;
        }
        client.rollback(&stack.name, &web, &options).await?;
        Ok(())
    };
    outside.during(change).await?;
    outside.count().no_more_failed(&Count::default())
}

async fn published_traffic_through_deaths(t: &Fixture) -> Verdict {
    let stack = at_a_door(t, mortal(t)).await?;
    let outside = Outside::new(t, &stack.name, "web");
    let deaths = outside.during(deaths(t, &stack)).await?;
    outside.count().only_cut(&Count::default(), deaths)
}
