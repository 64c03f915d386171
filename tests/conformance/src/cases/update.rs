//! Replacing what runs, without its users noticing where that can be.

use std::time::Duration;

use unmoor_core::name::VolumeName;
use unmoor_core::spec::{Mount, UpdateOrder, Volume};

use crate::case::{Failure, Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};
use crate::load;

cases! { "update";
    /// A changed service is replaced; others are left alone.
    update_replaces_what_changed [Spawn, Exec];
    /// A changed image replaces the replicas, and the plan says why.
    update_image [Spawn, Exec];
    /// While a service without data is updated, no connection to it fails.
    update_start_first_no_gap [Spawn, Links, InternalTcp, RollingUpdate, Drain, HealthExec, State];
    /// A service that writes a volume stops before its replacement starts: two writers never overlap.
    update_volume_service_stops_first [Spawn, RollingUpdate, Volumes, State];
    /// A service with data starts first if its author says so.
    update_order_can_be_chosen [Spawn, RollingUpdate, Volumes, SharedVolumes, State];
    /// An update whose replacement never becomes ready fails, and what served goes on serving.
    failed_update_keeps_the_old_serving [Spawn, RollingUpdate, HealthExec, Links, InternalTcp, State];
    /// After a failed update the next good one completes.
    good_update_after_a_failed_one [Spawn, RollingUpdate, HealthExec, Exec];
    /// Every replica of a scaled service is replaced.
    update_of_a_scaled_service [Spawn, Scale, RollingUpdate, Exec, State];
    /// A change of links, counts or dependencies restarts nothing.
    harmless_change_restarts_nothing [Spawn, Links, LinkLive];
}

async fn update_replaces_what_changed(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let stack = |version: &str| {
        unmoor_core::spec::Stack::new(name.clone())
            .service(named("web"), t.server("").env("VERSION", version))
            .service(named("db"), t.server(""))
    };
    t.up(&stack("1")).await?;
    let (web, db) = (
        t.replica(&name, "web").await?,
        t.replica(&name, "db").await?,
    );
    t.up(&stack("2")).await?;
    let new = t.replica(&name, "web").await?;
    ensure_eq!(
        t.ok(&new.id, "env VERSION").await?,
        "2\n",
        "version that runs"
    );
    ensure!(
        new.spec_hash != web.spec_hash,
        "the new replica has the old specification"
    );
    ensure_eq!(
        t.replica(&name, "db").await?.started,
        db.started,
        "start of the other service"
    );
    ensure_eq!(
        t.up(&stack("2")).await?.changed,
        0,
        "actions of another `up` that wrote"
    );
    Ok(())
}

async fn update_image(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let stack = |tag: &str| {
        let mut service = t.server("");
        service.image = t.image(tag);
        unmoor_core::spec::Stack::new(name.clone()).service(named("web"), service)
    };
    t.up(&stack("1")).await?;
    let old = t.replica(&name, "web").await?;
    let planned = t.client().plan(&stack("2"), &Default::default()).await?;
    let text = planned.plan.to_string();
    ensure!(text.contains("image"), "the plan does not say why:\n{text}");
    t.up(&stack("2")).await?;
    let new = t.replica(&name, "web").await?;
    ensure!(
        new.image_digest != old.image_digest,
        "the image is the same"
    );
    ensure_eq!(
        t.ok(&new.id, "env PROBE_IMAGE").await?,
        "2\n",
        "image that runs"
    );
    Ok(())
}

async fn update_start_first_no_gap(t: &Fixture) -> Verdict {
    let web = t
        .server("--tcp 80")
        .health(t.health(80))
        .env("VERSION", "0");
    let stack = t
        .stack()
        .service(named("load"), t.server("--load web 80 10"))
        .service(named("web"), web);
    t.up(&stack).await?;
    let load = slot(&stack.name, "load", 1);
    load::begin(t, &load).await?;
    let before = load::count(t, &load).await?;
    for version in ["1", "2", "3"] {
        let change = |service: unmoor_core::spec::Service| service.env("VERSION", version);
        t.client()
            .update(&stack.name, &named("web"), change)
            .await?;
        let now = load::count(t, &load).await?;
        load::enough(t, &load, now.ok + 10).await?;
    }
    let after = load::count(t, &load).await?;
    after.no_more_failed(&before)?;
    ensure_eq!(
        t.replicas(&stack.name, "web").await?.len(),
        1,
        "replicas afterwards"
    );
    Ok(())
}

fn data() -> VolumeName {
    VolumeName::parse("data").expect("a valid name")
}

