//! Removing: all of it, nothing else, and as often as one likes.

use unmoor_core::client::UpOptions;
use unmoor_core::spec::{Attachment, Dependency, Network};

use crate::case::{Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, net, slot};

cases! { "remove";
    /// Taking down a stack that is not there is a success that writes nothing.
    down_of_absent_is_success [Spawn];
    /// `down` leaves nothing but volumes, whatever state the services are in.
    down_leaves_nothing [Spawn, NetworkIsolation, RestartNo];
    /// `down` twice is the same as once.
    down_twice [Spawn];
    /// `down` stops dependents before what they depend on.
    down_stops_dependents_first [Spawn];
    /// Taking one stack down leaves others alone.
    down_spares_other_stacks [Spawn];
    /// One service is removed from a stack; the others run on.
    remove_one_service [Spawn, State];
    /// A service that another depends on is not removed under it.
    remove_needed_service_is_refused [Spawn, State];
    /// Removing what is not there is a success.
    remove_of_absent_is_success [Spawn, State];
}

async fn down_of_absent_is_success(t: &Fixture) -> Verdict {
    let report = t.down(&t.stack_name()).await?;
    ensure_eq!(report.changed, 0, "actions that wrote");
    Ok(())
}

async fn down_leaves_nothing(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .network(net("one"), Network::default())
        .network(net("two"), Network::default())
        .service(
            named("runs"),
            t.server("").network(net("one"), Attachment::default()),
        )
        .service(
            named("ended"),
            t.probe("exit 0").network(net("two"), Attachment::default()),
        )
        .service(named("failed"), t.probe("exit 1"))
        .service(named("missing"), t.probe("").entrypoint(["/not/there"]))
        .service(named("none"), t.server("").replicas(0));
    // Some of it cannot run, which is the point; what could be made is there.
    let _ = t.up_only(&stack).await;
    ensure!(
        !t.observe(&stack.name).await?.is_empty(),
        "nothing came up at all"
    );
    t.down(&stack.name).await?;
    let seen = t.observe(&stack.name).await?;
    ensure!(seen.is_empty(), "left after `down`: {seen:?}");
    let known = t.client().stacks().await?;
    ensure!(!known.contains(&stack.name), "the stack is still recorded");
    Ok(())
}

async fn down_twice(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server(""));
    t.up(&stack).await?;
    let first = t.down(&stack.name).await?;
    ensure!(first.changed > 0, "the first `down` wrote nothing");
    let second = t.down(&stack.name).await?;
    ensure_eq!(second.changed, 0, "actions of the second that wrote");
    Ok(())
}

async fn down_stops_dependents_first(t: &Fixture) -> Verdict {
    let after = |name: &str| t.server("").after(named(name), Dependency::default());
    let stack = t
        .stack()
        .service(named("a"), after("b"))
        .service(named("b"), after("c"))
        .service(named("c"), t.server(""));
    t.up(&stack).await?;
    let order = std::sync::Mutex::new(Vec::new());
    let told = |progress: unmoor_core::apply::Progress| {
        let over = progress.outcome == unmoor_core::apply::Outcome::Changed;
        if over && progress.verb == "remove" && progress.subject.starts_with("replica ") {
            order
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(progress.subject);
        }
    };
    let options = unmoor_core::client::DownOptions::new().on_progress(&told);
    t.client().down(&stack.name, &options).await?;
    let order = order
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let wanted =
        ["a", "b", "c"].map(|service| format!("replica {}", slot(&stack.name, service, 1)));
    ensure_eq!(order, wanted, "order of removal");
    Ok(())
}

async fn down_spares_other_stacks(t: &Fixture) -> Verdict {
    let one = t.stack().service(named("a"), t.server(""));
    let two = t.stack().service(named("a"), t.server(""));
    t.up(&one).await?;
    t.up(&two).await?;
    let before = t.replica(&two.name, "a").await?;
    t.down(&one.name).await?;
    let after = t.replica(&two.name, "a").await?;
    ensure_eq!(
        after.started,
        before.started,
        "start of the other stack's replica"
    );
    t.ok(&after.id, "print here").await?;
    Ok(())
}

async fn remove_one_service(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("b"), t.server(""));
    t.up(&stack).await?;
    let before = t.replica(&stack.name, "b").await?;
    t.client().remove(&stack.name, &named("a")).await?;
    let seen = t.observe(&stack.name).await?;
    ensure!(
        !seen.services.contains_key(&named("a")),
        "it is still declared"
    );
    ensure!(
        seen.replicas.iter().all(|r| r.id.service != named("a")),
        "it still runs"
    );
    ensure_eq!(
        t.replica(&stack.name, "b").await?.started,
        before.started,
        "start of the other"
    );
    Ok(())
}

async fn remove_needed_service_is_refused(t: &Fixture) -> Verdict {
    let needs = t.server("").after(named("db"), Dependency::default());
    let stack = t
        .stack()
        .service(named("a"), needs)
        .service(named("db"), t.server(""));
    t.up(&stack).await?;
    let outcome = t.client().remove(&stack.name, &named("db")).await;
    let kind = outcome.err().map(|error| error.kind());
    ensure_eq!(
        kind,
        Some(unmoor_core::ErrorKind::InvalidSpec),
        "kind of the refusal"
    );
    ensure_eq!(
        t.replicas(&stack.name, "db").await?.len(),
        1,
        "replicas afterwards"
    );
    ensure_eq!(
        t.client().up(&stack, &UpOptions::new()).await?.changed,
        0,
        "writes of `up`"
    );
    Ok(())
}

async fn remove_of_absent_is_success(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server(""));
    t.up(&stack).await?;
    let report = t.client().remove(&stack.name, &named("nobody")).await?;
    ensure_eq!(report.changed, 0, "actions that wrote");
    Ok(())
}
