//! Twenty callers at once, each a stranger to the others.

use futures_util::future::join_all;
use unmoor_core::backend::Phase;
use unmoor_core::spec::Stack;
use unmoor_core::{Error, ErrorKind};

use super::{Change, Ground, stranger};
use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named};

cases! { "changes";
    /// Twenty callers bring one stack up, in four versions; one of them is what runs in the end.
    crowd_ups_one_stack [Spawn, State];
    /// Twenty callers bring up a stack each.
    crowd_ups_twenty_stacks [Spawn];
    /// Twenty callers take one stack down; nothing is left.
    crowd_downs_one_stack [Spawn, State];
    /// Twenty callers spawn one service, in four versions; it is there once.
    crowd_spawns_one_service [Spawn, RollingUpdate, State];
    /// Twenty callers scale one service to four counts; it has a replica for each slot, once.
    crowd_scales_one_service [Spawn, Scale, State];
    /// Twenty callers update one service to four versions; all of it is of one.
    crowd_updates_one_service [Spawn, RollingUpdate, State];
    /// Twenty callers bring one service back; all of it is of one version.
    crowd_rolls_one_service_back [Spawn, Scale, RollingUpdate, State];
    /// Twenty callers make four links; each leads where it should.
    crowd_makes_links [Spawn, Links, LinkLive, InternalTcp, State];
    /// Twenty callers re-point one link; the last word holds.
    crowd_repoints_one_link [Spawn, Links, LinkLive, InternalTcp, State];
    /// Twenty callers end one link; it is gone, and the others stay.
    crowd_ends_one_link [Spawn, Links, LinkLive, InternalTcp, State];
    /// Twenty callers remove one service; it is gone, and the others stay.
    crowd_removes_one_service [Spawn, State];
    /// Twenty callers stop one service; it is stopped.
    crowd_stops_one_service [Spawn, State];
    /// Twenty callers make every kind of change at once; each holds or says that somebody else was
    /// at work, and the next `up` finds a whole stack.
    crowd_makes_every_change [Spawn, Scale, Links, LinkLive, InternalTcp, RollingUpdate, State];
}

/// So many come at once.
const CROWD: usize = 20;

/// What a caller may hear whom others were quicker than: that somebody else changed it, that it is
/// in another phase, or that what it is about is not there any more.
fn is_lost(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Conflict | ErrorKind::WrongPhase | ErrorKind::NotFound
    )
}

/// Has twenty strangers make a change at once, the i-th the `n(i)`-th of its kind; how many did.
async fn all_at_once(
    t: &Fixture,
    ground: &Ground,
    what: impl Fn(usize) -> (Change, usize),
) -> Result<usize, Failure> {
    let clients: Vec<_> = (0..CROWD).map(|_| stranger(t)).collect();
    let calls = clients.iter().enumerate().map(|(i, client)| {
        let (change, n) = what(i);
        change.make(t, client, ground, n)
    });
    let mut made = 0;
    for (i, outcome) in join_all(calls).await.into_iter().enumerate() {
        match outcome {
            Ok(()) => made += 1,
            Err(error) if is_lost(&error) => {}
            Err(error) => {
                let change = what(i).0;
                return Err(Failure::Failed(format!(
                    "{change:?} of caller {i}: {error:?}"
                )));
            }
        }
    }
    Ok(made)
}

/// Has a crowd make a change in four versions, then makes a fifth, which must hold.
async fn crowd(t: &Fixture, change: Change) -> Verdict {
    let mut ground = Ground::plain(t);
    if change == Change::Rollback {
        ground.web = ground.web.replicas(2);
    }
    ground.up(t).await?;
    for n in 1..=4 {
        change.prepare(t, &ground, n).await?;
    }
    let made = all_at_once(t, &ground, |i| (change, i % 4 + 1)).await?;
    ensure!(made > 0, "nobody of {CROWD} succeeded");
    if matches!(change, Change::Remove | Change::Unlink) {
        for n in 1..=4 {
            change.check(t, &ground, n).await?;
        }
    }
    change.prepare(t, &ground, 5).await?;
    change.finish(t, t.client(), &ground, 5).await?;
    change.check(t, &ground, 5).await
}

async fn crowd_ups_one_stack(t: &Fixture) -> Verdict {
    crowd(t, Change::Up).await
}

async fn crowd_ups_twenty_stacks(t: &Fixture) -> Verdict {
    let stacks: Vec<Stack> = (0..CROWD)
        .map(|_| t.stack().service(named("a"), t.server("")))
        .collect();
    let clients: Vec<_> = (0..CROWD).map(|_| stranger(t)).collect();
    let options = unmoor_core::client::UpOptions::new().wait(crate::fixture::PATIENCE);
    let ups = stacks.iter().zip(&clients);
    for outcome in join_all(ups.map(|(stack, client)| client.up(stack, &options))).await {
        outcome?;
    }
    for stack in &stacks {
        let phase = t.replica(&stack.name, "a").await?.phase;
        ensure_eq!(phase, Phase::Running, "phase of {}", stack.name);
    }
    Ok(())
}

async fn crowd_downs_one_stack(t: &Fixture) -> Verdict {
    crowd(t, Change::Down).await
}

async fn crowd_spawns_one_service(t: &Fixture) -> Verdict {
    crowd(t, Change::Spawn).await
}

async fn crowd_scales_one_service(t: &Fixture) -> Verdict {
    crowd(t, Change::Scale).await
}

async fn crowd_updates_one_service(t: &Fixture) -> Verdict {
    crowd(t, Change::Update).await
}

async fn crowd_rolls_one_service_back(t: &Fixture) -> Verdict {
    crowd(t, Change::Rollback).await
}

async fn crowd_makes_links(t: &Fixture) -> Verdict {
    crowd(t, Change::Link).await
}

async fn crowd_repoints_one_link(t: &Fixture) -> Verdict {
    crowd(t, Change::Repoint).await
}

async fn crowd_ends_one_link(t: &Fixture) -> Verdict {
    crowd(t, Change::Unlink).await
}

async fn crowd_removes_one_service(t: &Fixture) -> Verdict {
    crowd(t, Change::Remove).await
}

async fn crowd_stops_one_service(t: &Fixture) -> Verdict {
    crowd(t, Change::Stop).await
}

async fn crowd_makes_every_change(t: &Fixture) -> Verdict {
    let ground = Ground::plain(t);
    ground.up(t).await?;
    let kinds = [
        Change::Up,
        Change::Spawn,
        Change::Scale,
        Change::Update,
        Change::Rollback,
        Change::Link,
        Change::Repoint,
        Change::Remove,
    ];
    let made = all_at_once(t, &ground, |i| (kinds[i % kinds.len()], i)).await?;
    ensure!(made > 0, "nobody of {CROWD} succeeded");
    let file = ground.file(t, 99);
    t.up(&file).await?;
    ensure_eq!(t.up(&file).await?.changed, 0, "writes of a second `up`");
    let list = t.replicas(&ground.name, "web").await?;
    let slots: Vec<u32> = list.iter().map(|replica| replica.id.slot).collect();
    let wanted: Vec<u32> = (1..).take(slots.len()).collect();
    ensure_eq!(slots, wanted, "slots of the scaled service");
    let one = list
        .iter()
        .all(|other| other.spec_hash == list[0].spec_hash);
    ensure!(one, "several versions: {list:?}");
    ground.answers(t, "web", "web").await
}
