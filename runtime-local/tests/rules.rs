//! The host's side of networks: rules and bridges are put back when others have removed them and left
//! alone when nobody has; a replica whose interface is gone is seen.
//!
//! Each test has a network namespace of its own, because it changes the rules of the whole host.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use unmoor_core::ErrorKind;
use unmoor_core::backend::{Action, Phase};
use unmoor_core::spec::{PortRange, Published, Service};

use support::Host;

const INSIDE: &str = "UNMOOR_TEST_OWN_HOST";

/// Runs this test again as on a host of its own; false in there, where it is to go on.
fn elsewhere(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let program = std::env::current_exe().expect("this program");
    let status = Command::new("unshare")
        .args(["-n", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("run");
    assert!(status.success(), "{status}");
    true
}

/// How often the rules of this network namespace have been changed (`NFT_MSG_GETGEN`).
fn generation() -> u32 {
    let family = AddressFamily::NETLINK;
    let socket = socket_with(
        family,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )
    .expect("open");
    let mut question = Vec::new();
    question.extend(20_u32.to_ne_bytes());
    question.extend(((10_u16 << 8) | 16).to_ne_bytes());
    question.extend(1_u16.to_ne_bytes());
    question.extend([0; 12]);
    send(socket.as_fd(), &question, SendFlags::empty()).expect("ask");
    let mut answer = [0; 4096];
    let (len, _) = recv(socket.as_fd(), &mut answer[..], RecvFlags::empty()).expect("hear");
    assert!(len >= 28, "{:?}", &answer[..len]);
    u32::from_be_bytes(answer[24..28].try_into().expect("four bytes"))
}

fn get(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Waits until the server has begun.
async fn answers(port: u16) {
    let served = async {
        while !get(port).is_ok_and(|answer| answer.contains("served")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(20);
    let timed = tokio::time::timeout(limit, served).await;
    assert!(timed.is_ok(), "port {port}: {:?}", get(port));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_rules_come_back_and_right_ones_are_left_alone() {
    runnable!();
    if elsewhere("flushed_rules_come_back_and_right_ones_are_left_alone") {
        return;
    }
    let mut host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let own = Published {
        host_port: Some(PortRange {
            first: 8090,
            last: 8099,
        }),
        ..Published::tcp(1, 80)
    };
    let serve = "echo served > /index.html; exec httpd -f -p 80 -h /";
    let spec = Service::new(image)
        .command(["sh", "-c", serve])
        .publish(Published::tcp(8080, 80))
        .publish(own);
    host.run("web", spec).await;
    answers(8080).await;
    answers(8090).await;

    let flush = Command::new("nft").args(["flush", "ruleset"]).status();
    assert!(flush.expect("run").success());
    assert!(get(8080).is_err() && get(8090).is_err());
    host.reconnect().await;
    assert!(get(8080).expect("again").contains("served"));
    assert!(get(8090).expect("the replica's own").contains("served"));

    // The first look after the last change may change them once more, and notes what it found.
    host.reconnect().await;
    let before = generation();
    host.reconnect().await;
    assert_eq!(generation(), before, "nothing was to be put right");
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_ports_than_one_change_carries_are_refused_before_anything_is_made() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let ports = (20_000..=36_384_u16).map(|port| Published::tcp(port, port));
    let mut spec = Service::new(image);
    for port in ports {
        spec = spec.publish(port);
    }
    let service = host.desired("web", spec).await;
    let declare = Action::EnsureService { service };
    let error = host.apply(declare).await.expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.chain().to_string().contains("16385"),
        "{}",
        error.chain()
    );
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_comes_back_with_everyone_in_it() {
    runnable!();
    if elsewhere("a_bridge_comes_back_with_everyone_in_it") {
        return;
    }
    let mut host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let serve = "echo served > /index.html; exec httpd -f -p 80 -h /";
    let spec = Service::new(image)
        .command(["sh", "-c", serve])
        .publish(Published::tcp(8080, 80));
    let id = host.run("web", spec).await;
    answers(8080).await;
    let started = host.seen(&id).await.expect("there").started;
    let remove = "ip -o link show type bridge | grep -o 'um-[a-z0-9]*' | xargs -n1 ip link del";
    let removed = Command::new("sh").args(["-c", remove]).status();
    assert!(removed.expect("run").success());
    host.reconnect().await;
    assert!(get(8080).expect("again").contains("served"));
    let seen = host.seen(&id).await.expect("there");
    assert_eq!((seen.phase, seen.started), (Phase::Running, started));
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_interface_is_gone_has_failed_and_a_start_mends_it() {
    runnable!();
    if elsewhere("a_replica_whose_interface_is_gone_has_failed_and_a_start_mends_it") {
        return;
    }
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let serve = "echo served > /index.html; exec httpd -f -p 80 -h /";
    let mut spec = Service::new(image)
        .command(["sh", "-c", serve])
        .publish(Published::tcp(8080, 80));
    spec.stop.grace = Some(Duration::ZERO);
    let service = host.declare("web", spec).await;
    host.start(&service, 1).await.expect("started");
    let id = host.id("web", 1);
    answers(8080).await;
    let remove = "ip -o link | grep -o 'uv-[a-z0-9]*' | sort -u | xargs -n1 ip link del";
    let removed = Command::new("sh").args(["-c", remove]).status();
    assert!(removed.expect("run").success());
    let seen = host.seen(&id).await.expect("there");
    assert_eq!(seen.phase, Phase::Failed, "{seen:?}");
    assert!(!seen.in_discovery);
    let why = seen.message.expect("it says why");
    assert!(why.contains("network interface was removed"), "{why}");
    host.start(&service, 1).await.expect("started again");
    host.until(&id, |seen| seen.phase == Phase::Running).await;
    answers(8080).await;
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}
