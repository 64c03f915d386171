//! Several callers at once, callers that give up, and programs that die.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use unmoor_core::apply::{Outcome, Progress};
use unmoor_core::backend::{Action, Commit, Phase, Step};
use unmoor_core::client::{DownOptions, UpOptions};
use unmoor_core::name::StackName;
use unmoor_core::spec::{Dependency, RestartPolicy, Stack};
use unmoor_core::{Error, ErrorKind};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};
use crate::load;

cases! { "faults";
    /// Two stacks come up at the same time.
    concurrent_up_of_two_stacks [Spawn];
    /// Two callers bring the same stack up at the same time; it comes up once.
    concurrent_up_of_the_same_stack [Spawn, Scale];
    /// A caller that brings up and one that takes down leave all or nothing.
    concurrent_up_and_down [Spawn];
    /// Many callers scale one service at the same time; one of their counts holds.
    concurrent_scale [Spawn, Scale, State];
    /// An `up` that was given up anywhere is completed by the next.
    cancelled_up_then_up_completes [Spawn];
    /// An `up` that was given up anywhere is removed whole by `down`.
    cancelled_up_then_down_leaves_nothing [Spawn];
    /// A `down` that was given up anywhere is completed by the next.
    cancelled_down_then_down_completes [Spawn];
    /// An update that was given up anywhere is completed by the next, with no failed connection.
    cancelled_update_is_resumed [Spawn, Links, InternalTcp, RollingUpdate, Drain, HealthExec];
    /// A replica that an unfinished change left drained is put back by the next `up`.
    drained_replica_is_put_back [Spawn, Drain, Discover];
    /// A replica that was drained before it was ready is put back too: it serves as soon as it can.
    replica_drained_before_it_is_ready_is_put_back [Spawn, Exec, HealthExec, Drain, Discover];
    /// Replicas that are drained and removed in quick succession fail no connection of clients in a hurry.
    rapid_drains_fail_no_connection [Spawn, Scale, Links, InternalTcp, Drain, HealthExec];
    /// A program that dies is started again and reached under the same name.
    dead_program_comes_back [Spawn, Links, InternalTcp, RestartAlways];
    /// A dead replica's share goes to the others.
    dead_replica_gets_no_connection [Spawn, Scale, Links, InternalTcp, RestartNo];
}

async fn concurrent_up_of_two_stacks(t: &Fixture) -> Verdict {
    let make = || {
        t.stack()
            .service(named("a"), t.server("").replicas(1))
            .service(named("b"), t.server(""))
    };
    let (one, two) = (make(), make());
    let (first, second) = tokio::join!(t.up(&one), t.up(&two));
    first?;
    second?;
    for stack in [&one, &two] {
        for service in ["a", "b"] {
            let phase = t.replica(&stack.name, service).await?.phase;
            ensure_eq!(
                phase,
                Phase::Running,
                "phase of {service} of {}",
                stack.name
            );
        }
    }
    Ok(())
}

/// That an outcome is a success, or says that somebody else was at work.
fn won_or_lost(outcome: Result<unmoor_core::apply::Report, Error>) -> Result<bool, Failure> {
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::WrongPhase) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

async fn concurrent_up_of_the_same_stack(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server("").replicas(3))
        .service(named("b"), t.server(""));
    let (first, second) = tokio::join!(t.up(&stack), t.up(&stack));
    let (first, second) = (won_or_lost(first)?, won_or_lost(second)?);
    ensure!(first || second, "neither succeeded");
    t.up(&stack).await?;
    let slots: Vec<u32> = t
        .replicas(&stack.name, "a")
        .await?
        .iter()
        .map(|r| r.id.slot)
        .collect();
    ensure_eq!(slots, [1, 2, 3], "slots of the scaled service");
    ensure_eq!(
        t.replicas(&stack.name, "b").await?.len(),
        1,
        "replicas of the other"
    );
    Ok(())
}

async fn concurrent_up_and_down(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("b"), t.server(""));
    t.up(&stack).await?;
    let (up, down) = tokio::join!(t.up(&stack), t.down(&stack.name));
    won_or_lost(up)?;
    won_or_lost(down)?;
    t.up(&stack).await?;
    for service in ["a", "b"] {
        ensure_eq!(
            t.replica(&stack.name, service).await?.phase,
            Phase::Running,
            "of {service}"
        );
    }
    Ok(())
}

async fn concurrent_scale(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server(""));
    t.up(&stack).await?;
    let service = named("a");
    let scales = (1..=8u32).map(|count| {
        let (stack, service) = (&stack, &service);
        async move {
            t.client()
                .scale(&stack.name, service, count, &UpOptions::new())
                .await
        }
    });
    let outcomes = futures_util::future::join_all(scales).await;
    for outcome in outcomes {
        won_or_lost(outcome)?;
    }
    let wanted = t
        .client()
        .record(&stack.name)
        .await?
        .hand
        .scale
        .get(&named("a"))
        .copied();
    let found = t.replicas(&stack.name, "a").await?.len();
    ensure_eq!(
        Some(found),
        wanted.map(|count| count as usize),
        "replicas, beside the last count"
    );
    Ok(())
}

