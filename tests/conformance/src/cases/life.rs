//! How replicas end, are stopped, and are restarted.

use std::time::Duration;

use unmoor_core::apply::RunOptions;
use unmoor_core::backend::{Feature, Phase, Until};
use unmoor_core::client::DownOptions;
use unmoor_core::label::Selector;
use unmoor_core::spec::{RestartPolicy, Role, Service};

use super::spawn::log_of;
use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};

cases! { "life";
    /// The exit code of a program that ended is known, and says whether it failed.
    exit_code_recorded [Spawn, RestartNo];
    /// A service that runs to completion counts as completed once all its replicas ended with 0.
    job_completes [Spawn, Jobs, RestartNo];
    /// A job that failed is not called completed.
    failed_job_is_an_error [Spawn, Jobs, RestartNo];
    /// A replica that ended stays ended without a restart policy.
    restart_no [Spawn, RestartNo];
    /// A replica that failed is started again until it does not fail.
    restart_on_failure [Spawn, RestartOnFailure];
    /// A replica that ended with 0 is not started again after a failure-only policy.
    restart_on_failure_spares_success [Spawn, RestartOnFailure];
    /// After the allowed number of restarts a failing replica stays failed.
    restart_on_failure_has_an_end [Spawn, RestartOnFailure];
    /// A replica that ended with 0 is started again if it should always run.
    restart_always [Spawn, RestartAlways];
    /// A replica that was stopped on purpose stays stopped, whatever its restart policy.
    stopped_stays_stopped [Spawn, RestartAlways];
    /// What a replica wrote to its own files is there after a restart.
    restart_keeps_files [Spawn];
    /// A replica that was stopped can be started again.
    stop_and_start [Spawn];
    /// The stop signal is SIGTERM, and a program that obeys it ends at once.
    stop_ends_with_the_signal [Spawn, Logs];
    /// The stop signal is the one the service names.
    stop_signal [Spawn, StopSignal, Logs];
    /// A program that ignores the stop signal is killed after the grace, and not before.
    stop_grace_then_kill [Spawn, StopGrace];
    /// `down` with a grace of its own does not wait for that of the services.
    down_with_a_grace_of_its_own [Spawn, StopGrace];
}

async fn ended(
    t: &Fixture,
    stack: &unmoor_core::name::StackName,
    service: &str,
) -> Result<Phase, Failure> {
    t.until(&format!("{service} has ended"), || async {
        let replica = t.replica(stack, service).await?;
        let over = matches!(replica.phase, Phase::Stopped | Phase::Failed);
        Ok(over.then_some(replica.phase))
    })
    .await
}

async fn exit_code_recorded(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("good"), t.probe("exit 0"))
        .service(named("bad"), t.probe("exit 42"))
        .service(named("late"), t.probe("exit 7 50"));
    t.up_only(&stack).await?;
    for (service, phase, code) in [
        ("good", Phase::Stopped, 0),
        ("bad", Phase::Failed, 42),
        ("late", Phase::Failed, 7),
    ] {
        ensure_eq!(
            ended(t, &stack.name, service).await?,
            phase,
            "phase of {service}"
        );
        let exit = t.replica(&stack.name, service).await?.exit;
        ensure_eq!(
            exit.map(|exit| exit.code),
            Some(code),
            "exit code of {service}"
        );
        ensure_eq!(
            exit.map(|exit| exit.out_of_memory),
            Some(false),
            "killed for memory: {service}"
        );
    }
    Ok(())
}

fn job(t: &Fixture, words: &str) -> Service {
    let mut service = t.probe(words);
    service.role = Role::Job;
    service
}

async fn job_completes(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("job"), job(t, "exit 0 50"));
    t.up(&stack).await?;
    let replica = t.replica(&stack.name, "job").await?;
    ensure_eq!(replica.phase, Phase::Stopped, "its phase");
    ensure_eq!(replica.exit.map(|exit| exit.code), Some(0), "its exit code");
    let report = t.up(&stack).await?;
    ensure_eq!(report.changed, 0, "a completed job is not run again");
    Ok(())
}