/// Lines that two copies of a service wrote when they began and ended.
async fn presence(t: &Fixture, order: Option<UpdateOrder>) -> Result<Vec<String>, Failure> {
    let mut service = t
        .server("--presence /data/log")
        .mount(Mount::volume(data(), "/data"));
    service.update.order = order;
    let stack = t
        .stack()
        .volume(data(), Volume::default())
        .service(named("db"), service);
    t.up(&stack).await?;
    t.client()
        .update(&stack.name, &named("db"), |service| service.env("NEW", "1"))
        .await?;
    let replica = t.replica(&stack.name, "db").await?;
    // The new copy notes its start before it serves.
    let log = t
        .until_says(&replica.id, "read /data/log", |out| {
            out.matches("start").count() == 2
        })
        .await?;
    let words = log
        .lines()
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned());
    Ok(words.collect())
}

async fn update_volume_service_stops_first(t: &Fixture) -> Verdict {
    let lines = presence(t, None).await?;
    ensure_eq!(
        lines,
        ["start", "end", "start"],
        "beginnings and ends of the two writers"
    );
    Ok(())
}

async fn update_order_can_be_chosen(t: &Fixture) -> Verdict {
    let lines = presence(t, Some(UpdateOrder::StartFirst)).await?;
    ensure_eq!(
        lines,
        ["start", "start", "end"],
        "beginnings and ends of the two writers"
    );
    Ok(())
}

/// A change after which the service never becomes ready.
fn breaks(service: unmoor_core::spec::Service) -> unmoor_core::spec::Service {
    let mut broken = service.command(["serve", "--tcp", "7070", "--tcp", "81"]);
    broken.update.deadline = Duration::from_secs(2);
    broken
}

async fn failed_update_keeps_the_old_serving(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("load"), t.server("--load web 80 10"))
        .service(named("web"), t.server("--tcp 80").health(t.health(80)));
    t.up(&stack).await?;
    let load = slot(&stack.name, "load", 1);
    load::begin(t, &load).await?;
    let before = load::count(t, &load).await?;
    let old = t.replica(&stack.name, "web").await?;
    let outcome = t.client().update(&stack.name, &named("web"), breaks).await;
    ensure!(
        outcome.is_err(),
        "an update whose replacement never became ready is called done"
    );
    let after = load::enough(t, &load, before.ok + 10).await?;
    after.no_more_failed(&before)?;
    let replicas = t.replicas(&stack.name, "web").await?;
    let kept = replicas
        .iter()
        .any(|replica| replica.id == old.id && replica.started == old.started);
    ensure!(kept, "the old replica is gone: {replicas:?}");
    ensure_eq!(replicas.len(), 1, "replicas afterwards");
    Ok(())
}

async fn good_update_after_a_failed_one(t: &Fixture) -> Verdict {
    let name = t.stack_name();
    let web = || t.server("--tcp 80").health(t.health(80));
    let stack =
        |service| unmoor_core::spec::Stack::new(name.clone()).service(named("web"), service);
    t.up(&stack(web())).await?;
    ensure!(
        t.up(&stack(breaks(web()))).await.is_err(),
        "a broken update is called done"
    );
    t.up(&stack(web().env("VERSION", "3"))).await?;
    let replica = t.replica(&name, "web").await?;
    ensure_eq!(
        t.ok(&replica.id, "env VERSION").await?,
        "3\n",
        "version that runs"
    );
    Ok(())
}

async fn update_of_a_scaled_service(t: &Fixture) -> Verdict {
    let stack = t
        .stack()
        .service(named("web"), t.server("").replicas(3).env("VERSION", "1"));
    t.up(&stack).await?;
    let change = |service: unmoor_core::spec::Service| service.env("VERSION", "2");
    t.client()
        .update(&stack.name, &named("web"), change)
        .await?;
    let replicas = t.replicas(&stack.name, "web").await?;
    ensure_eq!(replicas.len(), 3, "replicas afterwards");
    for replica in replicas {
        ensure_eq!(
            t.ok(&replica.id, "env VERSION").await?,
            "2\n",
            "version of {}",
            replica.id
        );
    }
    Ok(())
}

async fn harmless_change_restarts_nothing(t: &Fixture) -> Verdict {
    use unmoor_core::spec::{Dependency, Link};
    let name = t.stack_name();
    let stack = |service| {
        unmoor_core::spec::Stack::new(name.clone())
            .service(named("a"), service)
            .service(named("b"), t.server(""))
    };
    t.up(&stack(t.server(""))).await?;
    let before = t.replica(&name, "a").await?;
    let link = Link::to(named("b"));
    let mut changed = t
        .server("")
        .link(link)
        .after(named("b"), Dependency::default());
    changed.update.deadline = Duration::from_secs(77);
    changed.stop.grace = Some(Duration::from_secs(3));
    t.up(&stack(changed)).await?;
    let after = t.replica(&name, "a").await?;
    ensure_eq!(after.started, before.started, "start of the service");
    Ok(())
}
