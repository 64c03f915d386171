//! Rollouts that rest: paused by somebody else, or until their first replicas are approved.

use std::time::Duration;

use unmoor_core::client::{RolloutPhase, RolloutStatus, UpOptions};
use unmoor_core::name::StackName;
use unmoor_core::spec::{Service, Stack};
use unmoor_core::{Client, ErrorKind};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};
use crate::load;

cases! { "rollout";
    /// A rollout that somebody else pauses stops after the batch it is at, and its caller is told.
    paused_rollout_rests_between_old_and_new [Spawn, Scale, Exec, RollingUpdate, State];
    /// While a rollout is paused, `up`, `update` and `scale` leave its replicas alone and say so.
    changes_leave_a_paused_rollout_alone [Spawn, Scale, Exec, RollingUpdate, State];
    /// A paused rollout goes on for anybody who asks, to the end.
    paused_rollout_goes_on_for_anybody [Spawn, Scale, Exec, RollingUpdate, State];
    /// A paused rollout goes back for anybody who asks.
    paused_rollout_goes_back_for_anybody [Spawn, Scale, Exec, RollingUpdate, State];
    /// No connection fails while a rollout is paused and goes on.
    pause_and_resume_fail_no_connection [Spawn, Scale, Links, InternalTcp, RollingUpdate, Drain, HealthExec, State];
    /// A pause that is given up, or asked for twice, or by many at once, is a pause.
    pause_is_asked_for_by_many [Spawn, State];
    /// A rollout that was given up while it was let go on rests nowhere else than at an end of a batch.
    given_up_resume [Spawn, Scale, Exec, RollingUpdate, State];
    /// What is no service cannot be paused, and what has not begun has nothing to go on with.
    rollout_of_nothing_is_refused [Spawn, State];
    /// An update with a canary replaces so many replicas first, and the others once it is approved.
    canary_waits_for_approval [Spawn, Scale, Exec, RollingUpdate, Canary, State];
    /// A canary that was not approved gives its place to the next one, not to the others.
    next_canary_takes_the_place_of_the_last [Spawn, Scale, Exec, RollingUpdate, Canary, State];
    /// A canary goes back, and nothing of it is left.
    canary_goes_back [Spawn, Scale, Exec, RollingUpdate, Canary, State];
}

fn version(service: Service, number: u32) -> Service {
    service.env("VERSION", number.to_string())
}

/// The versions that the replicas of `web` run, sorted.
async fn versions(t: &Fixture, stack: &StackName) -> Result<String, Failure> {
    let mut found = Vec::new();
    for replica in t.replicas(stack, "web").await? {
        found.push(t.reach(&replica.id, "env VERSION").await?.trim().to_owned());
    }
    found.sort();
    Ok(found.join(" "))
}

/// Somebody else, who knows nothing but the backend.
fn stranger(t: &Fixture) -> Client {
    Client::with_clock(t.backend().clone(), t.client().clock().clone())
}

async fn status(t: &Fixture, stack: &StackName) -> Result<RolloutStatus, Failure> {
    let mut all = stranger(t).rollouts(stack).await?;
    all.retain(|status| status.service == named("web"));
    Ok(all.swap_remove(0))
}

/// Three replicas of version 1, and an update of theirs to version 2 that rests between batches.
async fn serving(t: &Fixture, web: Service) -> Result<Stack, Failure> {
    let stack = t
        .stack()
        .service(named("load"), t.server("--load web 80 10"))
        .service(named("web"), version(web.replicas(3), 1));
    t.up(&stack).await?;
    Ok(stack)
}

fn slowly(service: Service) -> Service {
    let mut service = version(service, 2);
    service.update.delay = Duration::from_millis(1500);
    service
}

/// Updates it, and lets a stranger pause that after the first batch.
async fn paused(t: &Fixture, stack: &StackName) -> Verdict {
    let web = named("web");
    let update = t.client().update(stack, &web, slowly);
    let pause = async {
        t.until("the first batch is done", || async {
            let status = status(t, stack).await?;
            Ok((status.updated == 1 && status.outdated == 2).then_some(()))
        })
        .await?;
        let paused = stranger(t).pause_rollout(stack, &named("web")).await?;
        Ok::<bool, Failure>(paused)
    };
    let (updated, paused) = tokio::join!(update, pause);
    ensure!(paused?, "it is said to have been paused before");
    let Err(error) = updated else {
        return Err("an update that was paused is called done".to_owned().into());
    };
    ensure_eq!(error.kind(), ErrorKind::WrongPhase, "answer to the caller");
    ensure!(
        error.chain().contains("paused"),
        "the error does not say so: {error:?}"
    );
    Ok(())
}

async fn paused_rollout_rests_between_old_and_new(t: &Fixture) -> Verdict {
    let stack = serving(t, t.server("--tcp 80")).await?.name;
    paused(t, &stack).await?;
    ensure_eq!(versions(t, &stack).await?, "1 1 2", "versions");
    let seen = status(t, &stack).await?;
    ensure_eq!(seen.phase, RolloutPhase::Paused, "phase");
    ensure_eq!((seen.updated, seen.outdated), (1, 2), "replaced and not");
    for replica in t.replicas(&stack, "web").await? {
        ensure!(replica.is_ready(), "{} does not serve", replica.id);
    }
    Ok(())
}

