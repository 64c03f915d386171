//! Order between services: what has started, is healthy, or has completed before others start.

use unmoor_core::ErrorKind;
use unmoor_core::backend::Phase;
use unmoor_core::client::UpOptions;
use unmoor_core::spec::{Condition, Dependency, Service, Stack};

use crate::case::{Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named};

cases! { "depend";
    /// A dependent starts after what it depends on.
    depends_on_started_orders [Spawn];
    /// A dependent starts only when what it depends on is healthy.
    depends_on_healthy_waits [Spawn, HealthExec];
    /// A dependent starts only when what it depends on has completed.
    depends_on_completed_waits [Spawn, Jobs, RestartNo];
    /// A dependent does not start when what it depends on failed, and `up` says why.
    failed_dependency_stops_dependents [Spawn, Jobs, RestartNo];
    /// A dependency that is not required does not hold its dependent up.
    optional_dependency_may_fail [Spawn, Jobs, RestartNo];
    /// A dependent does not wait for a service that was scaled to nothing.
    dependency_scaled_to_nothing_is_not_waited_for [Spawn, Scale, HealthExec, State];
    /// A dependent that asks for it is replaced with what it depends on, and no other is.
    dependent_is_replaced_with_its_dependency [Spawn, RollingUpdate];
    /// A cycle of dependencies is refused before anything is written.
    cycle_is_refused [Spawn];
}

fn on(condition: Condition) -> Dependency {
    Dependency {
        condition,
        ..Dependency::default()
    }
}

fn after(service: Service, name: &str, condition: Condition) -> Service {
    service.after(named(name), on(condition))
}

async fn depends_on_started_orders(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), after(t.server(""), "b", Condition::Started))
        .service(named("b"), after(t.server(""), "c", Condition::Started))
        .service(named("c"), t.server(""));
    t.up(&stack).await?;
    let mut starts = Vec::new();
    for service in ["c", "b", "a"] {
        starts.push(t.replica(&stack.name, service).await?.started);
    }
    ensure!(
        starts.iter().all(Option::is_some),
        "a start is not known: {starts:?}"
    );
    ensure!(
        starts.is_sorted(),
        "they started in another order: {starts:?}"
    );
    Ok(())
}

async fn depends_on_healthy_waits(t: &Fixture) -> Verdict {
    let slow = t.server("--tcp 80 --ready-after 400").health(t.health(80));
    // The dependent's program itself asks whether the server is ready, once, when it starts.
    let asks = after(t.probe("connect slow 80 ready"), "slow", Condition::Healthy);
    let stack = t
        .stack()
        .service(named("slow"), slow)
        .service(named("asks"), asks);
    let start = t.time();
    t.up_only(&stack).await?;
    ensure!(
        t.time() - start >= std::time::Duration::from_millis(400),
        "nobody waited"
    );
    let exit = t
        .until("the dependent has ended", || async {
            Ok(t.replica(&stack.name, "asks").await?.exit)
        })
        .await?;
    ensure_eq!(
        exit.code,
        0,
        "its exit code: it could not reach what it depends on"
    );
    Ok(())
}

async fn depends_on_completed_waits(t: &Fixture) -> Verdict {
    let first = t.probe("exit 0 300");
    let second = after(t.server(""), "first", Condition::CompletedSuccessfully);
    let stack = t
        .stack()
        .service(named("first"), first)
        .service(named("second"), second);
    t.up(&stack).await?;
    let first = t.replica(&stack.name, "first").await?;
    ensure_eq!(first.phase, Phase::Stopped, "phase of the first");
    ensure_eq!(
        t.replica(&stack.name, "second").await?.phase,
        Phase::Running,
        "of the second"
    );
    let report = t.up(&stack).await?;
    ensure_eq!(report.changed, 0, "what completed is not run again");
    Ok(())
}

async fn failed_dependency_stops_dependents(t: &Fixture) -> Verdict {
    let second = after(t.server(""), "first", Condition::CompletedSuccessfully);
    let stack = t
        .stack()
        .service(named("first"), t.probe("exit 3 20"))
        .service(named("second"), second);
    let Err(error) = t.up(&stack).await else {
        return Err("`up` succeeded although a dependency failed"
            .to_owned()
            .into());
    };
    ensure!(
        error.chain().contains("first"),
        "the error does not name what failed: {error:?}"
    );
    let replicas = t.replicas(&stack.name, "second").await?;
    let runs = replicas.iter().any(|replica| replica.phase.is_alive());
    ensure!(!runs, "the dependent runs although what it needs failed");
    Ok(())
}

async fn optional_dependency_may_fail(t: &Fixture) -> Verdict {
    let mut optional = on(Condition::CompletedSuccessfully);
    optional.required = false;
    let second = t.server("").after(named("first"), optional);
    let stack = t
        .stack()
        .service(named("first"), t.probe("exit 3 20"))
        .service(named("second"), second);
    t.up_only(&stack).await?;
    t.client()
        .wait_ready(&stack.name, &named("second"), crate::fixture::PATIENCE)
        .await?;
    Ok(())
}

async fn dependency_scaled_to_nothing_is_not_waited_for(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let file = |version: &str| {
        let web = after(t.server(""), "slow", Condition::Healthy).env("VERSION", version);
        Stack::new(name.clone())
            .service(named("slow"), t.server("--tcp 80").health(t.health(80)))
            .service(named("web"), web)
    };
    t.up(&file("1")).await?;
    let options = UpOptions::new();
    t.client().scale(&name, &named("slow"), 0, &options).await?;
    t.up_only(&file("2")).await?;
    ensure!(
        t.replicas(&name, "slow").await?.is_empty(),
        "what was scaled to nothing runs"
    );
    let phase = t.replica(&name, "web").await?.phase;
    ensure_eq!(phase, Phase::Running, "phase of the dependent");
    Ok(())
}

async fn dependent_is_replaced_with_its_dependency(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let file = |version: &str| {
        let mut along = on(Condition::Started);
        along.restart = true;
        Stack::new(name.clone())
            .service(named("db"), t.server("").env("VERSION", version))
            .service(named("along"), t.server("").after(named("db"), along))
            .service(
                named("other"),
                after(t.server(""), "db", Condition::Started),
            )
    };
    t.up(&file("1")).await?;
    let mut before = Vec::new();
    for service in ["along", "other"] {
        before.push(t.replica(&name, service).await?.started);
    }
    t.up(&file("2")).await?;
    let along = t.replica(&name, "along").await?.started;
    ensure!(along != before[0], "the dependent was left as it was");
    let other = t.replica(&name, "other").await?.started;
    ensure_eq!(
        other,
        before[1],
        "start of a dependent that does not ask for it"
    );
    ensure_eq!(t.up(&file("2")).await?.changed, 0, "writes of another `up`");
    Ok(())
}

async fn cycle_is_refused(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("a"), after(t.server(""), "b", Condition::Started))
        .service(named("b"), after(t.server(""), "a", Condition::Started));
    let Err(error) = t.up(&stack).await else {
        return Err("a cycle of dependencies was accepted".to_owned().into());
    };
    ensure_eq!(error.kind(), ErrorKind::InvalidSpec, "kind of the error");
    ensure!(
        error.message().contains("a -> b -> a"),
        "the cycle is not shown: {error}"
    );
    ensure!(
        t.observe(&stack.name).await?.is_empty(),
        "something was written"
    );
    Ok(())
}
