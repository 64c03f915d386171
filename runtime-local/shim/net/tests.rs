//! Tests with real namespaces: each fake replica is a thread in a network namespace of its own.

mod speak;
pub(crate) mod world;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::wire::zone::{Link, Mode};
use world::{NO_INOTIFY, Replica, World, ask, ask_tcp};

pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What a service on port 80 says.
fn who(address: Ipv4Addr) -> std::io::Result<String> {
    who_at(SocketAddr::from((address, 80)))
}

/// What a service says.
pub(crate) fn who_at(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn callers(replica: &Replica, address: Ipv4Addr, times: usize) -> Vec<String> {
    let calls = move || {
        (0..times)
            .map(|_| who(address).unwrap())
            .collect::<Vec<_>>()
    };
    let mut seen = replica.inside(calls);
    seen.sort();
    seen.dedup();
    seen
}

#[test]
fn a_service_has_one_address_that_follows_its_ready_replicas() {
    let Some(world) = World::new("vip") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    let one = world.replica("web", 1, 11);
    let two = world.replica("web", 2, 12);
    let client = world.replica("client", 1, 10);
    one.serve_tcp();
    two.serve_tcp();

    // Nobody is ready: refused, at once.
    let started = Instant::now();
    let refused = client.inside(move || who(vip).unwrap_err().kind());
    assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    assert!(started.elapsed() < Duration::from_millis(500));

    one.set_ready(true);
    client.sees(vip, &["web-1"]);
    two.set_ready(true);
    client.sees(vip, &["web-1", "web-2"]);
    // The target sees who really calls.
    assert_eq!(
        callers(&client, vip, 6),
        ["web-1 10.77.0.10", "web-2 10.77.0.10"]
    );
    // A replica reaches its own service, itself included.
    one.sees(vip, &["web-1", "web-2"]);
    assert_eq!(
        callers(&one, vip, 6),
        ["web-1 10.77.0.11", "web-2 10.77.0.11"]
    );

    one.set_ready(false);
    client.sees(vip, &["web-2"]);
    two.set_ready(false);
    client.sees(vip, &[]);
}

#[test]
fn open_connections_outlive_their_endpoint() {
    let Some(world) = World::new("drain") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    let one = world.replica("web", 1, 11);
    let client = world.replica("client", 1, 10);
    one.echo_tcp();
    one.set_ready(true);
    client.connects(vip, 81);
    let mut stream = client.inside(move || TcpStream::connect((vip, 81)).unwrap());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut echo = |text: &[u8; 4]| {
        stream.write_all(text).unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, text);
    };
    echo(b"ping");
    one.set_ready(false);
    client.sees(vip, &[]);
    echo(b"pong");
}

