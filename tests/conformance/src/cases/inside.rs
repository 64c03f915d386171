//! Signals, pauses, creation, what replicas use, and the processes inside them.

use std::time::Duration;

use unmoor_core::ErrorKind;
use unmoor_core::apply::RunOptions;
use unmoor_core::backend::{Action, Applied, Commit, Feature, Phase, Step};
use unmoor_core::client::UpOptions;
use unmoor_core::discover::Readiness;
use unmoor_core::label::Selector;
use unmoor_core::name::{ReplicaId, StackName};
use unmoor_core::plan::Start;
use unmoor_core::signal::Signal;
use unmoor_core::spec::RestartPolicy;
use unmoor_core::units::Bytes;

use super::spawn::log_of;
use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};

cases! { "inside";
    /// Root inside is not root of the node where a range of ids of its own is asked for.
    own_ids_where_asked_for [Spawn, Exec, UserNamespace];
    /// A signal arrives at the program, which does with it what it likes.
    signal_arrives [Spawn, Signal, Logs, RestartNo];
    /// A replica that was killed stays ended, whatever its restart policy.
    killed_stays_ended [Spawn, Signal, RestartAlways];
    /// A program that ends by another signal is started again as its restart policy says.
    signalled_is_restarted [Spawn, Signal, RestartAlways];
    /// Signals to what does not run, or is not there, are errors.
    signal_needs_a_running_replica [Spawn, Signal];
    /// A paused replica does nothing until it is resumed, and then goes on.
    paused_replica_rests [Spawn, Pause, Logs];
    /// A paused replica gets no new connections; resumed, it gets them again.
    paused_replica_leaves_discovery [Spawn, Pause, Discover];
    /// A health check does not fail a replica because it was paused.
    paused_replica_stays_healthy [Spawn, Pause, HealthExec];
    /// A paused replica can be stopped, and is no longer paused when it is started again.
    paused_replica_can_be_stopped [Spawn, Pause];
    /// Pausing what is paused and resuming what runs changes nothing.
    pausing_twice_changes_nothing [Spawn, Pause];
    /// A replica that was only created does not run until it is started.
    created_replica_waits [Spawn, Create, Logs];
    /// What a replica uses is counted, with the limits it has.
    usage_is_counted [Spawn, Stats, MemoryLimit];
    /// Replicas that do not run use nothing and are left out.
    usage_leaves_out_what_does_not_run [Spawn, Stats];
    /// The processes of a replica are listed with their commands and users inside.
    processes_are_listed [Spawn, Processes];
}

fn step(stack: &StackName) -> Step {
    Step {
        stack: stack.clone(),
        plan: "conformance".to_owned(),
        index: 0,
        deadline: PATIENCE,
        commit: Commit::Now,
    }
}

async fn one(t: &Fixture, words: &str) -> Result<ReplicaId, Failure> {
    let stack = t.stack().service(named("a"), t.probe(words));
    t.up(&stack).await?;
    Ok(slot(&stack.name, "a", 1))
}

async fn phase_is(t: &Fixture, id: &ReplicaId, wanted: Phase) -> Verdict {
    let what = format!("{id} is {}", wanted.as_str());
    t.until(&what, || async {
        let replica = t.replica(&id.stack, id.service.as_str()).await?;
        Ok((replica.phase == wanted).then_some(()))
    })
    .await
}

async fn has_ended(t: &Fixture, id: &ReplicaId) -> Result<i32, Failure> {
    t.until(&format!("{id} has ended"), || async {
        let replica = t.replica(&id.stack, id.service.as_str()).await?;
        let over = matches!(replica.phase, Phase::Stopped | Phase::Failed);
        Ok(replica.exit.filter(|_| over).map(|exit| exit.code))
    })
    .await
}

fn signal(text: &str) -> Result<Signal, Failure> {
    Ok(text.parse()?)
}

