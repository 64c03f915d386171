//! What somebody changed on the platform, past the stack: it is seen, put right, or left.

use unmoor_core::apply::RunOptions;
use unmoor_core::backend::{Action, Commit, DesiredService, Step};
use unmoor_core::client::UpOptions;
use unmoor_core::label::Selector;
use unmoor_core::name::{Alias, StackName};
use unmoor_core::plan::{Drift, DriftKind};
use unmoor_core::spec::{DriftPolicy, Link, Stack};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};

cases! { "drift";
    /// What was applied is what there is: nothing differs, whatever the hand asked for.
    what_was_applied_does_not_drift [Spawn, Scale, Links, State];
    /// Replicas that somebody removed, added or stopped are told, and put right without a file.
    hand_changes_are_told_and_put_right [Spawn, Scale, State];
    /// A service that wants it so is left as somebody made it, until something else is wanted.
    drift_can_be_left [Spawn, Scale, State];
}

/// Does something to the platform that no plan knows of.
async fn meddle(t: &Fixture, stack: &StackName, action: Action) -> Verdict {
    let step = Step {
        stack: stack.clone(),
        plan: "nobody's".to_owned(),
        index: 0,
        deadline: PATIENCE,
        commit: Commit::Now,
    };
    t.backend().apply(&action, &step).await?;
    Ok(())
}

fn kinds(drift: &Drift) -> Vec<(String, DriftKind)> {
    let items = drift.items.iter();
    items
        .map(|item| (item.subject.clone(), item.kind))
        .collect()
}

async fn is_as_applied(t: &Fixture, stack: &StackName, when: &str) -> Verdict {
    let drift = t.client().drift(stack).await?;
    ensure!(drift.items.is_empty(), "{when}: {:?}", drift.items);
    Ok(())
}

/// The service as a plan hands it to the backend.
async fn desired(t: &Fixture, stack: &Stack) -> Result<std::sync::Arc<DesiredService>, Failure> {
    let planned = t.client().plan(stack, &UpOptions::new()).await?;
    let found = planned
        .plan
        .entries
        .iter()
        .find_map(|entry| match &entry.action {
            Action::EnsureService { service } => Some(service.clone()),
            _ => None,
        });
    found.ok_or_else(|| "a new stack declares nothing".to_owned().into())
}

async fn what_was_applied_does_not_drift(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server("").replicas(2))
        .service(named("b"), t.server("").env("V", "1"));
    t.up(&stack).await?;
    is_as_applied(t, &stack.name, "after `up`").await?;
    let (client, options) = (t.client(), UpOptions::new());
    client.scale(&stack.name, &named("a"), 3, &options).await?;
    let link = Link::to(named("a")).alias(Alias::parse("other")?);
    client.link(&stack.name, &named("b"), link).await?;
    let image = t.image("2");
    let change = |mut service: unmoor_core::spec::Service| {
        service.image = image;
        service
    };
    client.update(&stack.name, &named("b"), change).await?;
    is_as_applied(t, &stack.name, "after changes by hand").await?;
    client.rollback(&stack.name, &named("b"), &options).await?;
    for service in ["a", "b"] {
        client
            .wait_ready(&stack.name, &named(service), PATIENCE)
            .await?;
    }
    is_as_applied(t, &stack.name, "after going back").await
}

async fn hand_changes_are_told_and_put_right(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server("").replicas(2));
    let service = desired(t, &stack).await?;
    t.up(&stack).await?;
    let name = &stack.name;
    let second = slot(name, "a", 2);
    let gone = Action::RemoveReplica {
        replica: second.clone(),
    };
    meddle(t, name, gone).await?;
    let about = format!("service {}", named("a"));
    let told = kinds(&t.client().drift(name).await?);
    ensure_eq!(
        told,
        [(about.clone(), DriftKind::Missing)],
        "of one removed"
    );
    for number in [2, 9] {
        let more = Action::StartReplica {
            replica: slot(name, "a", number),
            service: service.clone(),
        };
        meddle(t, name, more).await?;
    }
    t.client().wait_ready(name, &named("a"), PATIENCE).await?;
    let told = kinds(&t.client().drift(name).await?);
    ensure_eq!(told, [(about, DriftKind::Surplus)], "of one added");
    let selector = Selector::replica(&second);
    let run = RunOptions::default();
    t.client().stop(&selector, None, run).await?;
    let told = kinds(&t.client().drift(name).await?);
    let stopped = (format!("replica {second}"), DriftKind::Idle);
    ensure!(told.contains(&stopped), "of one stopped: {told:?}");
    t.client()
        .reconcile(name, &UpOptions::new().wait(PATIENCE))
        .await?;
    is_as_applied(t, name, "after it was put right").await?;
    ensure_eq!(t.replicas(name, "a").await?.len(), 2, "replicas");
    let again = t.client().reconcile(name, &UpOptions::new()).await?;
    ensure_eq!(again.changed, 0, "writes of a second time");
    Ok(())
}

async fn drift_can_be_left(t: &Fixture) -> Verdict {
    for (policy, told) in [(DriftPolicy::Report, 1), (DriftPolicy::Ignore, 0)] {
        let mut service = t.server("").replicas(2);
        service.drift = policy;
        let stack = t.stack().service(named("a"), service.clone());
        t.up(&stack).await?;
        let gone = Action::RemoveReplica {
            replica: slot(&stack.name, "a", 2),
        };
        meddle(t, &stack.name, gone).await?;
        let drift = t.client().drift(&stack.name).await?;
        ensure_eq!(drift.items.len(), 1, "differences");
        ensure_eq!(drift.told().count(), told, "differences that are told");
        let report = t.up(&stack).await?;
        ensure_eq!(report.changed, 0, "writes of the same file");
        let noted = report.notes.iter().filter(|note| note.contains("left so"));
        ensure_eq!(noted.count(), told, "notes of it: {:?}", report.notes);
        let more = Stack::new(stack.name.clone()).service(named("a"), service.replicas(3));
        t.up(&more).await?;
        ensure_eq!(
            t.replicas(&stack.name, "a").await?.len(),
            3,
            "replicas once more are wanted"
        );
    }
    Ok(())
}