#[test]
fn a_refusal_by_one_that_has_just_died_is_tried_again() {
    let Some(world) = World::new("tried") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    let one = world.replica("web", 1, 11);
    let two = world.replica("web", 2, 12);
    let client = world.replica("client", 1, 10);
    // Every map still leads to the first, where nobody listens any more.
    two.serve_tcp();
    one.set_ready(true);
    two.set_ready(true);
    let deadline = Instant::now() + PATIENCE;
    let mut late = 0;
    while late < 2 {
        let (answer, took) = client.inside(move || {
            let asked = Instant::now();
            (who(vip), asked.elapsed())
        });
        // Before the map knows both, nobody may be there, or the first alone.
        match answer {
            Ok(text) => {
                assert_eq!(text, "web-2 10.77.0.10");
                late += usize::from(took > Duration::from_millis(500));
            }
            Err(error) => {
                assert_eq!(late, 0, "{error}");
                assert!(Instant::now() < deadline, "{error}");
            }
        }
    }
    // Nobody at all: that is told, though not at once. At its own address it is.
    two.set_ready(false);
    client.sees(vip, &[]);
    let refused = |address: Ipv4Addr| {
        client.inside(move || {
            let asked = Instant::now();
            (who(address).unwrap_err().kind(), asked.elapsed())
        })
    };
    let (kind, took) = refused(vip);
    assert_eq!(kind, std::io::ErrorKind::ConnectionRefused);
    assert!(took > Duration::from_millis(500), "{took:?}");
    let (kind, took) = refused(world.address(11));
    assert_eq!(kind, std::io::ErrorKind::ConnectionRefused);
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn nobody_is_refused_while_replicas_come_and_go() {
    let Some(world) = World::new("moves") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    let one = world.replica("web", 1, 11);
    let two = world.replica("web", 2, 12);
    let client = world.replica("client", 1, 10);
    one.serve_tcp();
    two.serve_tcp();
    one.set_ready(true);
    client.sees(vip, &["web-1"]);
    // The address moves between the map of only targets and that of several, forth and back.
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..60 {
                two.set_ready(true);
                two.set_ready(false);
            }
        });
        let calls = move || (0..2000).filter_map(move |_| who(vip).err());
        client.inside(move || calls().map(|error| error.to_string()).collect::<Vec<_>>())
    });
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn nothing_of_a_replica_has_an_ipv6_address_but_its_loopback() {
    let addresses = || {
        let text = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
        let names = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let Some(world) = World::new("six") else {
        return;
    };
    let one = world.replica("web", 1, 11);
    // It is up on both sides: whatever address there would be is there, or being tried out.
    one.serve_tcp();
    one.set_ready(true);
    let client = world.replica("client", 1, 10);
    assert_eq!(callers(&client, world.address(11), 1), ["web-1 10.77.0.10"]);
    assert!(one.inside(addresses).iter().all(|name| name == "lo"));
    let ours = world.on_host(addresses);
    assert!(!ours.iter().any(|name| name.starts_with("uv-")), "{ours:?}");
    let setting = |path: &'static str| {
        one.inside(move || std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{path}")))
    };
    if let Ok(off) = setting("eth0/disable_ipv6") {
        assert_eq!(off.trim(), "1");
        assert_eq!(setting("default/disable_ipv6").unwrap().trim(), "0");
        assert_eq!(setting("eth0/accept_ra").unwrap().trim(), "0");
    }
}

#[test]
fn datagrams_reach_the_replicas_too() {
    let Some(world) = World::new("udp") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    let one = world.replica("web", 1, 11);
    let client = world.replica("client", 1, 10);
    one.serve_udp();
    one.serve_tcp();
    one.set_ready(true);
    client.sees(vip, &["web-1"]);
    let (answer, from) = client.inside(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"hello", (vip, 82)).unwrap();
        let mut buffer = [0; 64];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        (buffer[..len].to_vec(), from.ip())
    });
    assert_eq!(
        (answer.as_slice(), from),
        (&b"web-1 10.77.0.10"[..], vip.into())
    );
    // Nobody is ready, or there never was such a service: refused at once, as a host does.
    one.set_ready(false);
    client.sees(vip, &[]);
    for address in [vip, world.address(230)] {
        let started = Instant::now();
        let kind = client.inside(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.connect((address, 82)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(socket.send(b"hello").unwrap(), 5, "sending is permitted");
            socket.recv(&mut [0; 8]).unwrap_err().kind()
        });
        assert_eq!(kind, std::io::ErrorKind::ConnectionRefused, "{address}");
        assert!(started.elapsed() < Duration::from_millis(500));
    }
}

#[test]
fn a_refused_socket_is_heard_once_somebody_is_ready() {
    let Some(world) = World::new("refused") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    let one = world.replica("web", 1, 11);
    let client = world.replica("client", 1, 10);
    one.serve_udp();
    one.serve_tcp();
    let socket = client.inside(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect((vip, 82)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(b"hello").unwrap();
        let refused = socket.recv(&mut [0; 8]).unwrap_err().kind();
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
        socket
    });
    one.set_ready(true);
    client.sees(vip, &["web-1"]);
    // Its flow follows the address map by a moment; left alone it would stay where it was, because
    // it is used.
    let started = Instant::now();
    let mut answer = [0; 64];
    let len = loop {
        match socket.send(b"hello").and_then(|_| socket.recv(&mut answer)) {
            Err(error) if started.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => {}
            Ok(len) => break len,
        }
    };
    assert_eq!(&answer[..len], b"web-1 10.77.0.10");
}

#[test]
fn datagrams_move_when_their_target_is_long_gone() {
    let Some(world) = World::new("flows") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    let (one, two) = (world.replica("web", 1, 11), world.replica("web", 2, 12));
    let client = world.replica("client", 1, 10);
    for replica in [&one, &two] {
        replica.serve_udp();
        replica.serve_tcp();
    }
    one.set_ready(true);
    client.sees(vip, &["web-1"]);
    let socket = client.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = move || {
        socket.send_to(b"hello", (vip, 82)).unwrap();
        let mut buffer = [0; 64];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len])
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(ask(), "web-1");
    one.set_ready(false);
    two.set_ready(true);
    client.sees(vip, &["web-2"]);
    // It may be draining: the flow stays for a while, and not for ever.
    assert_eq!(ask(), "web-1");
    let started = Instant::now();
    while ask() == "web-1" {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "still with a target that left"
        );
        std::thread::yield_now();
    }
}