async fn own_ids_where_asked_for(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service.security.own_ids = true;
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let map = t.ok(&a, "read /proc/self/uid_map").await?;
    let first: Vec<u32> = map
        .split_whitespace()
        .take(3)
        .filter_map(|word| word.parse().ok())
        .collect();
    let [0, outside, count] = first[..] else {
        return Err(Failure::Failed(format!("no ids from 0 on: {map}")));
    };
    ensure!(outside > 0, "root inside is root outside: {map}");
    ensure!(count < u32::MAX, "every id is its own: {map}");
    Ok(())
}

async fn signal_arrives(t: &Fixture) -> Verdict {
    let a = one(t, "tick 20").await?;
    t.until("it has begun to write", || async {
        Ok((!lines(t, &a).await?.is_empty()).then_some(()))
    })
    .await?;
    let report = t
        .client()
        .signal(
            &Selector::replica(&a),
            signal("USR1")?,
            RunOptions::default(),
        )
        .await?;
    ensure_eq!(report.changed, 1, "replicas signalled");
    ensure_eq!(has_ended(t, &a).await?, 0, "exit code");
    let log = log_of(t, &Selector::replica(&a)).await?;
    let noted = log.iter().filter(|line| *line == "signal 10").count();
    ensure_eq!(noted, 1, "signals noted in {log:?}");
    Ok(())
}

async fn killed_stays_ended(t: &Fixture) -> Verdict {
    let mut service = t.probe("sleep");
    service.restart = RestartPolicy::Always;
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    t.client()
        .signal(&Selector::replica(&a), Signal::KILL, RunOptions::default())
        .await?;
    ensure_eq!(has_ended(t, &a).await?, 137, "exit code");
    t.pass(Duration::from_secs(1)).await;
    let replica = t.replica(&stack.name, "a").await?;
    ensure!(!replica.phase.is_alive(), "it was started again");
    t.client()
        .start(&Selector::replica(&a), RunOptions::default())
        .await?;
    phase_is(t, &a, Phase::Running).await
}

async fn signalled_is_restarted(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service.restart = RestartPolicy::Always;
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let before = t.replica(&stack.name, "a").await?.started;
    // A program that has just begun may not listen to signals yet.
    t.reach(&a, "hello").await?;
    t.client()
        .signal(
            &Selector::replica(&a),
            signal("HUP")?,
            RunOptions::default(),
        )
        .await?;
    t.until("it runs again", || async {
        let replica = t.replica(&stack.name, "a").await?;
        let again = replica.phase == Phase::Running && replica.started != before;
        Ok(again.then_some(()))
    })
    .await
}

async fn signal_needs_a_running_replica(t: &Fixture) -> Verdict {
    let a = one(t, "sleep").await?;
    t.client()
        .stop(&Selector::replica(&a), None, RunOptions::default())
        .await?;
    let facet = t
        .backend()
        .signals()
        .ok_or("there is no such facet".to_owned())?;
    let kind = async |id: &ReplicaId| {
        let outcome = facet.signal(id, Signal::TERM).await;
        outcome.err().map(|error| error.kind())
    };
    ensure_eq!(
        kind(&a).await,
        Some(ErrorKind::WrongPhase),
        "kind in a stopped replica"
    );
    let none = slot(&a.stack, "a", 99);
    ensure_eq!(
        kind(&none).await,
        Some(ErrorKind::NotFound),
        "kind without such a replica"
    );
    Ok(())
}

async fn lines(t: &Fixture, id: &ReplicaId) -> Result<Vec<String>, Failure> {
    use futures_util::TryStreamExt;
    use unmoor_core::backend::{LogLine, LogOptions};
    let selector = Selector::replica(id);
    let stream = t.client().logs(&selector, &LogOptions::new()).await?;
    let lines: Vec<LogLine> = stream.try_collect().await?;
    Ok(lines.into_iter().map(|line| line.text).collect())
}