async fn failed_job_is_an_error(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("job"), job(t, "exit 9 20"));
    let outcome = t.up(&stack).await;
    ensure!(outcome.is_err(), "a job that failed is called completed");
    let replica = t.replica(&stack.name, "job").await?;
    ensure_eq!(replica.exit.map(|exit| exit.code), Some(9), "its exit code");
    Ok(())
}

async fn restart_no(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.probe("exit 1"));
    t.up_only(&stack).await?;
    ended(t, &stack.name, "a").await?;
    t.pass(Duration::from_secs(1)).await;
    let replica = t.replica(&stack.name, "a").await?;
    ensure_eq!(replica.phase, Phase::Failed, "its phase a second later");
    ensure_eq!(replica.restarts, 0, "its restarts");
    Ok(())
}

async fn restart_on_failure(t: &Fixture) -> Verdict {
    let policy = RestartPolicy::OnFailure { max: None };
    let stack = t
        .stack()
        .service(named("a"), t.probe("flaky /area/count 2").restart(policy));
    t.up_only(&stack).await?;
    t.until("it runs after two failures", || async {
        let replica = t.replica(&stack.name, "a").await?;
        Ok((replica.phase == Phase::Running && replica.restarts == 2).then_some(()))
    })
    .await?;
    ensure_eq!(
        t.ok(&slot(&stack.name, "a", 1), "read /area/count").await?,
        "2",
        "failures"
    );
    Ok(())
}

async fn restart_on_failure_spares_success(t: &Fixture) -> Verdict {
    let policy = RestartPolicy::OnFailure { max: None };
    let stack = t
        .stack()
        .service(named("a"), t.probe("exit 0").restart(policy));
    t.up_only(&stack).await?;
    ensure_eq!(
        ended(t, &stack.name, "a").await?,
        Phase::Stopped,
        "its phase"
    );
    t.pass(Duration::from_secs(1)).await;
    let replica = t.replica(&stack.name, "a").await?;
    ensure_eq!(replica.phase, Phase::Stopped, "its phase a second later");
    ensure_eq!(replica.restarts, 0, "its restarts");
    Ok(())
}

async fn restart_on_failure_has_an_end(t: &Fixture) -> Verdict {
    let policy = RestartPolicy::OnFailure { max: Some(2) };
    let stack = t
        .stack()
        .service(named("a"), t.probe("exit 5").restart(policy));
    t.up_only(&stack).await?;
    ensure_eq!(
        ended(t, &stack.name, "a").await?,
        Phase::Failed,
        "its phase"
    );
    let replica = t.replica(&stack.name, "a").await?;
    ensure_eq!(replica.restarts, 2, "its restarts");
    ensure_eq!(replica.exit.map(|exit| exit.code), Some(5), "its exit code");
    Ok(())
}

async fn restart_always(t: &Fixture) -> Verdict {
    let service = t.probe("exit 0 20").restart(RestartPolicy::Always);
    let stack = t.stack().service(named("a"), service);
    t.up_only(&stack).await?;
    t.until("it was restarted twice", || async {
        Ok((t.replica(&stack.name, "a").await?.restarts >= 2).then_some(()))
    })
    .await
}

async fn stopped_stays_stopped(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), t.server("").restart(RestartPolicy::Always));
    t.up(&stack).await?;
    let selector = Selector::stack(stack.name.clone());
    t.client()
        .stop(&selector, None, RunOptions::default())
        .await?;
    t.pass(Duration::from_secs(1)).await;
    let replica = t.replica(&stack.name, "a").await?;
    ensure_eq!(replica.phase, Phase::Stopped, "its phase a second later");
    Ok(())
}

async fn restart_keeps_files(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server(""));
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    t.ok(&a, "write /area/kept text").await?;
    let before = t.replica(&stack.name, "a").await?.started;
    t.client()
        .restart(&Selector::replica(&a), None, RunOptions::default())
        .await?;
    t.client()
        .wait_ready(&stack.name, &named("a"), PATIENCE)
        .await?;
    let replica = t.replica(&stack.name, "a").await?;
    ensure!(replica.started != before, "it was not restarted");
    ensure_eq!(
        t.ok(&a, "read /area/kept").await?,
        "text",
        "the file after the restart"
    );
    Ok(())
}

