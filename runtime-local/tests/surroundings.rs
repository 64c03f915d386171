//! Surroundings that are against it: files removed, a directory that takes no writes, a caller who
//! gives up, a caller's own priorities, a volume that was half filled.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::Host;
use unmoor_core::ErrorKind;
use unmoor_core::backend::{Action, ExecOptions, ImageInput, Phase};
use unmoor_core::image::ImageRef;
use unmoor_core::label::Selector;
use unmoor_core::name::VolumeName;
use unmoor_core::spec::{Mount, MountSource, Service, Volume};

fn signal(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("not 0");
    kill_process(pid, signal).expect("sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_come_back_when_their_files_were_removed() {
    runnable!();
    let mut host = Host::new().await;
    let image = host.busybox().await;
    let line = "echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
    let web = Service::new(image.clone()).command(["sh", "-c", line]);
    host.run("web", web.clone()).await;
    let client = host.run("client", Service::new(image)).await;
    let get = ["wget", "-qO-", "http://web/"];
    assert_eq!(host.exec(&client, &get).await.1, "hello");

    std::fs::remove_dir_all(host.root().join("run/net")).expect("removed");
    host.reconnect().await;
    assert_eq!(host.exec(&client, &get).await.1, "hello");

    // And changes are followed there as before.
    let service = host.desired("web", web).await;
    host.start(&service, 2).await.expect("started");
    let drain = Action::DrainReplica {
        replica: host.id("web", 1),
    };
    host.apply(drain).await.expect("drained");
    let second = ["wget", "-qO-", "http://t-web-2/"];
    for wanted in [&get[..], &second[..]] {
        assert_eq!(host.exec(&client, wanted).await.1, "hello", "{wanted:?}");
    }
    let first = ["nslookup", "t-web-1"];
    assert_ne!(host.exec(&client, &first).await.0, 0, "it is drained");
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

/// A view of a directory that takes no writes.
struct ReadOnly {
    path: PathBuf,
}

impl ReadOnly {
    fn of(directory: &Path, path: PathBuf) -> Self {
        std::fs::create_dir(&path).expect("made");
        let mount = |arguments: &[&str]| {
            let done = Command::new("mount").args(arguments).arg(&path).status();
            assert!(done.expect("run").success(), "mount {arguments:?}");
        };
        mount(&["--bind", directory.to_str().expect("text")]);
        let view = Self { path: path.clone() };
        mount(&["-o", "remount,bind,ro"]);
        view
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_takes_no_writes_can_be_looked_at() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let spec = Service::new(image).command(["sh", "-c", "echo here; exec sleep 1000"]);
    let id = host.run("a", spec.clone()).await;
    host.said(&id, "here").await;
    let view = ReadOnly::of(&host.root(), host.dir.path().join("view"));
    let reader = Host::at(&view.path).await;
    let seen = reader.seen(&id).await.expect("there");
    assert_eq!(seen.phase, Phase::Running);
    reader.said(&id, "here").await;
    let listed = reader.backend.endpoints(&Selector::replica(&id)).await;
    assert_eq!(listed.expect("listed").len(), 1);
    let service = host.desired("a", spec).await;
    let error = reader.start(&service, 2).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error:?}");
    assert!(format!("{error:?}").contains("writable"), "{error:?}");
    drop(view);
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_nobody_waits_for_any_more_is_not_begun() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let id = host.run("a", Service::new(image)).await;
    let exec = host.backend.exec().expect("has exec");
    let shim = host.shim(&id);
    signal(shim, Signal::STOP);
    let late = ExecOptions::new(["touch", "/tmp/late"]);
    let given_up = tokio::time::timeout(Duration::from_secs(1), exec.exec(&id, &late)).await;
    assert!(given_up.is_err(), "a shim that rests answers nobody");
    signal(shim, Signal::CONT);
    // Asked later, so begun later; and it leaves the other one time to do what it should not.
    let line = "sleep 0.5; test -e /tmp/late";
    let (code, text) = host.exec(&id, &["sh", "-c", line]).await;
    assert_eq!((code, text.as_str()), (1, ""));
    host.down().await;
}

/// Value of a line of `/proc/<pid>/status`.
fn field<'t>(status: &'t str, name: &str) -> &'t str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.expect("the line is there").trim()
}