async fn changes_leave_a_paused_rollout_alone(t: &Fixture) -> Verdict {
    let stack = serving(t, t.server("--tcp 80")).await?;
    let name = stack.name.clone();
    paused(t, &name).await?;
    let before = t.replicas(&name, "web").await?;
    let kept = async |what: &str| {
        let now = t.replicas(&name, "web").await?;
        let same = now.len() == before.len()
            && now
                .iter()
                .zip(&before)
                .all(|(a, b)| a.id == b.id && a.started == b.started);
        ensure!(same, "{what} changed the replicas: {now:?}");
        Ok::<(), Failure>(())
    };
    let web = named("web");
    let mut newer = stack.clone();
    let service = newer.services.get_mut(&web).expect("it has one");
    *service = version(service.clone(), 3);
    for (what, report) in [
        ("up", t.up(&newer).await?),
        ("update", {
            let change = |service| version(service, 4);
            t.client().update(&name, &web, change).await?
        }),
        ("scale", {
            let options = UpOptions::new();
            t.client().scale(&name, &web, 1, &options).await?
        }),
    ] {
        kept(what).await?;
        ensure_eq!(
            report.resting,
            std::slice::from_ref(&web),
            "what rests after {what}"
        );
        let told = report.notes.iter().any(|note| note.contains("paused"));
        ensure!(told, "{what} does not tell of it: {:?}", report.notes);
    }
    let planned = t.client().plan(&newer, &UpOptions::new()).await?;
    let text = planned.plan.to_string();
    ensure!(text.contains("paused"), "the plan says nothing:\n{text}");
    // What was wanted meanwhile comes about once it goes on.
    let options = UpOptions::new();
    stranger(t).resume_rollout(&name, &web, &options).await?;
    ensure_eq!(versions(t, &name).await?, "4", "versions in the end");
    stranger(t).rollback(&name, &web, &options).await?;
    ensure_eq!(versions(t, &name).await?, "1", "versions after going back");
    Ok(())
}

async fn paused_rollout_goes_on_for_anybody(t: &Fixture) -> Verdict {
    let stack = serving(t, t.server("--tcp 80")).await?.name;
    paused(t, &stack).await?;
    let (client, web, options) = (stranger(t), named("web"), UpOptions::new());
    client.resume_rollout(&stack, &web, &options).await?;
    ensure_eq!(versions(t, &stack).await?, "2 2 2", "versions");
    let seen = status(t, &stack).await?;
    ensure_eq!(seen.phase, RolloutPhase::Complete, "phase");
    let again = client.resume_rollout(&stack, &web, &options).await?;
    ensure_eq!(again.changed, 0, "writes of a second time");
    let record = client.record(&stack).await?;
    ensure!(
        record.change.is_none() && record.rollouts.is_empty(),
        "something is remembered still: {:?} {:?}",
        record.change,
        record.rollouts
    );
    Ok(())
}

async fn paused_rollout_goes_back_for_anybody(t: &Fixture) -> Verdict {
    let stack = serving(t, t.server("--tcp 80")).await?;
    let before = t.replicas(&stack.name, "web").await?;
    paused(t, &stack.name).await?;
    let options = UpOptions::new();
    let back = stranger(t);
    back.rollback(&stack.name, &named("web"), &options).await?;
    ensure_eq!(versions(t, &stack.name).await?, "1 1 1", "versions");
    let seen = status(t, &stack.name).await?;
    ensure_eq!(seen.phase, RolloutPhase::Complete, "phase");
    let now = t.replicas(&stack.name, "web").await?;
    let kept = before.iter().filter(|old| {
        now.iter()
            .any(|new| new.id == old.id && new.started == old.started)
    });
    ensure_eq!(kept.count(), 2, "replicas that nobody needed to touch");
    ensure_eq!(t.up(&stack).await?.changed, 0, "writes of `up` after that");
    Ok(())
}

async fn pause_and_resume_fail_no_connection(t: &Fixture) -> Verdict {
    let web = t.server("--tcp 80").health(t.health(80));
    let stack = serving(t, web).await?.name;
    let load = slot(&stack, "load", 1);
    load::begin(t, &load).await?;
    let before = load::count(t, &load).await?;
    paused(t, &stack).await?;
    let now = load::count(t, &load).await?;
    load::enough(t, &load, now.ok + 10).await?;
    let (client, options) = (stranger(t), UpOptions::new());
    client
        .resume_rollout(&stack, &named("web"), &options)
        .await?;
    let now = load::count(t, &load).await?;
    let after = load::enough(t, &load, now.ok + 10).await?;
    after.no_more_failed(&before)?;
    Ok(())
}

