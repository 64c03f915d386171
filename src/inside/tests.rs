//! Tests against a server of canned answers.

use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;

/// Answers one connection after the other with these texts; returns what was asked.
fn server(answers: Vec<String>) -> (Inside, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    let serve = move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("asked");
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a whole request");
                bytes.extend(byte);
            }
            asked.push(String::from_utf8(bytes).expect("text"));
            stream.write_all(answer.as_bytes()).expect("answered");
        }
        asked
    };
    let handle = std::thread::spawn(serve);
    let url = format!("http://{address}/v1");
    (inside(&url, "secret").expect("usable"), handle)
}

fn inside(url: &str, token: &str) -> Result<Inside> {
    Inside::of(|name| match name {
        URL => Some(url.to_owned()),
        TOKEN => Some(token.to_owned()),
        _ => None,
    })
}

fn response(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn list(hosts: &[u8], cursor: u64) -> String {
    let one = |host: &u8| {
        format!(
            r#"{{"stack":"shop","service":"web","replica":{{"stack":"shop","service":"web","slot":{host}}},
            "address":"10.0.0.{host}","port":80,"protocol":"tcp","scope":{{"network":"default"}},
            "health":"ready","weight":1,"zone":null,"backend":"local"}}"#
        )
    };
    let list = hosts.iter().map(one).collect::<Vec<_>>().join(",");
    let body = format!(r#"{{"event":"resync","endpoints":[{list}],"cursor":{cursor}}}"#);
    response("200 OK", &body)
}

#[test]
fn it_asks_with_its_token_and_follows_what_it_is_told() {
    let answers = vec![
        list(&[1], 7),
        response("304 Not Modified", ""),
        list(&[1, 2], 8),
        list(&[2], 9),
    ];
    let (inside, server) = server(answers);
    let mut watch = inside.watch(Some("web"));
    let mut next = || watch.next().expect("endless").expect("an event");
    assert!(matches!(next(), EndpointEvent::Resync { endpoints, .. } if endpoints.len() == 1));
    let added = next();
    assert!(matches!(&added, EndpointEvent::Added { endpoint, .. }
        if endpoint.replica.as_ref().is_some_and(|id| id.slot == 2)));
    assert!(matches!(next(), EndpointEvent::Removed { endpoint, .. }
        if endpoint.replica.as_ref().is_some_and(|id| id.slot == 1)));
    let asked = server.join().expect("served");
    assert!(
        asked[0].starts_with("GET /v1/endpoints/web HTTP/1.1\r\n"),
        "{}",
        asked[0]
    );
    for (asked, after) in asked[1..].iter().zip([7, 7, 8]) {
        let first = format!("GET /v1/endpoints/web?after={after}&wait=30 HTTP/1.1\r\n");
        assert!(asked.starts_with(&first), "{asked}");
        assert!(asked.contains("\r\nAuthorization: Bearer secret\r\n"));
    }
}

#[test]
fn a_watch_goes_on_from_where_another_one_was_left() {
    let (first, server_of_first) = server(vec![list(&[1, 2], 7)]);
    let event = first.watch(None).next().expect("endless").expect("a list");
    server_of_first.join().expect("served");
    let (second, server_of_second) = server(vec![list(&[1, 2], 50), list(&[1], 51)]);
    let mut watch = second.watch_after(None, Some(event.cursor()));
    let event = watch.next().expect("endless").expect("an event");
    assert!(matches!(event, EndpointEvent::Removed { .. }), "{event:?}");
    server_of_second.join().expect("served");
}

#[test]
fn what_is_refused_or_damaged_is_an_error_of_its_kind() {
    let good = list(&[1], 7);
    let refused = |status: &str| response(status, r#"{"kind":"x","message":"why it is so"}"#);
    for (answer, kind) in [
        (refused("401 Unauthorized"), ErrorKind::Unauthenticated),
        (refused("404 Not Found"), ErrorKind::NotFound),
        (refused("503 Service Unavailable"), ErrorKind::Throttled),
        (refused("500 Oh"), ErrorKind::Internal),
        (good[..good.len() - 1].to_owned(), ErrorKind::Unavailable),
        (good[..20].to_owned(), ErrorKind::Corrupt),
        (String::new(), ErrorKind::Corrupt),
        (response("200 OK", "{}"), ErrorKind::Corrupt),
        (
            response("200 OK", r#"{"event":"resync"}"#),
            ErrorKind::Corrupt,
        ),
        (response("304 Not Modified", ""), ErrorKind::Corrupt),
    ] {
        let (inside, server) = server(vec![answer.clone()]);
        let error = inside.discover().expect_err("refused");
        assert_eq!(error.kind(), kind, "{answer}: {error}");
        server.join().expect("served");
    }
    let nobody = inside("http://127.0.0.1:1/v1", "x").expect("usable");
    assert_eq!(
        nobody.discover().expect_err("refused").kind(),
        ErrorKind::Unavailable
    );
    let error = nobody.discover_name("a/../b").expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
}

#[test]
fn variables_that_are_absent_or_strange_are_told_and_the_token_never_is() {
    let none = Inside::of(|_| None).expect_err("refused");
    assert_eq!(none.kind(), ErrorKind::Unsupported);
    assert!(none.to_string().contains(URL), "{none}");
    for (url, token) in [
        ("https://127.0.0.11/v1", "x"),
        ("http://", "x"),
        ("http:///v1", "x"),
        ("http://a@b/v1", "x"),
        ("http://a/v1?x", "x"),
        ("http://a b/v1", "x"),
        ("http://a/v1", "x\r\ny"),
    ] {
        let error = inside(url, token).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{url}");
    }
    for (url, authority) in [
        ("http://127.0.0.11/v1", "127.0.0.11:80"),
        ("http://[::1]/v1", "[::1]:80"),
        ("http://[::1]:81/v1", "[::1]:81"),
        ("http://a:81", "a:81"),
    ] {
        let inside = inside(url, "secret").expect("usable");
        assert_eq!(inside.authority, authority);
        assert!(!format!("{inside:?}").contains("secret"));
    }
}
