//! Watching: the whole list first, then every change.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use unmoor_core::backend::Stream;
use unmoor_core::client::UpOptions;
use unmoor_core::discover::{Cursor, Directory, Endpoint, EndpointEvent, Freshness};
use unmoor_core::label::Selector;

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};

cases! { "watch";
    /// A watch begins with the whole list, then tells of each change.
    watch_resync_first_then_changes [Spawn, Scale, Watch, State];
    /// What a watch told adds up to what discovery lists, while a service is scaled up and down.
    watch_sees_scale_and_removal [Spawn, Scale, Watch, State];
    /// A watch tells when a replica becomes unready, and when it is ready again.
    watch_sees_health [Spawn, Watch, HealthExec];
    /// A stack can be watched before it exists.
    watch_before_anything_exists [Spawn, Watch];
    /// Two watchers see the same.
    two_watchers_see_the_same [Spawn, Scale, Watch, State];
    /// A watch goes on from where another one was left: with the next change, or with the whole list.
    watch_resumes_without_a_gap [Spawn, Scale, Watch, State];
    /// A directory answers from memory what discovery lists, and follows every change.
    directory_follows_discovery [Spawn, Scale, Discover, Watch, State];
}

/// What a watch has told so far.
struct Seen {
    stream: Stream<EndpointEvent>,
    list: Vec<Endpoint>,
    resyncs: usize,
}

impl Seen {
    async fn start(t: &Fixture, selector: &Selector) -> Result<Self, Failure> {
        let mut seen = Self::after(t, selector, None).await?;
        let first = seen.next(t).await?;
        ensure!(
            matches!(first, EndpointEvent::Resync { .. }),
            "the first event is {first:?}"
        );
        Ok(seen)
    }

    async fn after(
        t: &Fixture,
        selector: &Selector,
        cursor: Option<Cursor>,
    ) -> Result<Self, Failure> {
        let stream = t.client().watch_after(selector, cursor).await?;
        Ok(Self {
            stream,
            list: Vec::new(),
            resyncs: 0,
        })
    }

    /// The next event, taken into the list.
    async fn next(&mut self, t: &Fixture) -> Result<EndpointEvent, Failure> {
        let event = tokio::select! {
            biased;
            event = self.stream.next() => event,
            () = t.pass(PATIENCE) => return Err(Failure::Failed("no event in time".to_owned())),
        };
        let event = event.ok_or_else(|| Failure::Failed("the watch ended".to_owned()))??;
        match &event {
            EndpointEvent::Resync { endpoints, .. } => {
                self.resyncs += 1;
                self.list.clone_from(endpoints);
            }
            EndpointEvent::Added { endpoint, .. } => {
                let known = self.list.iter().any(|old| old.key() == endpoint.key());
                ensure!(!known, "added twice: {endpoint:?}");
                self.list.push(endpoint.clone());
            }
            EndpointEvent::Changed { endpoint, .. } => {
                let old = self.list.iter_mut().find(|old| old.key() == endpoint.key());
                let Some(old) = old else {
                    return Err(Failure::Failed(format!(
                        "changed, but never added: {endpoint:?}"
                    )));
                };
                old.clone_from(endpoint);
            }
            EndpointEvent::Removed { endpoint, .. } => {
                let before = self.list.len();
                self.list.retain(|old| old.key() != endpoint.key());
                ensure!(
                    self.list.len() < before,
                    "removed, but never added: {endpoint:?}"
                );
            }
        }
        Ok(event)
    }

    /// Slots of the replicas that get connections.
    fn slots(&self) -> BTreeSet<u32> {
        let ready = self.list.iter().filter(|endpoint| endpoint.weight > 0);
        ready
            .filter_map(|endpoint| Some(endpoint.replica.as_ref()?.slot))
            .collect()
    }

    async fn until(&mut self, t: &Fixture, slots: &[u32]) -> Verdict {
        let wanted: BTreeSet<u32> = slots.iter().copied().collect();
        while self.slots() != wanted {
            self.next(t).await?;
        }
        Ok(())
    }
}

async fn watch_resync_first_then_changes(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.probe("serve --tcp 80"));
    t.up(&stack).await?;
    let selector = Selector::service(stack.name.clone(), named("web"));
    let mut seen = Seen::start(t, &selector).await?;
    ensure_eq!(seen.slots(), BTreeSet::from([1]), "slots in the first list");
    let listed: BTreeSet<_> = t.client().discover(&selector).await?.into_iter().collect();
    let told: BTreeSet<_> = seen.list.iter().cloned().collect();
    ensure_eq!(told, listed, "the first list, beside what discovery lists");
    t.client()
        .scale(&stack.name, &named("web"), 2, &UpOptions::new())
        .await?;
    seen.until(t, &[1, 2]).await?;
    ensure_eq!(seen.resyncs, 1, "number of whole lists");
    Ok(())
}

