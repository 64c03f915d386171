//! A command killed at any place: the next one puts it right, and nothing is left in the end.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::Host;
use unmoor_core::backend::{Action, Applied, DesiredService, Phase};
use unmoor_core::name::{BlobName, NetworkName, ReplicaId, StackName, VolumeName};
use unmoor_core::spec::{
    BlobGrant, BlobId, BlobKind, Mount, Network, PortRange, Published, RestartPolicy, SecretBytes,
    Service, Volume,
};
use unmoor_tools::ledger::{Options, Section};

const ROOT: &str = "UNMOOR_TEST_ROOT";
const SERVICE: &str = "UNMOOR_TEST_SERVICE";

/// Every place at which a command may die, and whether it is on the way up or down.
const PLACES: [&str; 21] = [
    "network.recorded",
    "network.made",
    "volume.recorded",
    "volume.made",
    "blob.written",
    "service.declared",
    "service.recorded",
    "service.written",
    "replica.recorded",
    "replica.directories",
    "replica.launched",
    "replica.committed",
    "replica.drained",
    "replica.between",
    "replica.leaving",
    "replica.dismissed",
    "replica.erased",
    "service.leaving",
    "volume.leaving",
    "blob.removed",
    "network.leaving",
];

fn blob() -> BlobId {
    BlobId {
        kind: BlobKind::Secret,
        name: BlobName::parse("key").expect("a name"),
    }
}

fn volume() -> VolumeName {
    VolumeName::parse("data").expect("a name")
}

fn network() -> NetworkName {
    NetworkName::parse("default").expect("a name")
}

fn replica() -> ReplicaId {
    ReplicaId::new(
        StackName::parse("t").expect("a name"),
        "web".parse().expect("a name"),
        1,
    )
}

fn up(service: &Arc<DesiredService>) -> Vec<Action> {
    vec![
        Action::EnsureNetwork {
            name: network(),
            spec: Network::default(),
        },
        Action::EnsureVolume {
            name: volume(),
            spec: Volume::default(),
        },
        Action::EnsureBlob {
            id: blob(),
            content: SecretBytes::new(*b"hunter2"),
        },
        Action::EnsureService {
            service: Arc::clone(service),
        },
        Action::StartReplica {
            replica: replica(),
            service: Arc::clone(service),
        },
    ]
}

fn down() -> Vec<Action> {
    let (replica, grace) = (replica(), Some(Duration::ZERO));
    vec![
        Action::DrainReplica {
            replica: replica.clone(),
        },
        Action::RestartReplica {
            replica: replica.clone(),
            grace,
        },
        Action::StopReplica {
            replica: replica.clone(),
            grace,
        },
        Action::RemoveReplica { replica },
        Action::RemoveService {
            name: "web".parse().expect("a name"),
        },
        Action::RemoveBlob { id: blob() },
        Action::RemoveVolume { name: volume() },
        Action::RemoveNetwork { name: network() },
    ]
}

/// The command that is killed: brings everything up and takes it down again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below, with a place to die at"]
async fn command() {
    let root = std::env::var(ROOT).expect("given by the test");
    let service = std::env::var(SERVICE).expect("given by the test");
    let service: DesiredService = serde_json::from_str(&service).expect("given by the test");
    let backend = support::connect(root.as_ref()).await;
    let step = support::step();
    for action in up(&Arc::new(service)).into_iter().chain(down()) {
        backend.apply(&action, &step).await.expect("applied");
    }
    panic!("the place to die at was never reached");
}

