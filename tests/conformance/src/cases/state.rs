//! What the platform remembers for us.

use std::time::Duration;

use unmoor_core::ErrorKind;
use unmoor_core::backend::State;

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named};

cases! { "state";
    /// A record is written only over the revision that its writer has read.
    record_has_one_writer [State];
    /// A record is listed, read back byte for byte, and gone after its removal.
    record_is_kept [State];
    /// A stack's lock has one holder; the next gets it when the first lets go.
    lock_has_one_holder [State];
    /// A second connection sees what the first one brought up, and changes nothing.
    another_client_sees_the_stack [Spawn, State];
    /// After a success the record tells of no change under way.
    record_tells_of_no_change_afterwards [Spawn, State];
}

fn state(t: &Fixture) -> Result<&dyn State, Failure> {
    let text = "the backend declares that it keeps records, and has no way to them";
    t.backend()
        .state()
        .ok_or_else(|| Failure::Failed(text.to_owned()))
}

async fn record_has_one_writer(t: &Fixture) -> Verdict {
    let (state, name) = (state(t)?, t.stack_name());
    let first = state.store(&name, b"{\"version\":1,\"a\":1}", None).await?;
    let kind = |outcome: Result<_, unmoor_core::Error>| outcome.err().map(|error| error.kind());
    let again = kind(state.store(&name, b"{\"version\":1,\"a\":2}", None).await);
    ensure_eq!(
        again,
        Some(ErrorKind::Conflict),
        "kind for a record that is there"
    );
    let second = state
        .store(&name, b"{\"version\":1,\"a\":3}", Some(first))
        .await?;
    ensure!(second != first, "the revision is the same after a change");
    let stale = kind(
        state
            .store(&name, b"{\"version\":1,\"a\":4}", Some(first))
            .await,
    );
    ensure_eq!(stale, Some(ErrorKind::Conflict), "kind for an old revision");
    let found = state.load(&name).await?.map(|(bytes, _)| bytes);
    ensure_eq!(
        found.as_deref(),
        Some(&b"{\"version\":1,\"a\":3}"[..]),
        "the record"
    );
    state.remove(&name).await?;
    Ok(())
}

async fn record_is_kept(t: &Fixture) -> Verdict {
    let (state, name) = (state(t)?, t.stack_name());
    ensure!(
        state.load(&name).await?.is_none(),
        "there is a record of a stack that never was"
    );
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    state.store(&name, &bytes, None).await?;
    let found = state.load(&name).await?.map(|(bytes, _)| bytes);
    ensure!(
        found.as_ref() == Some(&bytes),
        "the record came back changed"
    );
    ensure!(
        state.stacks().await?.contains(&name),
        "the record is not listed"
    );
    state.remove(&name).await?;
    ensure!(
        state.load(&name).await?.is_none(),
        "the record is there after its removal"
    );
    state.remove(&name).await?;
    Ok(())
}

async fn lock_has_one_holder(t: &Fixture) -> Verdict {
    let (state, name) = (state(t)?, t.stack_name());
    let held = state.lock(&name).await?;
    let other = t.stack_name();
    drop(state.lock(&other).await?);
    let both = tokio::select! {
        biased;
        second = state.lock(&name) => second.is_ok(),
        () = t.pass(Duration::from_millis(300)) => false,
    };
    ensure!(!both, "two have the lock of one stack");
    drop(held);
    tokio::select! {
        biased;
        second = state.lock(&name) => drop(second?),
        () = t.pass(Duration::from_secs(10)) => {
            return Err("nobody gets the lock after its holder let go".to_owned().into());
        }
    }
    Ok(())
}

async fn another_client_sees_the_stack(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server(""));
    t.up(&stack).await?;
    let clock = std::sync::Arc::clone(t.client().clock());
    let other = unmoor_core::Client::with_clock(std::sync::Arc::clone(t.backend()), clock);
    ensure!(
        other.stacks().await?.contains(&stack.name),
        "the other does not know the stack"
    );
    let report = other.up(&stack, &Default::default()).await?;
    ensure_eq!(report.changed, 0, "actions of the other that wrote");
    Ok(())
}

async fn record_tells_of_no_change_afterwards(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server(""));
    t.up(&stack).await?;
    let record = t.client().record(&stack.name).await?;
    ensure!(
        record.change.is_none(),
        "a change under way: {:?}",
        record.change
    );
    ensure!(record.file.is_some(), "the stack is not in the record");
    Ok(())
}