async fn pause_is_asked_for_by_many(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.server(""));
    t.up(&stack).await?;
    let web = named("web");
    let clients: Vec<Client> = (0..8).map(|_| stranger(t)).collect();
    let asked = clients
        .iter()
        .map(|client| client.pause_rollout(&stack.name, &web));
    let mut first = 0;
    for outcome in futures_util::future::join_all(asked).await {
        first += usize::from(outcome?);
    }
    ensure_eq!(first, 1, "callers that paused it");
    ensure_eq!(
        status(t, &stack.name).await?.phase,
        RolloutPhase::Paused,
        "phase"
    );
    let change = |service| version(service, 2);
    let report = t.client().update(&stack.name, &web, change).await?;
    ensure_eq!(
        report.resting,
        std::slice::from_ref(&web),
        "what rests after an update"
    );
    let options = UpOptions::new();
    t.client()
        .resume_rollout(&stack.name, &web, &options)
        .await?;
    ensure_eq!(
        status(t, &stack.name).await?.phase,
        RolloutPhase::Complete,
        "phase after it went on"
    );
    Ok(())
}

async fn given_up_resume(t: &Fixture) -> Verdict {
    let stack = serving(t, t.server("--tcp 80")).await?.name;
    paused(t, &stack).await?;
    let (client, web, options) = (stranger(t), named("web"), UpOptions::new());
    let resume = client.resume_rollout(&stack, &web, &options);
    let second = async {
        t.until("the second batch has begun", || async {
            let status = status(t, &stack).await?;
            Ok((status.updated >= 2).then_some(()))
        })
        .await
    };
    // Whoever comes first: the rest of the call is given up, and its lock with it.
    tokio::select! {
        outcome = resume => drop(outcome?),
        seen = second => seen?,
    }
    let seen = status(t, &stack).await?;
    ensure!(
        seen.ready + seen.outdated >= 3,
        "fewer serve than were promised: {seen}"
    );
    stranger(t).resume_rollout(&stack, &web, &options).await?;
    ensure_eq!(versions(t, &stack).await?, "2 2 2", "versions");
    Ok(())
}

async fn rollout_of_nothing_is_refused(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("web"), t.server(""));
    t.up(&stack).await?;
    let nobody = named("nobody");
    let options = UpOptions::new();
    let paused = t.client().pause_rollout(&stack.name, &nobody).await;
    let resumed = t.client().resume_rollout(&stack.name, &nobody, &options);
    for kind in [
        paused.err().map(|error| error.kind()),
        resumed.await.err().map(|error| error.kind()),
    ] {
        ensure_eq!(kind, Some(ErrorKind::NotFound), "answer for a stranger");
    }
    let web = named("web");
    let report = t.client().resume_rollout(&stack.name, &web, &options);
    ensure_eq!(report.await?.changed, 0, "writes where nothing rests");
    Ok(())
}

fn trial(number: u32) -> impl FnOnce(Service) -> Service {
    move |service| {
        let mut service = version(service, number);
        service.update.canary = Some(1);
        service
    }
}

async fn canary_waits_for_approval(t: &Fixture) -> Verdict {
    let stack = serving(t, t.server("--tcp 80")).await?.name;
    let (client, web, options) = (stranger(t), named("web"), UpOptions::new());
    let report = t.client().update(&stack, &web, trial(2)).await?;
    ensure_eq!(report.resting, std::slice::from_ref(&web), "what rests");
    ensure_eq!(versions(t, &stack).await?, "1 1 2", "versions of a trial");
    let seen = status(t, &stack).await?;
    ensure_eq!(seen.phase, RolloutPhase::Canary, "phase");
    ensure!(seen.can_undo, "it is not known what it was before");
    let again = t.client().update(&stack, &web, trial(2)).await?;
    ensure_eq!(again.changed, 0, "writes of the same update");
    client.resume_rollout(&stack, &web, &options).await?;
    ensure_eq!(
        versions(t, &stack).await?,
        "2 2 2",
        "versions once approved"
    );
    // An approval is for one specification.
    t.client().update(&stack, &web, trial(3)).await?;
    ensure_eq!(versions(t, &stack).await?, "2 2 3", "versions of the next");
    Ok(())
}

async fn next_canary_takes_the_place_of_the_last(t: &Fixture) -> Verdict {
    let stack = serving(t, t.server("--tcp 80")).await?.name;
    let web = named("web");
    t.client().update(&stack, &web, trial(2)).await?;
    t.client().update(&stack, &web, trial(3)).await?;
    ensure_eq!(versions(t, &stack).await?, "1 1 3", "versions");
    Ok(())
}

async fn canary_goes_back(t: &Fixture) -> Verdict {
    let stack = serving(t, t.server("--tcp 80")).await?;
    let (client, web, options) = (stranger(t), named("web"), UpOptions::new());
    t.client().update(&stack.name, &web, trial(2)).await?;
    client.rollback(&stack.name, &web, &options).await?;
    ensure_eq!(versions(t, &stack.name).await?, "1 1 1", "versions");
    ensure_eq!(t.up(&stack).await?.changed, 0, "writes of `up` after that");
    let record = client.record(&stack.name).await?;
    ensure!(record.rollouts.is_empty(), "{:?}", record.rollouts);
    Ok(())
}