fn die_at(place: &str, host: &Host, service: &DesiredService) {
    let own = std::env::current_exe().expect("this program");
    let status = Command::new(own)
        .args(["--exact", "command", "--ignored", "--nocapture"])
        .env("UNMOOR_FAIL", place)
        .env(ROOT, host.root())
        .env(SERVICE, serde_json::to_string(service).expect("plain data"))
        .stdout(Stdio::null())
        .status()
        .expect("run");
    assert_eq!(status.signal(), Some(9), "{place}: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_killed_anywhere_is_finished_or_undone_by_the_next() {
    runnable!();
    let mut host = Host::new().await;
    let image = host.busybox().await;
    let range = Some(PortRange {
        first: 8090,
        last: 8099,
    });
    let ranged = Published {
        host_port: range,
        ..Published::tcp(1, 80)
    };
    let mut spec = Service::new(image)
        .mount(Mount::volume(volume(), "/data"))
        .publish(Published::tcp(8083, 80))
        .publish(ranged);
    spec.secrets
        .push(BlobGrant::new(BlobKind::Secret, blob().name));
    let service = host.desired("web", spec).await;
    let strangers = [
        Section::OurMount,
        Section::Namespace,
        Section::Cgroup,
        Section::Process,
        Section::Descriptors,
        Section::Keyring,
        Section::Loop,
    ];
    let options = strangers
        .into_iter()
        .fold(Options::default(), Options::without);
    let before = options.take().expect("taken");
    for place in PLACES {
        die_at(place, &host, &service);
        host.reconnect().await;
        for action in up(&service) {
            let applied = host.apply(action.clone()).await;
            applied.unwrap_or_else(|error| panic!("{place}: {action}: {error:?}"));
        }
        host.until(&replica(), |seen| seen.phase == Phase::Running)
            .await;
        let (code, text) = host.exec(&replica(), &["cat", "/run/secrets/key"]).await;
        assert_eq!((code, text.as_str()), (0, "hunter2"), "{place}");
        for action in down() {
            let applied = host.apply(action.clone()).await;
            applied.unwrap_or_else(|error| panic!("{place}: {action}: {error:?}"));
        }
        assert_eq!(host.traces(), Vec::<String>::new(), "{place}");
        let leaks = before.settle(Duration::from_secs(5)).expect("taken");
        assert!(leaks.is_empty(), "{place}: {leaks}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_that_dies_is_replaced_and_the_replica_never_notices() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let id = host.run("a", Service::new(image)).await;
    let before = host
        .exec(&id, &["sh", "-c", "echo $$; cat /proc/1/stat"])
        .await
        .1;
    let start = |text: &str| text.split(' ').nth(21).map(str::to_owned);
    host.kill_shim(&id);
    let seen = host.seen(&id).await.expect("there");
    assert_eq!(seen.phase, Phase::Running, "{seen:?}");
    let after = host
        .exec(&id, &["sh", "-c", "echo $$; cat /proc/1/stat"])
        .await
        .1;
    assert_eq!(start(&before), start(&after), "the same process 1");
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_that_does_not_answer_is_replaced_when_its_replica_is_removed() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let mut spec = Service::new(image);
    spec.stop.grace = Some(Duration::ZERO);
    let id = host.run("a", spec).await;
    let shim = Pid::from_raw(host.shim(&id)).expect("it lives");
    kill_process(shim, Signal::STOP).expect("stopped");
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

/// A successor waits for the lock of the shim it is to replace, and may get it because that one was
/// sent away: it must not bring back what has been removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_comes_too_late_makes_nothing() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let spec = Service::new(image).restart(RestartPolicy::Always);
    let id = host.run("a", spec).await;
    let (program, directory) = (host.shim_program(), host.only("replicas"));
    let run = host.only("run");
    // What a shim removes that is sent away.
    host.kill_shim(&id);
    host.kill_init(&id);
    for name in ["status", "lock", "ctl"] {
        std::fs::remove_file(run.join(name)).expect("there");
    }
    let output = Command::new(program)
        .arg("--adopt")
        .arg(directory)
        .arg("1")
        .stdin(Stdio::null())
        .output()
        .expect("run");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        report.contains("the replica has been removed"),
        "{report:?}"
    );
    for name in ["status", "lock", "ctl"] {
        assert!(!run.join(name).exists(), "{name} is there again");
    }
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_run_directory_is_gone_is_seen_and_started_again() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let service = Service::new(image).restart(RestartPolicy::Always);
    let id = host.run("a", service.clone()).await;
    for again in [true, false] {
        std::fs::remove_dir_all(host.root().join("run")).expect("removed");
        std::fs::create_dir(host.root().join("run")).expect("made");
        let seen = host.seen(&id).await.expect("on record");
        assert_eq!(seen.phase, Phase::Failed, "{seen:?}");
        assert!(seen.message.expect("a reason").contains("run directory"));
        if again {
            host.run("a", service.clone()).await;
            let seen = host.seen(&id).await.expect("there");
            assert_eq!(seen.phase, Phase::Running, "{seen:?}");
            assert_eq!(host.exec(&id, &["nslookup", "a"]).await.0, 0);
            assert_eq!(shims(&id), 1, "the one that nobody could reach has ended");
        }
    }
    host.down().await;
    assert_eq!(shims(&id), 0);
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_everything_is_seen_and_can_be_taken_down() {
    runnable!();
    let dir = tempfile::tempdir().expect("a directory");
    let small = SmallDisk::mount(dir.path());
    {
        let mut host = Host::at(&dir.path().join("root")).await;
        let image = host.busybox().await;
        let id = host.run("a", Service::new(image)).await;
        small.fill();
        host.reconnect().await;
        let seen = host.seen(&id).await.expect("there");
        assert_eq!(seen.phase, Phase::Running, "{seen:?}");
        assert_eq!(host.exec(&id, &["true"]).await.0, 0);
        host.reconnect().await;
        host.down().await;
        assert_eq!(host.leftovers(), Vec::<String>::new());
    }
}

/// A file system of 32 MiB in memory.
struct SmallDisk<'a>(&'a std::path::Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a std::path::Path) -> Self {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", at, "tmpfs", flags, c"size=32m").expect("mounted");
        Self(at)
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("made");
        let mut page = [0u8; 4096].as_slice();
        while std::io::copy(&mut page, &mut file).is_ok() {
            page = &[0u8; 4096];
        }
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH).expect("unmounted");
    }
}

