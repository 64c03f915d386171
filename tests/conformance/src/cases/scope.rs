//! A change of one service touches that service, what it needs, and nothing else.

use unmoor_core::apply::RunOptions;
use unmoor_core::backend::{ObservedReplica, Phase};
use unmoor_core::client::UpOptions;
use unmoor_core::label::Selector;
use unmoor_core::name::{Alias, StackName};
use unmoor_core::plan::Scope;
use unmoor_core::spec::{Condition, Dependency, Link, LinkTarget, Service, Stack};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named};

cases! { "scope";
    /// Scaling one service leaves another that was stopped as it is; the next `up` starts it.
    scale_leaves_others_stopped [Spawn, Scale, State];
    /// Spawning one service leaves another that was stopped as it is.
    spawn_leaves_others_stopped [Spawn, State];
    /// A link to or from a service that was stopped does not start it.
    link_starts_nothing [Spawn, Links, LinkLive, State];
    /// A service that starts has what it depends on started, and only then.
    change_starts_what_is_needed [Spawn, Scale, State];
    /// Removing one service leaves alone what the stack does not have any more.
    remove_leaves_orphans [Spawn, State];
    /// `up` of one service starts it and what it depends on, and leaves the rest.
    up_of_one_service_starts_what_it_needs [Spawn];
    /// `up` of one service alone does not start what it depends on.
    up_of_one_service_alone [Spawn];
}

async fn stop(t: &Fixture, stack: &StackName, service: &str) -> Result<ObservedReplica, Failure> {
    let selector = Selector::service(stack.clone(), named(service));
    let run = RunOptions::default();
    t.client().stop(&selector, None, run).await?;
    let replica = t.replica(stack, service).await?;
    ensure!(!replica.phase.is_alive(), "`{service}` was not stopped");
    Ok(replica)
}

/// A replica that was stopped is as it was then.
async fn is_as(t: &Fixture, before: &ObservedReplica) -> Verdict {
    let id = &before.id;
    let now = t.replica(&id.stack, id.service.as_str()).await?;
    ensure_eq!(now.phase, before.phase, "phase of {id}");
    ensure_eq!(now.started, before.started, "last start of {id}");
    Ok(())
}

async fn is_there(t: &Fixture, stack: &StackName, service: &str) -> Result<bool, Failure> {
    let list = t.replicas(stack, service).await?;
    Ok(list.iter().any(|replica| replica.phase == Phase::Running))
}

async fn scale(t: &Fixture, stack: &StackName, service: &str, count: u32) -> Verdict {
    let options = UpOptions::new();
    let client = t.client();
    client
        .scale(stack, &named(service), count, &options)
        .await?;
    Ok(())
}

fn two(t: &Fixture) -> Stack {
    t.stack()
        .service(named("a"), t.server(""))
        .service(named("b"), t.server(""))
}

fn needing(service: Service, other: &str) -> Service {
    let started = Dependency {
        condition: Condition::Started,
        ..Dependency::default()
    };
    service.after(named(other), started)
}

async fn scale_leaves_others_stopped(t: &Fixture) -> Verdict {
    let stack = two(t);
    t.up(&stack).await?;
    let stopped = stop(t, &stack.name, "a").await?;
    scale(t, &stack.name, "b", 2).await?;
    ensure_eq!(
        t.replicas(&stack.name, "b").await?.len(),
        2,
        "replicas of b"
    );
    is_as(t, &stopped).await?;
    scale(t, &stack.name, "b", 1).await?;
    is_as(t, &stopped).await?;
    t.up(&stack).await?;
    ensure!(is_there(t, &stack.name, "a").await?, "`up` did not start a");
    Ok(())
}

async fn spawn_leaves_others_stopped(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let client = t.client().in_stack(name.clone());
    client.spawn("a", t.server("")).await?;
    let stopped = stop(t, &name, "a").await?;
    let b = client.spawn("b", t.server("")).await?;
    is_as(t, &stopped).await?;
    b.update(|service| service.env("CHANGED", "1")).await?;
    is_as(t, &stopped).await?;
    client.spawn("a", t.server("")).await?;
    ensure!(
        is_there(t, &name, "a").await?,
        "its own spawn did not start it"
    );
    Ok(())
}

async fn link_starts_nothing(t: &Fixture) -> Verdict {
    let stack = two(t);
    t.up(&stack).await?;
    let stopped = stop(t, &stack.name, "a").await?;
    let alias = Alias::parse("other")?;
    for (from, to) in [("a", "b"), ("b", "a")] {
        let link = Link {
            target: LinkTarget {
                stack: None,
                service: named(to),
            },
            alias: alias.clone(),
            port: None,
        };
        t.client().link(&stack.name, &named(from), link).await?;
        is_as(t, &stopped).await?;
        t.client().unlink(&stack.name, &named(from), &alias).await?;
        is_as(t, &stopped).await?;
    }
    Ok(())
}

async fn change_starts_what_is_needed(t: &Fixture) -> Verdict {
    let b = needing(t.server(""), "a").replicas(2);
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("b"), b);
    t.up(&stack).await?;
    let stopped = stop(t, &stack.name, "a").await?;
    scale(t, &stack.name, "b", 1).await?;
    is_as(t, &stopped).await?;
    scale(t, &stack.name, "b", 2).await?;
    ensure!(
        is_there(t, &stack.name, "a").await?,
        "what b needs was not started"
    );
    Ok(())
}

async fn remove_leaves_orphans(t: &Fixture) -> Verdict {
    let stack = two(t);
    let more = stack.clone().service(named("c"), t.server(""));
    t.up(&more).await?;
    t.up(&stack).await?;
    let orphan = t.replica(&stack.name, "c").await?;
    t.client().remove(&stack.name, &named("b")).await?;
    ensure!(
        t.replicas(&stack.name, "b").await?.is_empty(),
        "b is there still"
    );
    is_as(t, &orphan).await?;
    t.client().remove(&stack.name, &named("c")).await?;
    ensure!(
        t.replicas(&stack.name, "c").await?.is_empty(),
        "c is there still"
    );
    ensure!(is_there(t, &stack.name, "a").await?, "a has gone");
    Ok(())
}

/// web → api, and one that nobody needs.
fn chain(t: &Fixture) -> Stack {
    t.stack()
        .service(named("web"), needing(t.server(""), "api"))
        .service(named("api"), t.server(""))
        .service(named("rest"), t.server(""))
}

async fn up_of_one_service_starts_what_it_needs(t: &Fixture) -> Verdict {
    let stack = chain(t);
    let only = UpOptions::new().only(Scope::services(vec![named("web")]));
    t.client().up(&stack, &only).await?;
    for (service, wanted) in [("web", true), ("api", true), ("rest", false)] {
        let there = is_there(t, &stack.name, service).await?;
        ensure_eq!(there, wanted, "whether {service} runs");
    }
    let again = t.client().up(&stack, &only).await?;
    ensure_eq!(again.changed, 0, "actions of the second that wrote");
    t.up(&stack).await?;
    ensure!(
        is_there(t, &stack.name, "rest").await?,
        "the whole has no rest"
    );
    Ok(())
}

async fn up_of_one_service_alone(t: &Fixture) -> Verdict {
    let stack = chain(t);
    let alone = UpOptions::new().only(Scope::Alone(vec![named("web")]));
    t.client().up(&stack, &alone).await?;
    for (service, wanted) in [("web", true), ("api", false), ("rest", false)] {
        let there = is_there(t, &stack.name, service).await?;
        ensure_eq!(there, wanted, "whether {service} runs");
    }
    Ok(())
}