#[test]
fn names_are_answered_inside() {
    let Some(world) = World::new("names") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    world.service("raw", 201, Mode::Replicas);
    let one = world.replica("web", 1, 11);
    let raw = world.replica("raw", 1, 12);
    let client = world.replica("client", 1, 10);
    assert_eq!(ask(&client, "web"), [vip]);
    assert_eq!(ask_tcp(&client, "WEB"), [vip]);
    assert!(ask(&client, "raw").is_empty());
    one.set_ready(true);
    raw.set_ready(true);
    client.resolves("raw", &[world.address(12)]);
    client.resolves("tasks.web", &[world.address(11)]);
    client.resolves("web-1", &[world.address(11)]);
    client.resolves("web.world", &[vip]);
    raw.set_ready(false);
    client.resolves("raw", &[]);
}

#[test]
fn links_are_added_pointed_elsewhere_and_removed_while_running() {
    let Some(world) = World::new("links") else {
        return;
    };
    let _ = world.service("one", 200, Mode::Stable);
    let _ = world.service("two", 201, Mode::Stable);
    let (one, two) = (world.replica("one", 1, 11), world.replica("two", 1, 12));
    let client = world.replica("client", 1, 10);
    for replica in [&one, &two] {
        replica.serve_tcp();
        replica.set_ready(true);
    }
    let vip = world.address(220);
    let link = |service: &str| Link {
        alias: "db".into(),
        vip: Some(vip),
        network: "n-links".into(),
        service: service.into(),
    };
    let outside = [Ipv4Addr::new(192, 0, 2, 7)];
    assert_eq!(ask(&client, "db"), outside);
    client.link(&[link("one")]);
    client.resolves("db", &[vip]);
    client.sees(vip, &["one-1"]);
    // The address stays, what it leads to does not.
    client.link(&[link("two")]);
    client.sees(vip, &["two-1"]);
    assert_eq!(ask(&client, "db"), [vip]);
    client.link(&[]);
    client.resolves("db", &outside);
    client.sees(vip, &[]);
}

#[test]
fn a_shim_without_inotify_follows_changes_too() {
    let Some(world) = World::new("pipes") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    let one = world.replica("web", 1, 11);
    let client = world.replica(NO_INOTIFY, 1, 10);
    one.serve_tcp();
    one.set_ready(true);
    client.sees(vip, &["web-1"]);
    one.set_ready(false);
    client.sees(vip, &[]);
    one.set_ready(true);
    let link = Link {
        alias: "db".into(),
        vip: Some(world.address(220)),
        network: "n-pipes".into(),
        service: "web".into(),
    };
    client.link(&[link]);
    client.sees(world.address(220), &["web-1"]);
}

#[test]
fn a_change_arrives_within_ten_milliseconds() {
    if std::env::var_os("UNMOOR_TEST_EMULATED").is_some() {
        return unmoor_tools::skipped("an emulated processor says nothing about time");
    }
    let Some(world) = World::new("speed") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    let one = world.replica("web", 1, 11);
    let client = world.replica("client", 1, 10);
    one.serve_tcp();
    let mut times = Vec::new();
    for round in 0..20 {
        let started = Instant::now();
        one.set_ready(round % 2 == 0);
        client.sees(vip, if round % 2 == 0 { &["web-1"] } else { &[] });
        times.push(started.elapsed());
    }
    times.sort();
    println!(
        "change seen by another replica: median {:?}, worst {:?}",
        times[10], times[19]
    );
    assert!(times[10] < Duration::from_millis(10), "{times:?}");
}

#[test]
fn unknown_names_go_to_the_hosts_resolvers() {
    let Some(world) = World::new("forward") else {
        return;
    };
    let client = world.replica("client", 1, 10);
    // The first server is silent; the second one answers 192.0.2.7 to everything.
    assert_eq!(ask(&client, "example.org"), [Ipv4Addr::new(192, 0, 2, 7)]);
    assert_eq!(
        ask_tcp(&client, "example.org"),
        [Ipv4Addr::new(192, 0, 2, 7)]
    );
    assert!(world.upstream_saw() >= 2);
}

#[test]
fn an_internal_network_leaks_no_names() {
    let Some(world) = World::internal("inner") else {
        return;
    };
    let client = world.replica("client", 1, 10);
    assert!(ask(&client, "secret.example.org").is_empty());
    assert!(ask_tcp(&client, "secret.example.org").is_empty());
    assert_eq!(world.upstream_saw(), 0);
}

#[test]
fn a_flushed_firewall_is_put_back() {
    let Some(world) = World::new("flush") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    let one = world.replica("web", 1, 11);
    let client = world.replica("client", 1, 10);
    one.serve_tcp();
    one.set_ready(true);
    client.sees(vip, &["web-1"]);
    client.flush_rules();
    client.reload();
    client.sees(vip, &["web-1"]);
    // A change finds out by itself.
    client.flush_rules();
    one.set_ready(false);
    client.sees(vip, &[]);
}

#[test]
fn a_replica_without_a_network_has_loopback() {
    let Some(world) = World::new("none") else {
        return;
    };
    world.lonely();
}