async fn watch_sees_scale_and_removal(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.probe("serve --tcp 80"));
    t.up(&stack).await?;
    let selector = Selector::service(stack.name.clone(), named("web"));
    let mut seen = Seen::start(t, &selector).await?;
    let wait = || UpOptions::new().wait(PATIENCE);
    t.client()
        .scale(&stack.name, &named("web"), 3, &wait())
        .await?;
    seen.until(t, &[1, 2, 3]).await?;
    t.client()
        .scale(&stack.name, &named("web"), 1, &wait())
        .await?;
    seen.until(t, &[1]).await?;
    t.down(&stack.name).await?;
    while !seen.list.is_empty() {
        seen.next(t).await?;
    }
    ensure!(
        t.client().discover(&selector).await?.is_empty(),
        "discovery lists something else"
    );
    Ok(())
}

async fn watch_sees_health(t: &Fixture) -> Verdict {
    let web = t
        .server("--tcp 80 --unready-file /area/unready")
        .health(t.health(80));
    let stack = t.stack().service(named("web"), web);
    t.up(&stack).await?;
    let selector = Selector::service(stack.name.clone(), named("web"));
    let mut seen = Seen::start(t, &selector).await?;
    seen.until(t, &[1]).await?;
    let replica = slot(&stack.name, "web", 1);
    t.ok(&replica, "write /area/unready x").await?;
    seen.until(t, &[]).await?;
    t.ok(&replica, "remove /area/unready").await?;
    seen.until(t, &[1]).await
}

async fn watch_before_anything_exists(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.probe("serve --tcp 80"));
    let mut seen = Seen::start(t, &Selector::stack(stack.name.clone())).await?;
    ensure!(
        seen.list.is_empty(),
        "endpoints of a stack that does not exist: {:?}",
        seen.list
    );
    t.up(&stack).await?;
    seen.until(t, &[1]).await
}

async fn two_watchers_see_the_same(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.probe("serve --tcp 80"));
    let selector = Selector::stack(stack.name.clone());
    let mut one = Seen::start(t, &selector).await?;
    let mut two = Seen::start(t, &selector).await?;
    t.up(&stack).await?;
    t.client()
        .scale(&stack.name, &named("web"), 2, &UpOptions::new())
        .await?;
    for watcher in [&mut one, &mut two] {
        watcher.until(t, &[1, 2]).await?;
    }
    Ok(())
}

async fn watch_resumes_without_a_gap(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.probe("serve --tcp 80"));
    t.up(&stack).await?;
    let selector = Selector::service(stack.name.clone(), named("web"));
    let scale = async |count| {
        let options = UpOptions::new().wait(PATIENCE);
        t.client()
            .scale(&stack.name, &named("web"), count, &options)
            .await
    };
    let mut first = Seen::start(t, &selector).await?;
    first.until(t, &[1]).await?;
    let cursor = Cursor::of(&first.list);
    drop(first.stream);
    // Nothing has changed: the next change is the first thing that is told.
    let mut again = Seen::after(t, &selector, Some(cursor)).await?;
    again.list = first.list;
    scale(2).await?;
    again.until(t, &[1, 2]).await?;
    ensure_eq!(again.resyncs, 0, "whole lists although nothing had changed");
    drop(again.stream);
    scale(1).await?;
    // From an old place, and from one that never was.
    for cursor in [Cursor::of(&again.list), Cursor(1)] {
        let mut late = Seen::after(t, &selector, Some(cursor)).await?;
        let event = late.next(t).await?;
        ensure!(
            matches!(event, EndpointEvent::Resync { .. }),
            "something has changed meanwhile, and the first event is {event:?}"
        );
        late.until(t, &[1]).await?;
    }
    Ok(())
}

async fn directory_follows_discovery(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("web"), t.probe("serve --tcp 80"))
        .service(named("db"), t.probe("serve --tcp 81"));
    t.up(&stack).await?;
    let selector = Selector::stack(stack.name.clone());
    let directory = t.client().directory(&selector).await?;
    let web = Selector::service(stack.name.clone(), named("web"));
    for count in [3, 1] {
        let options = UpOptions::new().wait(PATIENCE);
        t.client()
            .scale(&stack.name, &named("web"), count, &options)
            .await?;
        t.until("the directory says what discovery says", || async {
            let listed: BTreeSet<_> = t.client().discover(&web).await?.into_iter().collect();
            let known = directory.lookup(&stack.name, &named("web"));
            Ok((known.iter().cloned().collect::<BTreeSet<_>>() == listed).then_some(()))
        })
        .await?;
    }
    ensure_eq!(directory.freshness(), Freshness::Live, "its freshness");
    let view = directory.view();
    let others = view.iter().filter(|e| e.stack != stack.name).count();
    ensure_eq!(others, 0, "endpoints of other stacks");
    ensure!(
        !directory.lookup(&stack.name, &named("db")).is_empty(),
        "the other service is not in it"
    );
    t.down(&stack.name).await?;
    tokio::select! {
        biased;
        () = until_empty(&directory) => {}
        () = t.pass(PATIENCE) => return Err(Failure::Failed("it is never empty".to_owned())),
    }
    ensure!(view.iter().next().is_some(), "a view has changed");
    Ok(())
}

async fn until_empty(directory: &Directory) {
    let mut view = directory.view();
    while view.iter().next().is_some() {
        view = directory.changed(view.cursor()).await;
    }
}
