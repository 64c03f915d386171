//! Plans that are kept and applied later, by whoever has the file.

use unmoor_core::client::{StoredPlan, UpOptions};
use unmoor_core::name::BlobName;
use unmoor_core::spec::{Blob, BlobGrant, BlobKind, BlobSource, SecretBytes, Stack};
use unmoor_core::{Client, Error, ErrorKind};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};

cases! { "plan";
    /// A plan that was kept as a file is carried out by another client, once.
    stored_plan_is_applied_by_another_client [Spawn, Exec, State];
    /// A plan that was kept is void once a replica it was made over has gone.
    stored_plan_over_other_facts_is_a_conflict [Spawn, Scale, State];
    /// A plan that was kept is void once somebody changed by hand what is wanted.
    stored_plan_over_another_record_is_a_conflict [Spawn, Scale, State];
    /// A plan that was kept holds no secret; one that changed meanwhile voids it.
    stored_plan_holds_no_secret [Spawn, Secrets, State];
}

/// What comes of a plan on its way through a file.
async fn kept(t: &Fixture, stack: &Stack) -> Result<StoredPlan, Failure> {
    let options = UpOptions::new();
    let planned = t.client().plan(stack, &options).await?;
    let bytes = planned.store(t.client()).encode();
    Ok(StoredPlan::decode(&bytes)?)
}

/// Somebody else, who knows nothing but the backend and the file.
async fn apply(t: &Fixture, stored: &StoredPlan) -> Result<usize, Error> {
    let other = Client::with_clock(t.backend().clone(), t.client().clock().clone());
    let planned = other.recall(stored, &|_| {}).await?;
    let report = other.apply(&planned, &UpOptions::new()).await?;
    Ok(report.changed)
}

async fn is_void(t: &Fixture, stored: &StoredPlan, what: &str) -> Verdict {
    let before = t.observe(stored.stack()).await?;
    let kind = apply(t, stored).await.err().map(|error| error.kind());
    ensure_eq!(kind, Some(ErrorKind::Conflict), "answer to a plan {what}");
    ensure_eq!(
        t.observe(stored.stack()).await?.replicas,
        before.replicas,
        "replicas after a plan {what}"
    );
    Ok(())
}

async fn stored_plan_is_applied_by_another_client(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server("").env("V", "1"));
    let stored = kept(t, &stack).await?;
    ensure!(
        t.observe(&stack.name).await?.is_empty(),
        "keeping a plan wrote something"
    );
    let writes = stored.entries().iter().filter(|entry| entry.writes).count();
    ensure_eq!(apply(t, &stored).await?, writes, "actions that wrote");
    let value = t.ok(&slot(&stack.name, "a", 1), "env V").await?;
    ensure_eq!(value.trim(), "1", "a variable of the service");
    is_void(t, &stored, "that was applied before").await?;
    let changed = Stack::new(stack.name.clone()).service(named("a"), t.server("").env("V", "2"));
    let stored = kept(t, &changed).await?;
    apply(t, &stored).await?;
    let replica = t.replica(&stack.name, "a").await?;
    let value = t.ok(&replica.id, "env V").await?;
    ensure_eq!(value.trim(), "2", "a variable of the changed service");
    ensure_eq!(t.up(&changed).await?.changed, 0, "writes of `up` after it");
    Ok(())
}

async fn stored_plan_over_other_facts_is_a_conflict(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let stack = |count| Stack::new(name.clone()).service(named("a"), t.server("").replicas(count));
    t.up(&stack(2)).await?;
    let stored = kept(t, &stack(3)).await?;
    let selector = unmoor_core::label::Selector::replica(&slot(&name, "a", 2));
    let run = unmoor_core::apply::RunOptions::default();
    t.client().stop(&selector, None, run).await?;
    is_void(t, &stored, "over a replica that was stopped").await?;
    t.client().start(&selector, run).await?;
    t.client()
        .wait_ready(&name, &named("a"), crate::fixture::PATIENCE)
        .await?;
    apply(t, &stored).await?;
    ensure_eq!(t.replicas(&name, "a").await?.len(), 3, "replicas");
    Ok(())
}

async fn stored_plan_over_another_record_is_a_conflict(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let stack = |count| Stack::new(name.clone()).service(named("a"), t.server("").replicas(count));
    t.up(&stack(1)).await?;
    let stored = kept(t, &stack(2)).await?;
    let options = UpOptions::new();
    let (client, a) = (t.client(), named("a"));
    client.scale(&name, &a, 2, &options).await?;
    client.scale(&name, &a, 1, &options).await?;
    // The same replicas are there, but somebody set their number.
    is_void(t, &stored, "over a number set by hand").await?;
    Ok(())
}

async fn stored_plan_holds_no_secret(t: &Fixture) -> Verdict {
    const CONTENT: &str = "tr0ub4dor-and-3";
    let file = t.folder().join("key");
    let write = |content: &str| {
        std::fs::write(&file, content).map_err(|error| format!("write a secret: {error}"))
    };
    write(CONTENT)?;
    let name = BlobName::parse("key")?;
    let mut service = t.server("");
    service
        .secrets
        .push(BlobGrant::new(BlobKind::Secret, name.clone()));
    let mut stack = t.stack().service(named("a"), service);
    let source = BlobSource::File(file.clone());
    stack.secrets.insert(name.clone(), Blob { source });
    let stored = kept(t, &stack).await?;
    let text = String::from_utf8_lossy(&stored.encode()).into_owned();
    ensure!(!text.contains(CONTENT), "the plan shows it: {text}");
    ensure!(
        !format!("{stored:?}").contains(CONTENT),
        "its debug output shows it"
    );
    write("another")?;
    is_void(t, &stored, "whose secret changed").await?;
    write(CONTENT)?;
    apply(t, &stored).await?;
    let shown = t
        .ok(&slot(&stack.name, "a", 1), "read /run/secrets/key")
        .await?;
    ensure_eq!(shown, CONTENT, "content inside");
    // One that stood in the stack itself is asked for, and taken from it.
    let source = BlobSource::Inline(SecretBytes::new("second"));
    stack.secrets.insert(name, Blob { source });
    let mut stored = kept(t, &stack).await?;
    let kind = apply(t, &stored).await.err().map(|error| error.kind());
    ensure_eq!(
        kind,
        Some(ErrorKind::NotFound),
        "answer without the content"
    );
    stored.supply(&stack);
    apply(t, &stored).await?;
    let replica = t.replica(&stack.name, "a").await?;
    let shown = t.ok(&replica.id, "read /run/secrets/key").await?;
    ensure_eq!(shown, "second", "changed content inside");
    Ok(())
}
