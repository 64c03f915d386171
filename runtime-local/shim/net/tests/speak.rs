//! Requests of a replica to its shim, as its program makes them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::world::{Replica, TOKEN, World};
use crate::wire::zone::{Link, Mode};

fn open() -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::new(127, 0, 0, 11), 80)).unwrap();
    stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
    stream
}

fn request(target: &str, token: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Status and body of an answer; `None` if the connection was closed without one.
fn answer(mut stream: TcpStream) -> Option<(u16, String)> {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ if text.is_empty() => return None,
        _ => {}
    }
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Some((head[9..12].parse().unwrap(), body.to_owned()))
}

fn get(replica: &Replica, target: &str) -> (u16, String) {
    let text = request(target, TOKEN);
    replica.inside(move || {
        let mut stream = open();
        stream.write_all(text.as_bytes()).unwrap();
        answer(stream).unwrap()
    })
}

fn cursor(body: &str) -> String {
    let (_, rest) = body.split_once("],\"cursor\":").unwrap();
    rest.trim_end_matches(['}', '\n']).to_owned()
}

#[test]
fn a_replica_lists_its_network_and_waits_for_changes() {
    let Some(world) = World::new("list") else {
        return;
    };
    let vip = world.service("web", 200, Mode::Stable);
    let one = world.replica("web", 1, 11);
    let client = world.replica("client", 1, 10);
    let (status, body) = get(&client, "/v1/endpoints");
    assert_eq!(status, 200);
    assert!(body.contains(&format!("\"address\":\"{vip}\"")), "{body}");
    assert!(
        body.contains("\"health\":\"notready\",\"weight\":0"),
        "{body}"
    );
    assert_eq!(get(&client, "/v1/endpoints/nobody").0, 404);

    // Nothing changes: it is told so when the time is over.
    let after = format!(
        "/v1/endpoints/web?after={}",
        cursor(&get(&client, "/v1/endpoints/web").1)
    );
    let started = Instant::now();
    assert_eq!(
        get(&client, &format!("{after}&wait=1")),
        (304, String::new())
    );
    assert!(started.elapsed() >= Duration::from_millis(900));

    // Who waits hears of it, and soon.
    let text = request(&format!("{after}&wait=30"), TOKEN);
    let stream = client.inside(move || {
        let mut stream = open();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    });
    let told = std::thread::spawn(move || (answer(stream).unwrap(), Instant::now()));
    let changed = Instant::now();
    one.set_ready(true);
    let ((status, body), at) = told.join().unwrap();
    assert_eq!(status, 200);
    assert!(body.contains("\"health\":\"ready\",\"weight\":1"), "{body}");
    let took = at.duration_since(changed);
    assert!(took < Duration::from_secs(1), "{took:?}");
    println!("told after {took:?}");
    // Its own requests never leave it, whatever else it has on port 80.
    one.serve_tcp();
    assert_eq!(get(&one, "/v1/endpoints/web").0, 200);
    // A flush of its rules is put right like the names'.
    client.flush_rules();
    client.reload();
    assert_eq!(get(&client, "/v1/endpoints/web").0, 200);
    one.set_ready(false);
}

#[test]
fn a_link_is_found_by_its_alias_once_it_is_there() {
    let Some(world) = World::new("alias") else {
        return;
    };
    world.service("web", 200, Mode::Stable);
    let client = world.replica("client", 1, 10);
    assert_eq!(get(&client, "/v1/endpoints/shop").0, 404);
    client.link(&[Link {
        alias: "shop".into(),
        vip: Some(world.address(201)),
        network: "n-alias".into(),
        service: "web".into(),
    }]);
    client.resolves("shop", &[world.address(201)]);
    let (status, body) = get(&client, "/v1/endpoints/shop");
    assert_eq!(status, 200);
    assert!(body.contains("\"address\":\"10.77.0.201\""), "{body}");
}

#[test]
fn only_who_knows_the_token_is_answered_and_only_a_whole_request() {
    let Some(world) = World::new("closed") else {
        return;
    };
    world.service("web", 200, Mode::Stable);
    let client = world.replica("client", 1, 10);
    let ask = |text: String| {
        client.inside(move || {
            let mut stream = open();
            let _ = stream.write_all(text.as_bytes());
            answer(stream).map(|(status, _)| status)
        })
    };
    let good = request("/v1/endpoints", TOKEN);
    assert_eq!(ask(good.clone()), Some(200));
    assert_eq!(ask(request("/v1/endpoints", "x")), Some(401));
    assert_eq!(ask(good.replace("Bearer", "bearer")), Some(200));
    assert_eq!(ask(good.replace("GET", "PUT")), Some(405));
    assert_eq!(ask(format!("{good}{good}")), Some(400));
    assert_eq!(ask("x".repeat(5000)), Some(431));
    assert_eq!(ask("\r\n\r\n".to_owned()), Some(400));
}

#[test]
fn slow_and_many_callers_keep_nobody_out_for_long() {
    let Some(world) = World::new("slow") else {
        return;
    };
    world.service("web", 200, Mode::Stable);
    let client = world.replica("client", 1, 10);
    // One that says nothing, one that says a byte now and then, and some that wait for a change.
    let text = request("/v1/endpoints?after=1", TOKEN);
    let held = client.inside(move || {
        let mut held: Vec<_> = (0..8).map(|_| open()).collect();
        for stream in &mut held {
            stream.write_all(&text.as_bytes()[..20]).unwrap();
        }
        held
    });
    let busy = client.inside(|| answer(open()));
    assert!(matches!(busy, None | Some((503, _))), "{busy:?}");
    // Names are answered all the while.
    client.resolves("web", &[world.address(200)]);
    let started = Instant::now();
    for mut stream in held {
        let _ = stream.write_all(b"x");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "half a request was answered");
    }
    assert!(started.elapsed() < PATIENCE * 2, "{:?}", started.elapsed());
    assert_eq!(get(&client, "/v1/endpoints").0, 200);
    // Who leaves while it waits makes room at once.
    for _ in 0..20 {
        let (_, body) = get(&client, "/v1/endpoints");
        let text = request(&format!("/v1/endpoints?after={}", cursor(&body)), TOKEN);
        client.inside(move || open().write_all(text.as_bytes()).unwrap());
    }
    let room = || matches!(get(&client, "/v1/endpoints").0, 200);
    assert!(room() || room());
}