/// Counts finished steps and gives the call up after `limit` of them.
struct Cut {
    limit: usize,
    seen: AtomicUsize,
    enough: Notify,
}

impl Cut {
    fn after(limit: usize) -> Self {
        Self {
            limit,
            seen: AtomicUsize::new(0),
            enough: Notify::new(),
        }
    }

    fn tell(&self, progress: &Progress) {
        if progress.outcome == Outcome::Started {
            return;
        }
        if self.seen.fetch_add(1, Ordering::SeqCst) + 1 >= self.limit {
            self.enough.notify_one();
        }
    }

    /// Runs the call until enough steps are done, then drops it; true if it ended before.
    async fn run<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<bool, Failure> {
        tokio::select! {
            biased;
            () = self.enough.notified() => Ok(false),
            outcome = call => {
                outcome?;
                Ok(true)
            }
        }
    }
}

fn four_services(t: &Fixture, name: &StackName) -> Stack {
    let after = |name: &str| t.server("").after(named(name), Dependency::default());
    Stack::new(name.clone())
        .service(named("a"), after("b"))
        .service(named("b"), after("c"))
        .service(named("c"), t.server("").replicas(1))
        .service(named("d"), t.server(""))
}

/// Brings four services up and gives that up after `limit` steps.
async fn cut_up(t: &Fixture, stack: &Stack, limit: usize) -> Result<bool, Failure> {
    let cut = Cut::after(limit);
    let told = |progress: Progress| cut.tell(&progress);
    let options = UpOptions::new().wait(PATIENCE).on_progress(&told);
    cut.run(t.client().up(stack, &options)).await
}

async fn cancelled_up_then_up_completes(t: &Fixture) -> Verdict {
    for limit in 1..40 {
        let stack = four_services(t, &t.stack_name());
        let ended = cut_up(t, &stack, limit).await?;
        t.up(&stack).await?;
        for service in ["a", "b", "c", "d"] {
            let replica = t.replica(&stack.name, service).await?;
            ensure_eq!(
                replica.phase,
                Phase::Running,
                "phase of {service} after a cut at {limit}"
            );
        }
        ensure_eq!(
            t.up(&stack).await?.changed,
            0,
            "writes of a third `up` after a cut at {limit}"
        );
        t.down(&stack.name).await?;
        if ended {
            return Ok(());
        }
    }
    Err("an `up` of four services has more than 40 steps"
        .to_owned()
        .into())
}

async fn cancelled_up_then_down_leaves_nothing(t: &Fixture) -> Verdict {
    for limit in 1..40 {
        let stack = four_services(t, &t.stack_name());
        let ended = cut_up(t, &stack, limit).await?;
        t.down(&stack.name).await?;
        let seen = t.observe(&stack.name).await?;
        ensure!(seen.is_empty(), "left after a cut at {limit}: {seen:?}");
        if ended {
            return Ok(());
        }
    }
    Err("an `up` of four services has more than 40 steps"
        .to_owned()
        .into())
}

async fn cancelled_down_then_down_completes(t: &Fixture) -> Verdict {
    for limit in 1..40 {
        let stack = four_services(t, &t.stack_name());
        t.up(&stack).await?;
        let cut = Cut::after(limit);
        let told = |progress: Progress| cut.tell(&progress);
        let options = DownOptions::new().on_progress(&told);
        let ended = cut.run(t.client().down(&stack.name, &options)).await?;
        t.down(&stack.name).await?;
        let seen = t.observe(&stack.name).await?;
        ensure!(seen.is_empty(), "left after a cut at {limit}: {seen:?}");
        if ended {
            return Ok(());
        }
    }
    Err("a `down` of four services has more than 40 steps"
        .to_owned()
        .into())
}

async fn cancelled_update_is_resumed(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let stack = |version: usize| {
        let web = t.server("--tcp 80").health(t.health(80)).replicas(2);
        Stack::new(name.clone())
            .service(named("load"), t.server("--load web 80 10"))
            .service(named("web"), web.env("VERSION", version.to_string()))
    };
    t.up(&stack(0)).await?;
    let load = slot(&name, "load", 1);
    load::begin(t, &load).await?;
    let before = load::count(t, &load).await?;
    for limit in 1..40 {
        let cut = Cut::after(limit);
        let told = |progress: Progress| cut.tell(&progress);
        let options = UpOptions::new().wait(PATIENCE).on_progress(&told);
        let ended = cut.run(t.client().up(&stack(limit), &options)).await?;
        t.up(&stack(limit)).await?;
        let replicas = t.replicas(&name, "web").await?;
        ensure_eq!(replicas.len(), 2, "replicas after a cut at {limit}");
        let first = &replicas[0].spec_hash;
        let same = replicas.iter().all(|replica| replica.spec_hash == *first);
        ensure!(same, "old and new after a cut at {limit}: {replicas:?}");
        if ended {
            break;
        }
    }
    let after = load::enough(t, &load, before.ok + 10).await?;
    after.no_more_failed(&before)?;
    Ok(())
}