async fn stop_and_start(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server("").replicas(1));
    t.up(&stack).await?;
    let selector = Selector::stack(stack.name.clone());
    t.client()
        .stop(&selector, None, RunOptions::default())
        .await?;
    ensure_eq!(
        t.replica(&stack.name, "a").await?.phase,
        Phase::Stopped,
        "its phase"
    );
    let again = t
        .client()
        .stop(&selector, None, RunOptions::default())
        .await?;
    ensure_eq!(again.changed, 0, "stopping twice writes nothing");
    t.client().start(&selector, RunOptions::default()).await?;
    t.client()
        .wait_ready(&stack.name, &named("a"), PATIENCE)
        .await?;
    t.ok(&slot(&stack.name, "a", 1), "print here").await?;
    Ok(())
}

async fn stop_ends_with_the_signal(t: &Fixture) -> Verdict {
    let stack = t.stack().service(named("a"), t.server(""));
    t.up(&stack).await?;
    let selector = Selector::stack(stack.name.clone());
    t.until_serving(&selector).await?;
    let start = t.time();
    t.client()
        .stop(&selector, None, RunOptions::default())
        .await?;
    let took = t.time().saturating_sub(start);
    ensure!(
        took < Duration::from_secs(5),
        "it took {took:?} although the program obeys"
    );
    let lines = log_of(t, &selector).await?;
    ensure!(
        lines.iter().any(|line| line == "signal 15"),
        "it got no SIGTERM: {lines:?}"
    );
    let exit = t.replica(&stack.name, "a").await?.exit;
    ensure_eq!(exit.map(|exit| exit.code), Some(0), "its exit code");
    Ok(())
}

async fn stop_signal(t: &Fixture) -> Verdict {
    let mut service = t.server("");
    service.stop.signal = Some("SIGUSR1".to_owned());
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let selector = Selector::stack(stack.name.clone());
    t.until_serving(&selector).await?;
    t.client()
        .stop(&selector, None, RunOptions::default())
        .await?;
    let lines = log_of(t, &selector).await?;
    ensure!(
        lines.iter().any(|line| line == "signal 10"),
        "it got no SIGUSR1: {lines:?}"
    );
    ensure!(
        !lines.iter().any(|line| line == "signal 15"),
        "it got SIGTERM too: {lines:?}"
    );
    Ok(())
}

async fn down_with_a_grace_of_its_own(t: &Fixture) -> Verdict {
    let mut service = t.server("--ignore-term");
    service.stop.grace = Some(Duration::from_secs(120));
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let selector = Selector::stack(stack.name.clone());
    t.until_serving(&selector).await?;
    let grace = Duration::from_millis(500);
    let options = DownOptions::new().grace(Some(grace));
    let start = t.time();
    t.client().down(&stack.name, &options).await?;
    let took = t.time().saturating_sub(start);
    ensure!(took >= grace, "it went after {took:?}, within the grace");
    let most = Duration::from_secs(60);
    ensure!(took < most, "it went only after {took:?}");
    Ok(())
}

async fn stop_grace_then_kill(t: &Fixture) -> Verdict {
    let mut service = t.server("--ignore-term");
    let grace = Duration::from_millis(1500);
    service.stop.grace = Some(grace);
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let selector = Selector::stack(stack.name.clone());
    t.until_serving(&selector).await?;
    let start = t.time();
    t.client()
        .stop(&selector, None, RunOptions::default())
        .await?;
    let took = t.time().saturating_sub(start);
    ensure!(
        took >= grace,
        "it was killed after {took:?}, within its grace"
    );
    ensure!(
        took < grace + Duration::from_secs(5),
        "it was killed only after {took:?}"
    );
    let replica = t.replica(&stack.name, "a").await?;
    ensure_eq!(
        replica.exit.map(|exit| exit.code),
        Some(137),
        "its exit code"
    );
    ensure_eq!(
        replica.phase,
        Phase::Stopped,
        "its phase, as it was asked for"
    );
    let done = t
        .client()
        .wait(&stack.name, &named("a"), Until::Running, Duration::ZERO)
        .await;
    ensure!(done.is_err(), "a killed replica is called running");
    ensure!(t.has(Feature::StopGrace), "the feature is gone");
    Ok(())
}