async fn paused_replica_rests(t: &Fixture) -> Verdict {
    let a = one(t, "tick 20").await?;
    let selector = Selector::replica(&a);
    t.until("it has begun to write", || async {
        Ok((!lines(t, &a).await?.is_empty()).then_some(()))
    })
    .await?;
    let report = t.client().pause(&selector, RunOptions::default()).await?;
    ensure_eq!(report.changed, 1, "replicas paused");
    phase_is(t, &a, Phase::Paused).await?;
    // What it wrote before it came to rest may still be on its way.
    t.pass(Duration::from_millis(200)).await;
    let before = lines(t, &a).await?.len();
    t.pass(Duration::from_millis(400)).await;
    ensure_eq!(lines(t, &a).await?.len(), before, "lines while it rests");
    t.client().resume(&selector, RunOptions::default()).await?;
    phase_is(t, &a, Phase::Running).await?;
    t.until("it goes on writing", || async {
        Ok((lines(t, &a).await?.len() > before).then_some(()))
    })
    .await
}

async fn readiness(t: &Fixture, id: &ReplicaId, wanted: Readiness) -> Verdict {
    t.until(&format!("{id} is {wanted:?} in discovery"), || async {
        let all = t.client().discover(&Selector::replica(id)).await?;
        let own = all
            .iter()
            .filter(|endpoint| endpoint.replica.as_ref() == Some(id));
        let fits = own.clone().all(|endpoint| endpoint.health == wanted);
        Ok((fits && (own.count() > 0 || wanted == Readiness::NotReady)).then_some(()))
    })
    .await
}

async fn paused_replica_leaves_discovery(t: &Fixture) -> Verdict {
    let a = one(t, "serve --tcp 80").await?;
    let selector = Selector::replica(&a);
    readiness(t, &a, Readiness::Ready).await?;
    t.client().pause(&selector, RunOptions::default()).await?;
    readiness(t, &a, Readiness::NotReady).await?;
    t.client().resume(&selector, RunOptions::default()).await?;
    readiness(t, &a, Readiness::Ready).await
}

async fn paused_replica_stays_healthy(t: &Fixture) -> Verdict {
    use unmoor_core::backend::HealthState;
    use unmoor_core::spec::HealthWish;
    let mut service = t.probe("serve --tcp 80");
    service.health = HealthWish::Check(t.health(80));
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let selector = Selector::stack(stack.name.clone());
    t.client().pause(&selector, RunOptions::default()).await?;
    t.pass(Duration::from_secs(1)).await;
    t.client().resume(&selector, RunOptions::default()).await?;
    let replica = t.replica(&stack.name, "a").await?;
    ensure_eq!(
        replica.health,
        HealthState::Healthy,
        "its health after the pause"
    );
    Ok(())
}

async fn paused_replica_can_be_stopped(t: &Fixture) -> Verdict {
    let a = one(t, "serve --tcp 80").await?;
    let selector = Selector::replica(&a);
    t.client().pause(&selector, RunOptions::default()).await?;
    t.client()
        .stop(
            &selector,
            Some(Duration::from_secs(20)),
            RunOptions::default(),
        )
        .await?;
    ensure_eq!(
        has_ended(t, &a).await?,
        0,
        "exit code: the stop signal was obeyed"
    );
    t.client().start(&selector, RunOptions::default()).await?;
    phase_is(t, &a, Phase::Running).await
}

async fn pausing_twice_changes_nothing(t: &Fixture) -> Verdict {
    let a = one(t, "sleep").await?;
    let step = step(&a.stack);
    let pause = Action::PauseReplica { replica: a.clone() };
    let resume = Action::ResumeReplica { replica: a.clone() };
    for (action, wanted) in [
        (&resume, Applied::Unchanged),
        (&pause, Applied::Changed),
        (&pause, Applied::Unchanged),
        (&resume, Applied::Changed),
        (&resume, Applied::Unchanged),
    ] {
        ensure_eq!(t.backend().apply(action, &step).await?, wanted, "{action}");
    }
    t.client()
        .stop(&Selector::replica(&a), None, RunOptions::default())
        .await?;
    let refused = t.backend().apply(&pause, &step).await;
    let kind = refused.err().map(|error| error.kind());
    ensure_eq!(
        kind,
        Some(ErrorKind::WrongPhase),
        "kind of pausing what does not run"
    );
    Ok(())
}

