//! Several services: names, links, stable addresses, published ports, volumes, secrets, limits.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use support::Host;
use unmoor_core::ErrorKind;
use unmoor_core::backend::{Action, Applied, HealthState, LogOptions, Phase};
use unmoor_core::discover::{EndpointEvent, Scope};
use unmoor_core::label::Selector;
use unmoor_core::name::{BlobName, VolumeName};
use unmoor_core::spec::{
    BlobGrant, BlobId, BlobKind, Health, HealthTest, Link, Mount, PortRange, Published, Resources,
    SecretBytes, Service, Volume,
};
use unmoor_core::units::{Bytes, MilliCpu};

fn web(image: unmoor_core::image::ImageRef, text: &str) -> Service {
    let line = format!("echo {text} > /www/index.html; exec httpd -f -p 80 -h /www");
    Service::new(image).command(["sh".to_owned(), "-c".to_owned(), line])
}

async fn fetch(port: u16) -> Result<String, std::io::Error> {
    let get = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.lines().last().unwrap_or_default().to_owned())
    };
    tokio::task::spawn_blocking(get).await.expect("asked")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_services_find_each_other_and_a_port_answers_on_the_host() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let published = web(image.clone(), "hello").publish(Published::tcp(8080, 80));
    let a = host.run("web", published).await;
    let link = Link::to("web".parse().expect("a name")).alias("shop".parse().expect("a name"));
    let b = host.run("client", Service::new(image).link(link)).await;
    for name in ["web", "shop", "t-web-1"] {
        let url = format!("http://{name}/");
        let (code, text) = host.exec(&b, &["wget", "-qO-", &url]).await;
        assert_eq!((code, text.as_str()), (0, "hello"), "{name}");
    }
    assert_eq!(fetch(8080).await.expect("answered"), "hello");
    let (_, env) = host.exec(&b, &["env"]).await;
    for wanted in ["UNMOOR_LINK_SHOP_HOST=shop", "UNMOOR_LINK_SHOP_PORT=80"] {
        assert!(env.contains(wanted), "{wanted} is not in {env}");
    }
    let endpoints = host
        .backend
        .endpoints(&Selector::replica(&a))
        .await
        .expect("listed");
    assert_eq!(endpoints.len(), 1);
    assert_eq!((endpoints[0].port, endpoints[0].weight), (Some(80), 1));
    let all = Selector::service(host.stack.clone(), "web".parse().expect("a name"));
    let all = host.backend.endpoints(&all).await.expect("listed");
    let external: Vec<_> = all.iter().filter(|e| e.scope == Scope::External).collect();
    assert_eq!((external.len(), external[0].port), (1, Some(8080)));
    host.down().await;
    assert!(fetch(8080).await.is_err(), "nobody answers any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_replica_gets_no_new_connections_and_a_watch_says_so() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let service = host
        .declare(
            "web",
            web(image.clone(), "$HOSTNAME").publish(Published::tcp(8081, 80)),
        )
        .await;
    host.start(&service, 1).await.expect("started");
    host.start(&service, 2).await.expect("started");
    let client = host.run("client", Service::new(image)).await;
    let selector = Selector::replica(&host.id("web", 1));
    let clock = std::sync::Arc::new(unmoor_core::clock::SystemClock::new());
    let watch = std::sync::Arc::clone(&host.backend).watch(&selector, None, clock);
    let mut watch = watch.await.expect("watched");
    let first = futures_util::StreamExt::next(&mut watch)
        .await
        .expect("an event");
    assert!(
        matches!(first.expect("read"), EndpointEvent::Resync { endpoints, .. }
        if endpoints.len() == 1 && endpoints[0].weight == 1)
    );

    let drain = Action::DrainReplica {
        replica: host.id("web", 1),
    };
    assert_eq!(
        host.apply(drain.clone()).await.expect("drained"),
        Applied::Changed
    );
    let told = futures_util::StreamExt::next(&mut watch)
        .await
        .expect("an event");
    assert!(
        matches!(told.expect("read"), EndpointEvent::Changed { endpoint, .. }
        if endpoint.weight == 0)
    );
    assert_eq!(host.apply(drain).await.expect("again"), Applied::Unchanged);
    for _ in 0..8 {
        let (code, text) = host.exec(&client, &["wget", "-qO-", "http://web/"]).await;
        assert_eq!((code, text.as_str()), (0, "t-web-2"));
        assert_eq!(fetch(8081).await.expect("answered"), "t-web-2");
    }
    // Started again it serves again.
    assert_eq!(
        host.start(&service, 1).await.expect("undrained"),
        Applied::Changed
    );
    let seen = host.seen(&host.id("web", 1)).await.expect("there");
    assert!(seen.in_discovery);
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_returns_when_what_was_asked_has_been_answered() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    // Answers when its file is there; until then the request waits.
    let answer = "while [ ! -e /tmp/go ]; do sleep 0.05; done; echo answer";
    let serve = format!(
        "nc -ll -p 80 -e sh -c 'read line; {answer}' & \
         until netstat -ltn | grep -q :80; do sleep 0.05; done; echo ready; wait"
    );
    let spec = Service::new(image).command(["sh".to_owned(), "-c".to_owned(), serve]);
    let spec = spec.publish(Published::tcp(8083, 80));
    let service = host.declare("web", spec).await;
    host.start(&service, 1).await.expect("started");
    let id = host.id("web", 1);
    host.said(&id, "ready").await;
    let mut asked = TcpStream::connect(("127.0.0.1", 8083)).expect("connected");
    asked.write_all(b"ask\n").expect("asked");

    let allowed = AtomicBool::new(false);
    let drained = async {
        let replica = id.clone();
        let drained = host.apply(Action::DrainReplica { replica }).await;
        (drained.expect("drained"), allowed.load(Ordering::SeqCst))
    };
    let (drained, answered) = tokio::join!(drained, async {
        host.until(&id, |seen| !seen.in_discovery).await;
        allowed.store(true, Ordering::SeqCst);
        let (code, _) = host.exec(&id, &["touch", "/tmp/go"]).await;
        assert_eq!(code, 0);
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            asked.read_to_string(&mut text).map(|_| text)
        });
        read.await.expect("asked")
    });
    assert_eq!(drained, (Applied::Changed, true), "not before it may");
    assert_eq!(answered.expect("whole"), "answer\n");
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_of_ports_gives_each_replica_one_that_leads_to_it_alone() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let range = PortRange {
        first: 9000,
        last: 9002,
    };
    let published = Published {
        host_port: Some(range),
        ..Published::tcp(9000, 80)
    };
    let spec = web(image, "$HOSTNAME").publish(published);
    let service = host.declare("web", spec).await;
    for slot in 1..=2 {
        host.start(&service, slot).await.expect("started");
    }
    each_port_is_its_own(&host, &[1, 2]).await;
    // Another takes the first one's place, and its port.
    let replica = host.id("web", 1);
    let stop = Action::StopReplica {
        replica: replica.clone(),
        grace: Some(Duration::ZERO),
    };
    host.apply(stop).await.expect("stopped");
    let removal = Action::RemoveReplica { replica };
    host.apply(removal).await.expect("removed");
    each_port_is_its_own(&host, &[2]).await;
    host.start(&service, 3).await.expect("started");
    each_port_is_its_own(&host, &[2, 3]).await;
    host.down().await;
}

