//! More and fewer replicas.

use unmoor_core::ErrorKind;
use unmoor_core::client::UpOptions;
use unmoor_core::name::StackName;

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};
use crate::load;

cases! { "scale";
    /// A service is scaled up and down; what stays is not restarted.
    scale_up_down [Spawn, Scale, State];
    /// A service is scaled to nothing and back.
    scale_to_zero_and_back [Spawn, Scale, State];
    /// A count set by hand is kept by the next `up`, and the plan says so.
    hand_scaled_is_kept [Spawn, Scale, State];
    /// A count in the stack that changes is followed.
    count_of_the_stack_is_followed [Spawn, Scale];
    /// Scaling what does not exist is an error.
    scale_of_nothing_is_not_found [Spawn, Scale, State];
    /// Twenty replicas come up and go.
    twenty_replicas [Spawn, Scale, State];
    /// While a service is scaled down, no connection to it fails.
    scale_down_is_not_noticed [Spawn, Scale, Links, InternalTcp, Drain, State];
}

/// Slots of the replicas, with the start of each.
async fn slots(t: &Fixture, stack: &StackName) -> Result<Vec<u32>, Failure> {
    Ok(t.replicas(stack, "web")
        .await?
        .iter()
        .map(|replica| replica.id.slot)
        .collect())
}

async fn scale(t: &Fixture, stack: &StackName, count: u32) -> Verdict {
    let options = UpOptions::new().wait(PATIENCE);
    t.client()
        .scale(stack, &named("web"), count, &options)
        .await?;
    Ok(())
}

async fn scale_up_down(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.server(""));
    t.up(&stack).await?;
    let first = t.replica(&stack.name, "web").await?;
    scale(t, &stack.name, 3).await?;
    ensure_eq!(
        slots(t, &stack.name).await?,
        [1, 2, 3],
        "slots after scaling up"
    );
    for replica in t.replicas(&stack.name, "web").await? {
        t.ok(&replica.id, "print here").await?;
    }
    scale(t, &stack.name, 1).await?;
    ensure_eq!(
        slots(t, &stack.name).await?,
        [1],
        "slots after scaling down"
    );
    let last = t.replica(&stack.name, "web").await?;
    ensure_eq!(
        last.started,
        first.started,
        "start of the replica that stayed"
    );
    let report = t
        .client()
        .scale(&stack.name, &named("web"), 1, &UpOptions::new())
        .await?;
    ensure_eq!(report.changed, 0, "scaling to what is there writes nothing");
    Ok(())
}

async fn scale_to_zero_and_back(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.server("").replicas(2));
    t.up(&stack).await?;
    scale(t, &stack.name, 0).await?;
    ensure!(slots(t, &stack.name).await?.is_empty(), "a replica is left");
    let declared = t.observe(&stack.name).await?.services;
    ensure!(
        declared.contains_key(&named("web")),
        "the service is gone with its replicas"
    );
    scale(t, &stack.name, 2).await?;
    ensure_eq!(slots(t, &stack.name).await?, [1, 2], "slots afterwards");
    Ok(())
}

async fn hand_scaled_is_kept(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.server(""));
    t.up(&stack).await?;
    scale(t, &stack.name, 3).await?;
    let report = t.up(&stack).await?;
    ensure_eq!(report.changed, 0, "actions of the next `up` that wrote");
    ensure_eq!(
        slots(t, &stack.name).await?,
        [1, 2, 3],
        "slots after the next `up`"
    );
    let planned = t.client().plan(&stack, &UpOptions::new()).await?;
    let told = planned
        .plan
        .notes
        .iter()
        .any(|note| note.contains("web") && note.contains('3'));
    ensure!(
        told,
        "the plan does not tell of it: {:?}",
        planned.plan.notes
    );
    Ok(())
}

async fn count_of_the_stack_is_followed(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    for count in [1, 3, 2] {
        let stack = unmoor_core::spec::Stack::new(name.clone())
            .service(named("web"), t.server("").replicas(count));
        t.up(&stack).await?;
        let wanted: Vec<u32> = (1..=count).collect();
        ensure_eq!(slots(t, &name).await?, wanted, "slots");
    }
    Ok(())
}

async fn scale_of_nothing_is_not_found(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.server(""));
    t.up(&stack).await?;
    for (stack, service) in [(stack.name.clone(), "nobody"), (t.stack_name(), "web")] {
        let outcome = t
            .client()
            .scale(&stack, &named(service), 2, &UpOptions::new())
            .await;
        let kind = outcome.err().map(|error| error.kind());
        ensure_eq!(
            kind,
            Some(ErrorKind::NotFound),
            "kind for {service} of {stack}"
        );
    }
    Ok(())
}

async fn twenty_replicas(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.server("").replicas(20));
    t.up(&stack).await?;
    let wanted: Vec<u32> = (1..=20).collect();
    ensure_eq!(slots(t, &stack.name).await?, wanted, "slots");
    let mut addresses = std::collections::BTreeSet::new();
    for replica in t.replicas(&stack.name, "web").await? {
        addresses.extend(replica.addresses.into_values());
    }
    ensure!(
        addresses.is_empty() || addresses.len() == 20,
        "addresses: {addresses:?}"
    );
    scale(t, &stack.name, 1).await?;
    ensure_eq!(slots(t, &stack.name).await?, [1], "slots afterwards");
    Ok(())
}

async fn scale_down_is_not_noticed(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("load"), t.server("--load web 80 10"))
        .service(
            named("web"),
            t.server("--tcp 80").health(t.health(80)).replicas(4),
        );
    t.up(&stack).await?;
    let load = slot(&stack.name, "load", 1);
    load::begin(t, &load).await?;
    let before = load::count(t, &load).await?;
    for count in [2, 4, 1] {
        scale(t, &stack.name, count).await?;
    }
    let after = load::enough(t, &load, before.ok + 30).await?;
    after.no_more_failed(&before)?;
    Ok(())
}
