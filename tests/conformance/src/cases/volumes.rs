//! Data that outlives replicas.

use unmoor_core::client::DownOptions;
use unmoor_core::name::VolumeName;
use unmoor_core::spec::{Mount, MountSource, Service, Stack, Volume};

use crate::case::{Verdict, cases, ensure, ensure_eq};
use crate::fixture::{Fixture, named, slot};

cases! { "volumes";
    /// A volume's data is there after the stack went down and came up again.
    volume_data_survives_down_up [Spawn, Volumes];
    /// `down` with volumes removes their data.
    down_with_volumes_removes_data [Spawn, Volumes];
    /// A volume's data is there after its service was updated.
    volume_data_survives_an_update [Spawn, Volumes, State];
    /// Two services share a volume.
    volume_shared_by_two_services [Spawn, Volumes, SharedVolumes];
    /// Nothing can be written through a read-only mount.
    read_only_mount [Spawn, Volumes, SharedVolumes];
    /// A volume without a name is one replica's own and goes with it.
    anonymous_volume_is_each_replicas_own [Spawn, Scale, Volumes];
    /// A volume of one stack is not that of another with the same name.
    volumes_of_stacks_are_apart [Spawn, Volumes];
    /// Files of the node are seen through a bind.
    bind_shows_files_of_the_node [Spawn, Binds];
    /// A volume that services use cannot be removed under them.
    volume_in_use_is_not_removed [Spawn, Volumes];
}

fn data() -> VolumeName {
    VolumeName::parse("data").expect("a valid name")
}

fn with_data(service: Service) -> Service {
    service.mount(Mount::volume(data(), "/data"))
}

fn stack_of(t: &Fixture, stack: Stack) -> Stack {
    stack
        .volume(data(), Volume::default())
        .service(named("db"), with_data(t.server("")))
}

async fn volume_data_survives_down_up(t: &Fixture) -> Verdict {
    let stack = stack_of(t, t.stack());
    t.up(&stack).await?;
    let db = slot(&stack.name, "db", 1);
    t.ok(&db, "write /data/kept first").await?;
    t.ok(&db, "write /area/lost first").await?;
    t.down(&stack.name).await?;
    let seen = t.observe(&stack.name).await?;
    ensure!(
        seen.volumes.contains(&data()),
        "the volume is gone after `down`"
    );
    ensure!(seen.replicas.is_empty(), "a replica is left after `down`");
    t.up(&stack).await?;
    ensure_eq!(
        t.ok(&db, "read /data/kept").await?,
        "first",
        "what was written before"
    );
    ensure_eq!(
        t.run(&db, "read /area/lost").await?.code,
        1,
        "a file of the replica's own"
    );
    Ok(())
}

async fn down_with_volumes_removes_data(t: &Fixture) -> Verdict {
    let stack = stack_of(t, t.stack());
    t.up(&stack).await?;
    let db = slot(&stack.name, "db", 1);
    t.ok(&db, "write /data/gone first").await?;
    t.client()
        .down(&stack.name, &DownOptions::new().volumes(true))
        .await?;
    ensure!(
        t.observe(&stack.name).await?.is_empty(),
        "something is left"
    );
    t.up(&stack).await?;
    ensure_eq!(
        t.run(&db, "read /data/gone").await?.code,
        1,
        "exit code of reading lost data"
    );
    Ok(())
}

async fn volume_data_survives_an_update(t: &Fixture) -> Verdict {
    let stack = stack_of(t, t.stack());
    t.up(&stack).await?;
    t.ok(&slot(&stack.name, "db", 1), "write /data/kept first")
        .await?;
    t.client()
        .update(&stack.name, &named("db"), |service| service.env("NEW", "1"))
        .await?;
    let replica = t.replica(&stack.name, "db").await?;
    ensure_eq!(
        t.ok(&replica.id, "read /data/kept").await?,
        "first",
        "what was written before"
    );
    Ok(())
}

async fn volume_shared_by_two_services(t: &Fixture) -> Verdict {
    let stack = stack_of(t, t.stack()).service(named("other"), with_data(t.server("")));
    t.up(&stack).await?;
    t.ok(&slot(&stack.name, "db", 1), "write /data/x from-db")
        .await?;
    let found = t.ok(&slot(&stack.name, "other", 1), "read /data/x").await?;
    ensure_eq!(found, "from-db", "what the other service reads");
    Ok(())
}