/// How many shims there are of a replica; those that other tests have of one of the same name are
/// in another process namespace or have another directory.
fn shims(id: &ReplicaId) -> usize {
    let title = format!("unmoor-shim {id}");
    let entries = std::fs::read_dir("/proc").expect("there").flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| line.split(|byte| *byte == 0).next() == Some(title.as_bytes()))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_database_is_made_again_from_what_runs() {
    runnable!();
    let mut host = Host::new().await;
    let image = host.busybox().await;
    let data = Action::EnsureVolume {
        name: volume(),
        spec: Volume::default(),
    };
    host.apply(data).await.expect("made");
    let secret = Action::EnsureBlob {
        id: blob(),
        content: SecretBytes::new(*b"hunter2"),
    };
    host.apply(secret).await.expect("stored");
    let id = host.run("a", Service::new(image.clone())).await;
    let b = host.run("b", Service::new(image)).await;
    let before = host
        .backend
        .observe(&Default::default())
        .await
        .expect("seen");
    host.forget().await;
    let after = host
        .backend
        .observe(&Default::default())
        .await
        .expect("seen");
    assert_eq!(before.stack(&host.stack), after.stack(&host.stack));
    let (code, _) = host.exec(&b, &["nslookup", "a"]).await;
    assert_eq!(code, 0, "names still resolve");
    host.apply(Action::RemoveReplica { replica: id })
        .await
        .expect("removed");
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

/// The first command after the reboot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below, in another boot"]
async fn after_the_reboot() {
    let root = std::env::var(ROOT).expect("given by the test");
    let host = Host::at(root.as_ref()).await;
    let (always, never) = (host.id("always", 1), host.id("never", 1));
    let seen = host.seen(&always).await.expect("kept");
    if seen.phase != Phase::Running {
        let service = host.desired("always", always_again()).await;
        panic!("{seen:?}: {:?}", host.start(&service, 1).await);
    }
    let seen = host.seen(&never).await.expect("kept");
    assert_eq!(seen.phase, Phase::Failed, "{seen:?}");
    let (_, text) = host.exec(&always, &["cat", "/data/file"]).await;
    assert_eq!(text, "kept");
    let (code, _) = host.exec(&always, &["nslookup", "never"]).await;
    assert_eq!(code, 0, "names resolve again");
    let again = host.desired("never", never_again()).await;
    assert_eq!(
        host.start(&again, 1).await.expect("started"),
        Applied::Changed
    );
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

fn always_again() -> Service {
    never_again()
        .mount(Mount::volume("data".parse().expect("a name"), "/data"))
        .restart(RestartPolicy::Always)
}

fn never_again() -> Service {
    Service::new("test/busybox:1".parse().expect("a reference"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_reboot_what_should_always_run_runs_again() {
    runnable!();
    let host = Host::new().await;
    host.busybox().await;
    let data = "data".parse().expect("a name");
    let volume = Action::EnsureVolume {
        name: data,
        spec: Volume::default(),
    };
    host.apply(volume).await.expect("made");
    let always = host.run("always", always_again()).await;
    host.exec(&always, &["sh", "-c", "echo kept > /data/file"])
        .await;
    let never = host.run("never", never_again()).await;
    // What a reboot does: every process is gone, every bridge, every rule, every setting.
    for id in [&always, &never] {
        host.kill_shim(id);
        host.kill_init(id);
    }
    let clean = "ip -o link | grep -o 'um-[a-z0-9]*' | sort -u | xargs -n1 ip link del; \
                 nft flush ruleset; echo 0 > /proc/sys/net/ipv4/ip_forward";
    assert!(
        Command::new("sh")
            .args(["-c", clean])
            .status()
            .expect("run")
            .success()
    );
    let status = Command::new(std::env::current_exe().expect("this program"))
        .env("UNMOOR_BOOT", "11111111222233334444555555555555")
        .args(["--exact", "after_the_reboot", "--ignored", "--nocapture"])
        .env(ROOT, host.root())
        .status()
        .expect("run");
    assert!(status.success());
}