async fn created_replica_waits(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.probe("exit 5"));
    let mut options = UpOptions::new();
    options.plan.start = Start::Later;
    t.client().up(&stack, &options).await?;
    let replica = t.replica(&stack.name, "a").await?;
    ensure_eq!(
        replica.phase,
        Phase::Pending,
        "its phase before it was started"
    );
    let again = t.client().up(&stack, &options).await?;
    ensure_eq!(again.changed, 0, "changes of creating it twice");
    let a = slot(&stack.name, "a", 1);
    ensure_eq!(lines(t, &a).await?.len(), 0, "lines before it was started");
    t.up_only(&stack).await?;
    ensure_eq!(has_ended(t, &a).await?, 5, "exit code once it was started");
    ensure_eq!(t.replicas(&stack.name, "a").await?.len(), 1, "replicas");
    Ok(())
}

async fn usage_is_counted(t: &Fixture) -> Verdict {
    let mut service = t.probe("serve --tcp 80");
    service.resources.memory = Some(Bytes(64 << 20));
    if t.has(Feature::PidsLimit) {
        service.resources.pids = Some(50);
    }
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let selector = Selector::stack(stack.name.clone());
    let usage = t.client().usage(&selector).await?;
    ensure_eq!(usage.len(), 1, "replicas counted");
    let usage = &usage[0];
    ensure_eq!(usage.replica, slot(&stack.name, "a", 1), "whose it is");
    ensure_eq!(usage.memory_limit, Some(64 << 20), "limit of memory");
    let used = usage.memory.unwrap_or(0);
    ensure!(used > 0 && used < 64 << 20, "memory used: {used}");
    ensure!(
        usage.pids.is_some_and(|pids| pids > 0),
        "processes: {:?}",
        usage.pids
    );
    if t.has(Feature::PidsLimit) {
        ensure_eq!(usage.pids_limit, Some(50), "limit of processes");
    }
    let later = t.client().usage(&selector).await?;
    ensure!(
        later[0].cpu >= usage.cpu,
        "processor time goes back: {later:?}"
    );
    Ok(())
}

async fn usage_leaves_out_what_does_not_run(t: &Fixture) -> Verdict {
    let a = one(t, "sleep").await?;
    let selector = Selector::replica(&a);
    t.client()
        .stop(&selector, None, RunOptions::default())
        .await?;
    ensure_eq!(
        t.client().usage(&selector).await?.len(),
        0,
        "stopped replicas counted"
    );
    Ok(())
}

async fn processes_are_listed(t: &Fixture) -> Verdict {
    let mut service = t.probe("serve --tcp 80");
    service.user = Some("app".to_owned());
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let list = t.client().processes(&a).await?;
    let program = list
        .iter()
        .find(|process| process.command.iter().any(|word| word == "serve"));
    let Some(program) = program else {
        return Err(format!("the program is not in {list:?}").into());
    };
    ensure_eq!(program.user, 1000, "its user inside");
    ensure!(
        list.iter().any(|process| process.pid == 1),
        "the first process is not in {list:?}"
    );
    t.client()
        .stop(&Selector::replica(&a), None, RunOptions::default())
        .await?;
    let kind = t
        .client()
        .processes(&a)
        .await
        .err()
        .map(|error| error.kind());
    ensure_eq!(
        kind,
        Some(ErrorKind::WrongPhase),
        "kind in a stopped replica"
    );
    Ok(())
}