async fn read_only_mount(t: &Fixture) -> Verdict {
    let reader = t
        .server("")
        .mount(Mount::volume(data(), "/data").read_only());
    let stack = stack_of(t, t.stack()).service(named("reader"), reader);
    t.up(&stack).await?;
    t.ok(&slot(&stack.name, "db", 1), "write /data/x text")
        .await?;
    let reader = slot(&stack.name, "reader", 1);
    ensure_eq!(
        t.ok(&reader, "read /data/x").await?,
        "text",
        "what the reader reads"
    );
    let refused = t.run(&reader, "write /data/x other").await?;
    ensure_eq!(refused.code, 1, "exit code of a write through it");
    ensure!(
        refused.err.contains("read-only"),
        "its reason: {}",
        refused.err
    );
    Ok(())
}

async fn anonymous_volume_is_each_replicas_own(t: &Fixture) -> Verdict {
    let mut service = t.server("").replicas(2);
    service.mounts.push(Mount {
        source: MountSource::Anonymous,
        target: "/data".to_owned(),
        read_only: false,
    });
    let stack = t.stack().service(named("db"), service);
    t.up(&stack).await?;
    let one = slot(&stack.name, "db", 1);
    t.ok(&one, "write /data/x text").await?;
    ensure_eq!(
        t.ok(&one, "read /data/x").await?,
        "text",
        "in the first replica"
    );
    let other = t.run(&slot(&stack.name, "db", 2), "read /data/x").await?;
    ensure_eq!(other.code, 1, "exit code in the second replica");
    t.down(&stack.name).await?;
    ensure!(
        t.observe(&stack.name).await?.is_empty(),
        "something is left"
    );
    Ok(())
}

async fn volumes_of_stacks_are_apart(t: &Fixture) -> Verdict {
    let (one, two) = (stack_of(t, t.stack()), stack_of(t, t.stack()));
    t.up(&one).await?;
    t.up(&two).await?;
    t.ok(&slot(&one.name, "db", 1), "write /data/x text")
        .await?;
    let other = t.run(&slot(&two.name, "db", 1), "read /data/x").await?;
    ensure_eq!(other.code, 1, "exit code in the other stack");
    Ok(())
}

async fn bind_shows_files_of_the_node(t: &Fixture) -> Verdict {
    let service = t
        .server("")
        .mount(Mount::bind("/etc", "/node-etc").read_only());
    let stack = t.stack().service(named("a"), service);
    t.up(&stack).await?;
    let a = slot(&stack.name, "a", 1);
    let stat = t.ok(&a, "stat /node-etc/passwd").await?;
    ensure!(
        stat.ends_with(" file\n"),
        "the node's list of users: {stat}"
    );
    ensure_eq!(
        t.run(&a, "write /node-etc/x text").await?.code,
        1,
        "exit code of a write"
    );
    let missing = t.server("").mount(Mount::bind("/not-there/at-all", "/x"));
    let stack = t.stack().service(named("a"), missing);
    ensure!(
        t.up(&stack).await.is_err(),
        "a bind of what is not there was accepted"
    );
    Ok(())
}

async fn volume_in_use_is_not_removed(t: &Fixture) -> Verdict {
    use unmoor_core::ErrorKind;
    use unmoor_core::backend::{Action, Commit, Step};
    let stack = stack_of(t, t.stack());
    t.up(&stack).await?;
    let db = slot(&stack.name, "db", 1);
    t.ok(&db, "write /data/kept first").await?;
    let step = Step {
        stack: stack.name.clone(),
        plan: "conformance".to_owned(),
        index: 0,
        deadline: crate::fixture::PATIENCE,
        commit: Commit::Now,
    };
    let remove = Action::RemoveVolume { name: data() };
    let outcome = t.backend().apply(&remove, &step).await;
    let kind = outcome.err().map(|error| error.kind());
    ensure_eq!(kind, Some(ErrorKind::WrongPhase), "kind of the refusal");
    ensure_eq!(t.ok(&db, "read /data/kept").await?, "first", "its data");
    Ok(())
}