#[test]
fn a_replica_does_not_run_with_its_callers_priorities() {
    runnable!();
    let own = || std::fs::read_to_string("/proc/thread-self/status").expect("read");
    let every = rustix::thread::CpuSet::MAX_CPU;
    let mut all = rustix::thread::CpuSet::new();
    (0..every).for_each(|cpu| all.set(cpu));
    rustix::thread::sched_setaffinity(None, &all).expect("set");
    let processors = field(&own(), "Cpus_allowed_list:").to_owned();
    let mut one = rustix::thread::CpuSet::new();
    one.set(rustix::thread::sched_getcpu());
    // Threads made from here on inherit both, and so does what they launch.
    rustix::thread::sched_setaffinity(None, &one).expect("set");
    rustix::process::setpriority_process(None, 15).expect("set");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("built").block_on(async {
        let host = Host::new().await;
        let image = host.busybox().await;
        let id = host.run("a", Service::new(image)).await;
        let (_, stat) = host.exec(&id, &["cat", "/proc/1/stat"]).await;
        let niceness = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(16));
        assert_eq!(niceness, Some("0"), "{stat}");
        let (_, status) = host.exec(&id, &["cat", "/proc/1/status"]).await;
        assert_eq!(field(&status, "Cpus_allowed_list:"), processors);
        host.down().await;
    });
}

/// An image whose `/data` holds files and asks to be a volume.
async fn with_data(host: &Host) -> ImageRef {
    host.busybox().await;
    let tree = host.dir.path().join("tree");
    std::fs::create_dir_all(tree.join("data/sub")).expect("made");
    for name in ["one", "sub/two"] {
        std::fs::write(tree.join("data").join(name), name).expect("written");
    }
    let reference: ImageRef = "test/data:1".parse().expect("a reference");
    let input = ImageInput::Rootfs {
        path: tree,
        reference: reference.clone(),
        changes: ["CMD [\"sleep\", \"1000\"]", "STOPSIGNAL SIGKILL"]
            .map(str::to_owned)
            .into(),
    };
    let images = host.backend.images().expect("has images");
    images.load(&input, true).await.expect("loaded");
    reference
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_was_half_filled_is_filled_and_shared_from_the_start() {
    runnable!();
    let host = Host::new().await;
    let image = with_data(&host).await;
    let name = VolumeName::parse("data").expect("a name");
    let make = Action::EnsureVolume {
        name: name.clone(),
        spec: Volume::default(),
    };
    host.apply(make).await.expect("made");
    let data = host.root().join("volumes/t_data/_data");
    // What a shim that was killed while it filled the volume leaves.
    std::fs::create_dir_all(data.join(".unmoor-filling/sub")).expect("made");
    std::fs::write(data.join(".unmoor-filling/on"), "o").expect("written");
    let mut spec = Service::new(image);
    spec.mounts.push(Mount {
        source: MountSource::Volume(name.clone()),
        target: "/data".to_owned(),
        read_only: false,
    });
    host.network("default").await;
    let service = host.declare("a", spec).await;
    let (one, two) = tokio::join!(host.start(&service, 1), host.start(&service, 2));
    one.expect("started");
    two.expect("started beside");
    for slot in [1, 2] {
        let list = ["sh", "-c", "cd /data; ls -A; cat one sub/two"];
        let (_, text) = host.exec(&host.id("a", slot), &list).await;
        assert_eq!(text, "one\nsub\nonesub/two", "replica {slot}");
    }
    host.down().await;
    host.apply(Action::RemoveVolume { name })
        .await
        .expect("removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_the_outside_are_asked_of_the_servers_that_the_service_names() {
    runnable!();
    let server = "127.0.0.77";
    let socket = std::net::UdpSocket::bind((server, 53)).expect("the port is free");
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            // The question of one name, answered with one address; what else follows is left out.
            let name = packet[12..length].iter().position(|byte| *byte == 0);
            let end = 12 + name.expect("a name ends") + 5;
            let is_v4 = packet[end - 4..end - 2] == [0, 1];
            let mut answer = packet[..end].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[6..12].copy_from_slice(&[0, u8::from(is_v4), 0, 0, 0, 0]);
            if is_v4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 7]);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    let host = Host::new().await;
    let image = host.busybox().await;
    let mut spec = Service::new(image);
    spec.dns.servers = vec![server.parse().expect("an address")];
    spec.dns.search = vec!["a.test".to_owned(), "b.test".to_owned()];
    spec.dns.options = vec!["ndots:3".to_owned()];
    let id = host.run("a", spec).await;
    let asked = ["nslookup", "-type=a", "far.example", "127.0.0.11"];
    let (code, text) = host.exec(&id, &asked).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("192.0.2.7"), "{text}");
    let (_, text) = host.exec(&id, &["cat", "/etc/resolv.conf"]).await;
    assert!(text.contains("search a.test b.test\n"), "{text}");
    assert!(text.contains(" ndots:3"), "{text}");
    host.down().await;
}
