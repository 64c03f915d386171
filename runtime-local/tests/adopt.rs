//! What a lost record left behind, and volumes put there by hand: shown, left alone, taken over.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use support::Host;
use unmoor_conformance::{Disown, Options, run};
use unmoor_core::backend::{Maker, Phase};
use unmoor_core::client::{AdoptOptions, DownOptions, UpOptions};
use unmoor_core::label::Selector;
use unmoor_core::name::{StackName, VolumeName};
use unmoor_core::spec::{Mount, Service, Stack, Volume};
use unmoor_core::{Client, Error, ErrorKind};

/// Loses what the record has of a stack, as the copy of a database does that was made before it.
#[derive(Debug)]
struct Loses(PathBuf);

#[async_trait]
impl Disown for Loses {
    async fn disown(&self, stack: &StackName) -> Result<Maker, Error> {
        let lost = |error: rusqlite::Error| {
            Error::new(ErrorKind::Internal, "lose the record").because(error)
        };
        let db = rusqlite::Connection::open(self.0.join("state.db")).map_err(lost)?;
        let like = [
            "DELETE FROM addresses WHERE network IN (SELECT id FROM networks WHERE stack = ?1)",
            "DELETE FROM networks WHERE stack = ?1",
            "DELETE FROM volumes WHERE stack = ?1",
            "DELETE FROM services WHERE stack = ?1",
            "DELETE FROM replicas WHERE stack = ?1",
            "DELETE FROM blobs WHERE stack = ?1",
            "DELETE FROM stacks WHERE name = ?1",
        ];
        for sql in like {
            db.execute(sql, [stack.as_str()]).map_err(lost)?;
        }
        Ok(Maker::Stray)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_record_left_is_kept_as_every_backend_promises() {
    runnable!();
    let host = Host::new().await;
    let mut options = Options::new().disown(Arc::new(Loses(host.root())));
    options = options.only("adopt").only("traffic_through_adoption");
    let report = run(Arc::clone(&host.backend), &options).await;
    let report = report.expect("the probe is loaded");
    assert!(report.is_success(), "{report}");
    assert_eq!(report.passed(), 9, "{report}");
}

/// Two replicas with a volume.
async fn stack(host: &Host) -> Stack {
    let data = VolumeName::parse("data").expect("a name");
    let mut service = Service::new(host.busybox().await).replicas(2);
    service.mounts.push(Mount::volume(data.clone(), "/data"));
    let mut stack = Stack::new(host.stack.clone());
    stack.volumes.insert(data, Volume::default());
    stack.service("web".parse().expect("a name"), service)
}

fn pids(root: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join("replicas"))
        .expect("there are some")
        .flatten()
    {
        let key = entry.file_name().into_string().expect("a key");
        let file = std::fs::read(root.join("run").join(&key).join("status")).expect("a status");
        // Number and start time of the shim and of the program, which no others have.
        found.push(format!("{key} {:?}", &file[32..56]));
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_brought_back_from_before_loses_nothing() {
    runnable!();
    let mut host = Host::new().await;
    let stack = stack(&host).await;
    let database = host.root().join("state.db");
    let lone = tempfile::tempdir().expect("a directory");
    let kept = lone.path().join("state.db");
    let copy = rusqlite::Connection::open(&database).expect("opens");
    copy.execute("VACUUM INTO ?1", [kept.to_str().expect("a path")])
        .expect("copied");
    drop(copy);
    let client = Client::new(Arc::clone(&host.backend));
    let options = UpOptions::new();
    client.up(&stack, &options).await.expect("up");
    let running = pids(&host.root());
    drop(client);
    host.backend = Arc::clone(&Host::at(lone.path()).await.backend);
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(host.root().join(name));
    }
    std::fs::copy(&kept, &database).expect("brought back");
    host.reconnect().await;
    let client = Client::new(Arc::clone(&host.backend));
    let seen = client.observe(&Selector::all()).await.expect("observed");
    assert!(seen.stacks.is_empty(), "{seen:?}");
    let found = client.foreign(None).await.expect("listed");
    let phases: Vec<_> = found.iter().filter_map(|item| item.phase).collect();
    assert_eq!(phases, [Phase::Running, Phase::Running]);
    assert!(
        found.iter().all(|item| item.maker == Maker::Stray),
        "{found:?}"
    );
    let refused = client
        .up(&stack, &options)
        .await
        .expect_err("it is in the way");
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused:?}");
    let adopted = client.adopt(&stack.name, &AdoptOptions::new()).await;
    assert!(adopted.expect("adopted").changed >= 4);
    assert_eq!(pids(&host.root()), running);
    let again = client.up(&stack, &options).await.expect("up again");
    assert_eq!(again.changed, 0);
    let all = DownOptions::new().volumes(true);
    client.down(&stack.name, &all).await.expect("down");
    let left = client.foreign(None).await.expect("listed");
    assert!(left.is_empty(), "{left:?}");
    drop(client);
    assert_eq!(host.traces(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_put_there_by_hand_is_taken_over_and_not_overwritten() {
    runnable!();
    let host = Host::new().await;
    let mut stack = stack(&host).await;
    let web = "web".parse().expect("a name");
    let service = stack.services.get_mut(&web).expect("it has one");
    *service = service.clone().replicas(1);
    let folder = host.root().join("volumes/t_data/_data");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("kept"), "by hand").expect("written");
    let client = Client::new(Arc::clone(&host.backend));
    let found = client.foreign(Some(&stack.name)).await.expect("listed");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].maker, Maker::Unlabelled);
    let options = UpOptions::new();
    let refused = client
        .up(&stack, &options)
        .await
        .expect_err("it is in the way");
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused:?}");
    assert!(
        refused
            .hint_text()
            .is_some_and(|hint| hint.contains("adopt"))
    );
    client
        .adopt(&stack.name, &AdoptOptions::new())
        .await
        .expect("adopted");
    client.up(&stack, &options).await.expect("up");
    let text = std::fs::read_to_string(folder.join("kept")).expect("read");
    assert_eq!(text, "by hand");
    let all = DownOptions::new().volumes(true);
    client.down(&stack.name, &all).await.expect("down");
    assert!(!folder.exists(), "what is ours goes with its stack");
}