async fn rapid_drains_fail_no_connection(t: &Fixture) -> Verdict {
    let web = t.server("--tcp 80").health(t.health(80)).replicas(3);
    let stack = t
        .stack()
        .service(named("load"), t.server("--load web 80 1").replicas(2))
        .service(named("web"), web);
    t.up(&stack).await?;
    let loads = [1, 2].map(|number| slot(&stack.name, "load", number));
    let mut before = Vec::new();
    for load in &loads {
        load::begin(t, load).await?;
        before.push(load::count(t, load).await?);
    }
    for round in 0..12 {
        let replica = slot(&stack.name, "web", round % 3 + 1);
        let drained = replica.clone();
        for action in [
            Action::DrainReplica { replica: drained },
            Action::RemoveReplica { replica },
        ] {
            t.backend().apply(&action, &step(&stack.name)).await?;
        }
        t.up(&stack).await?;
    }
    for (load, before) in loads.iter().zip(before) {
        let after = load::enough(t, load, before.ok + 10).await?;
        after.no_more_failed(&before)?;
    }
    Ok(())
}

/// What surrounds an action that is applied by itself.
pub(super) fn step(stack: &StackName) -> Step {
    Step {
        stack: stack.clone(),
        plan: "conformance".to_owned(),
        index: 0,
        deadline: PATIENCE,
        commit: Commit::Now,
    }
}

async fn drained_replica_is_put_back(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("web"), t.server("--tcp 80").replicas(2));
    t.up(&stack).await?;
    let drained = slot(&stack.name, "web", 1);
    let started = t.replicas(&stack.name, "web").await?[0].started;
    let drain = Action::DrainReplica {
        replica: drained.clone(),
    };
    t.backend().apply(&drain, &step(&stack.name)).await?;
    super::discover::until_out(t, &drained).await?;
    t.up(&stack).await?;
    super::discover::until_in(t, &drained).await?;
    let after = t.replicas(&stack.name, "web").await?[0].started;
    ensure_eq!(after, started, "start of the replica");
    Ok(())
}

async fn replica_drained_before_it_is_ready_is_put_back(t: &Fixture) -> Verdict {
    let web = t
        .server("--tcp 80 --unready-file /area/unready")
        .health(t.health(80));
    let stack = t.stack().service(named("web"), web.replicas(2));
    t.up(&stack).await?;
    let [drained, other] = [1, 2].map(|number| slot(&stack.name, "web", number));
    t.ok(&drained, "write /area/unready x").await?;
    super::discover::until_out(t, &drained).await?;
    let drain = Action::DrainReplica {
        replica: drained.clone(),
    };
    let apply = async || t.backend().apply(&drain, &step(&stack.name)).await;
    apply().await?;
    t.ok(&drained, "remove /area/unready").await?;
    let seen = t
        .until("it is ready again", || async {
            let seen = t.replicas(&stack.name, "web").await?.swap_remove(0);
            Ok(seen.is_ready().then_some(seen))
        })
        .await?;
    ensure!(!seen.in_discovery, "a drained replica came back by itself");
    ensure!(seen.drained, "it is not observed that it was drained");
    t.up(&stack).await?;
    super::discover::until_in(t, &drained).await?;
    // The same with an `up` that finds it not ready.
    t.ok(&drained, "write /area/unready x").await?;
    super::discover::until_out(t, &drained).await?;
    apply().await?;
    t.up_only(&stack).await?;
    t.ok(&drained, "remove /area/unready").await?;
    super::discover::until_in(t, &drained).await?;
    super::discover::until_in(t, &other).await
}

async fn dead_program_comes_back(t: &Fixture) -> Verdict {
    let web = t
        .server("--tcp 80 --name back")
        .restart(RestartPolicy::Always);
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("web"), web);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    t.reach(&a, "connect web 80 hello").await?;
    for deaths in 1..=2 {
        t.reach(&a, "connect web 80 die 9").await?;
        t.until("it was restarted", || async {
            let replica = t.replica(&stack.name, "web").await?;
            let back = replica.restarts == deaths && replica.phase == Phase::Running;
            Ok(back.then_some(()))
        })
        .await?;
        let answer = t.reach(&a, "connect web 80 hello").await?;
        ensure!(answer.ends_with(" back\n"), "who answered: {answer}");
    }
    Ok(())
}

async fn dead_replica_gets_no_connection(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server(""))
        .service(named("web"), t.server("--tcp 80").replicas(2));
    t.up(&stack).await?;
    let (a, dead) = (slot(&stack.name, "a", 1), slot(&stack.name, "web", 1));
    t.reach(&dead, "connect localhost 80 die 1").await?;
    super::discover::until_out(t, &dead).await?;
    for _ in 0..30 {
        let answer = t.ok(&a, "connect web 80 hello").await?;
        ensure!(
            answer.starts_with(&slot(&stack.name, "web", 2).to_string()),
            "{answer} answered"
        );
    }
    Ok(())
}
