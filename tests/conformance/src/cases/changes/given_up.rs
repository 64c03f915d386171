//! Changes that their caller gives up in the middle, and that he or somebody else completes.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::{Change, Ground, stranger};
use crate::case::{Failure, Verdict, cases};
use crate::fixture::Fixture;

cases! { "changes";
    /// An `up` that was given up anywhere is completed by its caller, or by a stranger.
    given_up_up [Spawn, State];
    /// A `down` that was given up anywhere is completed by its caller, or by a stranger.
    given_up_down [Spawn, State];
    /// A spawn that was given up anywhere is completed by its caller, or by a stranger.
    given_up_spawn [Spawn, RollingUpdate, State];
    /// A scale that was given up anywhere is completed by its caller, or by a stranger.
    given_up_scale [Spawn, Scale, State];
    /// An update that was given up anywhere is completed by its caller, or by a stranger.
    given_up_update [Spawn, RollingUpdate, State];
    /// A rollback that was given up anywhere leaves one version, once somebody goes on.
    given_up_rollback [Spawn, Scale, RollingUpdate, State];
    /// A link that was given up anywhere is made by its caller, or by a stranger.
    given_up_link [Spawn, Links, LinkLive, InternalTcp, State];
    /// A link whose re-pointing was given up anywhere is re-pointed by its caller, or by a stranger.
    given_up_repoint [Spawn, Links, LinkLive, InternalTcp, State];
    /// A link whose end was given up anywhere is ended by its caller, or by a stranger.
    given_up_unlink [Spawn, Links, LinkLive, InternalTcp, State];
    /// A removal that was given up anywhere is completed by its caller, or by a stranger.
    given_up_remove [Spawn, State];
    /// A stop that was given up anywhere is completed by its caller, or by a stranger.
    given_up_stop [Spawn, State];
}

/// Most rounds: what has not ended by then waits for something that never comes.
const ROUNDS: usize = 24;

/// Lets a call go on until it has waited so often, and drops it then; its answer if it ended.
async fn give_up<T>(call: impl Future<Output = T>, mut waits: u64) -> Option<T> {
    let mut call = pin!(call);
    poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if waits == 0 => Poll::Ready(None),
        Poll::Pending => {
            waits -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Gives a change up at ever later places, until it ends before.
async fn given_up(t: &Fixture, change: Change) -> Verdict {
    let mut ground = Ground::plain(t);
    ground.web = ground.web.replicas(2);
    ground.up(t).await?;
    // Close at the beginning, where most is decided, and wider apart later.
    let (mut waits, mut step) = (0, 1);
    for n in 1..=ROUNDS {
        change.prepare(t, &ground, n).await?;
        let begun = give_up(change.make(t, t.client(), &ground, n), waits).await;
        let next = match n % 2 {
            0 => t.client().clone(),
            _ => stranger(t),
        };
        let told = |what: &str, why: String| {
            Failure::Failed(format!("{what}, given up after {waits} waits: {why}"))
        };
        let finished = change.finish(t, &next, &ground, n).await;
        finished.map_err(|error| told("the next call", format!("{error:?}")))?;
        let checked = change.check(t, &ground, n).await;
        checked.map_err(|failure| match failure {
            Failure::Failed(why) => told("afterwards", why),
            skipped @ Failure::Skipped(_) => skipped,
        })?;
        if begun.is_some() {
            return Ok(());
        }
        waits += step;
        step += 1 + step / 2;
    }
    Err(format!("{change:?} waits more than {waits} times").into())
}

async fn given_up_up(t: &Fixture) -> Verdict {
    given_up(t, Change::Up).await
}

async fn given_up_down(t: &Fixture) -> Verdict {
    given_up(t, Change::Down).await
}

async fn given_up_spawn(t: &Fixture) -> Verdict {
    given_up(t, Change::Spawn).await
}

async fn given_up_scale(t: &Fixture) -> Verdict {
    given_up(t, Change::Scale).await
}

async fn given_up_update(t: &Fixture) -> Verdict {
    given_up(t, Change::Update).await
}

async fn given_up_rollback(t: &Fixture) -> Verdict {
    given_up(t, Change::Rollback).await
}

async fn given_up_link(t: &Fixture) -> Verdict {
    given_up(t, Change::Link).await
}

async fn given_up_repoint(t: &Fixture) -> Verdict {
    given_up(t, Change::Repoint).await
}

async fn given_up_unlink(t: &Fixture) -> Verdict {
    given_up(t, Change::Unlink).await
}

async fn given_up_remove(t: &Fixture) -> Verdict {
    given_up(t, Change::Remove).await
}

async fn given_up_stop(t: &Fixture) -> Verdict {
    given_up(t, Change::Stop).await
}
