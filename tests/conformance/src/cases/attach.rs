//! The streams of a replica's own program, and events in the life of replicas.

use futures_util::StreamExt;
use unmoor_core::ErrorKind;
use unmoor_core::apply::RunOptions;
use unmoor_core::backend::{ExecOutput, ExecSession, Phase, Stream};
use unmoor_core::event::{Change, ReplicaEvent};
use unmoor_core::image::ImageRef;
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};

cases! { "attach";
    /// Input reaches a replica's program, its output comes back, and so does its exit code.
    attach_carries_streams [Spawn, Attach, RestartNo];
    /// A session that is dropped leaves the program alone.
    attach_dropped_leaves_the_program [Spawn, Attach];
    /// Attaching to what does not run, or is not there, is an error.
    attach_needs_a_running_replica [Spawn, Attach];
    /// Events tell of a replica's life, in order.
    events_tell_a_life [Spawn, Events];
    /// Waiting for the next end gives the replica and its exit code.
    wait_for_the_next_end [Spawn, Events, RestartNo];
    /// An image that is not there cannot be pushed.
    push_needs_an_image [ImagePush];
}

fn cat(t: &Fixture) -> unmoor_core::spec::Service {
    let mut service = t.probe("cat");
    service.stdin_open = true;
    service
}

/// Reads until this much has come, or the end.
async fn read(
    session: &mut dyn ExecSession,
    wanted: usize,
) -> Result<(String, Option<i32>), Failure> {
    let mut out = Vec::new();
    while out.len() < wanted {
        match session.next().await? {
            Some(ExecOutput::Stdout(bytes)) => out.extend(bytes),
            Some(ExecOutput::Stderr(_)) => {}
            Some(ExecOutput::Exited(code)) => {
                return Ok((String::from_utf8_lossy(&out).into_owned(), Some(code)));
            }
            None => return Err("the session ended without an exit code".to_owned().into()),
        }
    }
    Ok((String::from_utf8_lossy(&out).into_owned(), None))
}

async fn attach_carries_streams(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), cat(t));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let mut session = t.client().attach(&a).await?;
    session.write_all(b"hello\n").await?;
    let (out, code) = read(session.as_mut(), 6).await?;
    ensure_eq!((out.as_str(), code), ("hello\n", None), "what came back");
    let mut second = t.client().attach(&a).await?;
    session.write_all(b"again\n").await?;
    ensure_eq!(read(session.as_mut(), 6).await?.0, "again\n", "to the one");
    ensure_eq!(read(second.as_mut(), 6).await?.0, "again\n", "to the other");
    session.close_stdin().await?;
    let end = read(session.as_mut(), usize::MAX).await?;
    ensure_eq!(end.1, Some(0), "exit code");
    ensure_eq!(session.next().await?, None, "what follows the end");
    Ok(())
}

async fn attach_dropped_leaves_the_program(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), cat(t));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    for word in ["one\n", "two\n"] {
        let mut session = t.client().attach(&a).await?;
        session.write_all(word.as_bytes()).await?;
        ensure_eq!(read(session.as_mut(), 4).await?.0, word, "what came back");
        drop(session);
    }
    let replica = t.replica(&stack.name, "a").await?;
    ensure_eq!(replica.phase, Phase::Running, "its phase");
    ensure_eq!(replica.restarts, 0, "its restarts");
    Ok(())
}

async fn attach_needs_a_running_replica(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.probe("sleep"));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let none = slot(&stack.name, "a", 99);
    let kind = t
        .client()
        .attach(&none)
        .await
        .err()
        .map(|error| error.kind());
    ensure_eq!(
        kind,
        Some(ErrorKind::NotFound),
        "kind without such a replica"
    );
    t.client()
        .stop(&Selector::replica(&a), None, RunOptions::default())
        .await?;
    let kind = t.client().attach(&a).await.err().map(|error| error.kind());
    ensure_eq!(
        kind,
        Some(ErrorKind::WrongPhase),
        "kind in a stopped replica"
    );
    Ok(())
}

/// Reads events of one replica up to this one; what was told, in one word each.
async fn told_until(
    t: &Fixture,
    events: &mut Stream<ReplicaEvent>,
    id: &ReplicaId,
    wanted: &str,
) -> Result<Vec<&'static str>, Failure> {
    let mut told = Vec::new();
    while told.last() != Some(&wanted) {
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = t.pass(PATIENCE) => {
                return Err(format!("nothing more is told in time after {told:?}").into());
            }
        };
        let Some(event) = event else {
            return Err(format!("the events ended after {told:?}").into());
        };
        let event = event?;
        ensure_eq_id(&event.replica, id)?;
        told.push(match event.change {
            Change::Created => "created",
            Change::Started => "started",
            Change::Ended { .. } => "ended",
            Change::Removed => "removed",
            _ => continue,
        });
    }
    Ok(told)
}

fn ensure_eq_id(found: &ReplicaId, wanted: &ReplicaId) -> Verdict {
    ensure_eq!(found, wanted, "whose it is");
    Ok(())
}

async fn events_tell_a_life(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.probe("sleep"));
    let selector = Selector::stack(stack.name.clone());
    let id = slot(&stack.name, "a", 1);
    let mut events = t.client().events(&selector).await?;
    t.up(&stack).await?;
    let told = told_until(t, &mut events, &id, "started").await?;
    ensure_eq!(told, ["created", "started"], "what `up` did");
    t.client()
        .stop(&selector, None, RunOptions::default())
        .await?;
    ensure_eq!(
        told_until(t, &mut events, &id, "ended").await?,
        ["ended"],
        "what `stop` did"
    );
    t.client().start(&selector, RunOptions::default()).await?;
    ensure_eq!(
        told_until(t, &mut events, &id, "started").await?,
        ["started"],
        "what `start` did"
    );
    t.down(&stack.name).await?;
    ensure_eq!(
        told_until(t, &mut events, &id, "removed").await?,
        ["ended", "removed"],
        "what `down` did"
    );
    Ok(())
}

async fn wait_for_the_next_end(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("long"), t.probe("sleep"))
        .service(named("short"), t.probe("exit 9 300"));
    t.up_only(&stack).await?;
    let selector = Selector::stack(stack.name.clone());
    let (id, exit) = t.client().wait_ended(&selector).await?;
    ensure_eq!(id, slot(&stack.name, "short", 1), "who ended");
    ensure_eq!(exit.map(|exit| exit.code), Some(9), "exit code");
    let (id, exit) = t.client().wait_ended(&selector).await?;
    ensure_eq!(id, slot(&stack.name, "short", 1), "who had ended");
    ensure_eq!(exit.map(|exit| exit.code), Some(9), "exit code, once more");
    Ok(())
}

async fn push_needs_an_image(t: &Fixture) -> Verdict {
    let name = "localhost:1/not/there:1";
    let reference: ImageRef = name.parse().map_err(|error| format!("{name}: {error}"))?;
    let images = t.client().images()?;
    let kind = images
        .push(&reference, &|_| {})
        .await
        .err()
        .map(|error| error.kind());
    ensure!(
        kind == Some(ErrorKind::NotFound),
        "kind of pushing no image: {kind:?}"
    );
    Ok(())
}
