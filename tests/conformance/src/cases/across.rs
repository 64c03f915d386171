//! Links to services of other stacks.

use std::collections::BTreeSet;

use unmoor_core::backend::Action;
use unmoor_core::name::{Alias, ReplicaId};
use unmoor_core::spec::{Link, LinkTarget, Stack};

use super::link::web;
use crate::case::{Verdict, cases, ensure};
use crate::fixture::{Fixture, named, slot};

cases! { "across";
    /// A link across stacks resolves and connects, for the one that has it only.
    link_across_stacks [Spawn, Links, LinkAcross, InternalTcp];
    /// A link across stacks follows its target: scaled, drained, gone, and there again.
    link_across_follows_its_target [Spawn, Scale, Links, LinkAcross, InternalTcp, Drain];
}

/// A link with the alias `remote` to the service `db` of another stack.
fn remote(stack: &Stack) -> Link {
    Link {
        target: LinkTarget {
            stack: Some(stack.name.clone()),
            service: named("db"),
        },
        alias: Alias::parse("remote").expect("the suite's own names are valid"),
        port: None,
    }
}

async fn link_across_follows_its_target(t: &Fixture) -> Verdict {
    let far = t.stack().service(named("db"), web(t, "far").replicas(2));
    t.up(&far).await?;
    let near = t
        .stack()
        .service(named("a"), t.server("").link(remote(&far)));
    t.up(&near).await?;
    let a = slot(&near.name, "a", 1);
    until_remote_is(t, &a, &["1", "2"]).await?;
    let replica = slot(&far.name, "db", 1);
    let drain = Action::DrainReplica { replica };
    t.backend()
        .apply(&drain, &super::faults::step(&far.name))
        .await?;
    for _ in 0..8 {
        let answer = t.ok(&a, "connect remote 80 hello").await?;
        ensure!(
            answer.starts_with(&slot(&far.name, "db", 2).to_string()),
            "{answer}"
        );
    }
    t.down(&far.name).await?;
    let gone = || async {
        let found = t.run(&a, "resolve remote").await?;
        Ok((found.code == 2).then_some(()))
    };
    t.until("the alias of a target that is gone does not resolve", gone)
        .await?;
    t.up(&far).await?;
    until_remote_is(t, &a, &["1", "2"]).await
}

/// Waits until connections to `remote` reach these replicas and no other.
async fn until_remote_is(t: &Fixture, from: &ReplicaId, slots: &[&str]) -> Verdict {
    let wanted: BTreeSet<String> = slots.iter().map(|slot| (*slot).to_owned()).collect();
    let asked = || async {
        let mut seen = BTreeSet::new();
        for _ in 0..wanted.len() * 4 {
            let output = t.run(from, "connect remote 80 hello").await?;
            let who = output.out.split_whitespace().next().unwrap_or_default();
            seen.extend(who.rsplit('-').next().map(str::to_owned));
        }
        Ok((seen == wanted).then_some(()))
    };
    t.until("the link leads to every ready replica of its target", asked)
        .await
}

async fn link_across_stacks(t: &Fixture) -> Verdict {
    let far = t.stack().service(named("db"), web(t, "far"));
    t.up(&far).await?;
    let near = t
        .stack()
        .service(named("a"), t.server("").link(remote(&far)))
        .service(named("b"), t.server(""));
    t.up(&near).await?;
    let answer = t
        .reach(&slot(&near.name, "a", 1), "connect remote 80 hello")
        .await?;
    ensure!(answer.ends_with(" far\n"), "who answered: {answer}");
    let address = t
        .replica(&far.name, "db")
        .await?
        .addresses
        .into_values()
        .next();
    let Some(address) = address else {
        return Err("the address of a replica is not known".to_owned().into());
    };
    super::network::is_apart(t, &slot(&near.name, "b", 1), "remote", address).await
}