async fn each_port_is_its_own(host: &Host, slots: &[u32]) {
    for slot in slots {
        let seen = host.seen(&host.id("web", *slot)).await.expect("there");
        let [published] = &seen.ports[..] else {
            panic!("one port: {:?}", seen.ports)
        };
        let port = published.host_port.expect("on record").first;
        for _ in 0..6 {
            let answer = fetch(port).await.expect("answered");
            assert_eq!(answer, format!("t-web-{slot}"), "port {port}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_told_before_anything_starts() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:8082").expect("free");
    let spec = web(image.clone(), "x").publish(Published::tcp(8082, 80));
    let service = host.desired("web", spec.clone()).await;
    let action = Action::EnsureService { service };
    let error = host
        .apply(action.clone())
        .await
        .expect_err("the port is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}");
    drop(taken);
    host.apply(action).await.expect("declared");
    let other = host
        .desired("other", web(image, "y").publish(Published::tcp(8082, 81)))
        .await;
    let error = host
        .apply(Action::EnsureService { service: other })
        .await
        .expect_err("published");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}");
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_keep_their_data_and_secrets_are_files() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let data: VolumeName = "data".parse().expect("a name");
    let volume = Action::EnsureVolume {
        name: data.clone(),
        spec: Volume::default(),
    };
    assert_eq!(
        host.apply(volume.clone()).await.expect("made"),
        Applied::Changed
    );
    assert_eq!(host.apply(volume).await.expect("there"), Applied::Unchanged);
    let key: BlobName = "key".parse().expect("a name");
    let id = BlobId {
        kind: BlobKind::Secret,
        name: key.clone(),
    };
    let content = SecretBytes::new(*b"hunter2");
    host.apply(Action::EnsureBlob { id, content })
        .await
        .expect("stored");
    let mut spec = Service::new(image).mount(Mount::volume(data.clone(), "/data"));
    spec.secrets.push(BlobGrant::new(BlobKind::Secret, key));
    let id = host.run("a", spec).await;
    let line = "echo kept > /data/file; cat /run/secrets/key; stat -c ' %u %a' /data/file";
    let (code, text) = host.exec(&id, &["sh", "-c", line]).await;
    assert_eq!((code, text.as_str()), (0, "hunter2 0 644"));
    let (code, _) = host
        .exec(&id, &["sh", "-c", "echo x > /run/secrets/key"])
        .await;
    assert_ne!(code, 0, "a secret cannot be written");
    let error = host
        .apply(Action::RemoveVolume { name: data })
        .await
        .expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::WrongPhase);
    host.apply(Action::RemoveReplica {
        replica: id.clone(),
    })
    .await
    .expect("removed");
    let image = "test/busybox:1".parse().expect("a reference");
    let again = Service::new(image).mount(Mount::volume("data".parse().expect("a name"), "/data"));
    let again = host.desired("a", again).await;
    host.start(&again, 1).await.expect("started");
    let (_, text) = host.exec(&id, &["cat", "/data/file"]).await;
    assert_eq!(text, "kept");
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_and_health_moves_the_endpoint() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let check = Health::new(HealthTest::Shell("[ -e /tmp/up ]".to_owned()))
        .interval(Duration::from_millis(50))
        .retries(1);
    let spec = Service::new(image)
        .resources(Resources {
            cpu: Some(MilliCpu(500)),
            memory: Some(Bytes(32 << 20)),
            pids: Some(50),
            ..Resources::default()
        })
        .health(check);
    let id = host.run("a", spec).await;
    host.until(&id, |seen| seen.health == HealthState::Unhealthy)
        .await;
    assert!(!host.seen(&id).await.expect("there").in_discovery);
    host.exec(&id, &["touch", "/tmp/up"]).await;
    host.until(&id, |seen| {
        seen.health == HealthState::Healthy && seen.in_discovery
    })
    .await;
    // Four times the limit of processes: the replica runs out of them, not the host.
    let fork = "i=0; while [ $i -lt 200 ]; do sleep 5 & i=$((i+1)); done; echo $i";
    let (_, text) = host.exec(&id, &["sh", "-c", fork]).await;
    assert!(text.contains("can't fork"), "{text}");
    host.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_groups_and_bounds_of_the_log_are_what_the_service_says() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let line =
        "i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); done; echo end; sleep 1000";
    let mut spec = Service::new(image).command(["sh", "-c", line]);
    spec.resources.cpu_shares = Some(512);
    spec.security.groups = vec!["more".to_owned(), "77".to_owned()];
    spec.log.max_size = Some(Bytes(16 << 10));
    spec.log.max_files = Some(2);
    let id = host.run("a", spec).await;
    let groups = |text: &str| {
        text.split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (_, text) = host.exec(&id, &["grep", "Groups", "/proc/1/status"]).await;
    assert_eq!(groups(&text), ["0", "77", "2000"]);
    let (_, text) = host
        .exec_as(&id, "ann", &["grep", "Groups", "/proc/self/status"])
        .await;
    assert_eq!(groups(&text), ["77", "1000", "2000"]);
    let mut weights = Vec::new();
    weights_below(Path::new("/sys/fs/cgroup"), &mut weights);
    assert!(
        weights.iter().any(|one| one == "512" || one == "20"),
        "{weights:?}"
    );
    // The last word is there, and of what came before only what two files hold.
    host.said(&id, "end").await;
    let logs = host.backend.logs().expect("has logs");
    let lines = logs
        .logs(&Selector::replica(&id), &LogOptions::new())
        .await
        .expect("read");
    let kept = lines.collect::<Vec<_>>().await.len();
    assert!((200..2000).contains(&kept), "{kept} of 4001 lines are kept");
    host.down().await;
}

/// What the kernel's own files say, wherever the controller is, of the groups of replicas.
fn weights_below(directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            weights_below(&path, found);
        } else if ["cpu.shares", "cpu.weight"]
            .iter()
            .any(|name| path.ends_with(name))
            && directory.to_string_lossy().contains("unmoor")
        {
            // A group may go while it is looked at.
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            found.push(text.trim().to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_and_the_end_says_why() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let line = "exec dd if=/dev/zero of=/dev/shm/x bs=1M count=60";
    let limits = Resources {
        memory: Some(Bytes(32 << 20)),
        ..Resources::default()
    };
    let id = host
        .run(
            "a",
            Service::new(image)
                .command(["sh", "-c", line])
                .resources(limits),
        )
        .await;
    host.until(&id, |seen| seen.phase == Phase::Failed).await;
    let exit = host.seen(&id).await.expect("there").exit.expect("ended");
    assert_eq!((exit.code, exit.out_of_memory), (137, true));
    host.down().await;
}
