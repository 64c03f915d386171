//! Tests of requests, down to the byte.

use super::*;

const TOKEN: &str = "0123456789abcdef";

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.11\r\nAuthorization: Bearer {TOKEN}\r\n\r\n")
}

fn heard(text: &str) -> Heard {
    hear(text.as_bytes(), TOKEN)
}

fn refused(text: &str) -> Option<Status> {
    match heard(text) {
        Heard::Refused(status) => Some(status),
        _ => None,
    }
}

fn asked(name: Option<&str>, after: Option<u64>, wait: u64) -> Heard {
    let name = name.map(str::to_owned);
    Heard::Ask(Ask { name, after, wait })
}

#[test]
fn questions_are_read() {
    for (target, expected) in [
        ("/v1/endpoints", asked(None, None, 30)),
        ("/v1/endpoints/", asked(None, None, 30)),
        ("/v1/endpoints/web", asked(Some("web"), None, 30)),
        ("/v1/endpoints/My_db.v1", asked(Some("My_db.v1"), None, 30)),
        ("/v1/endpoints?after=7", asked(None, Some(7), 30)),
        (
            "/v1/endpoints/a?after=0&wait=1",
            asked(Some("a"), Some(0), 1),
        ),
        ("/v1/endpoints?wait=9999&after=1", asked(None, Some(1), 60)),
    ] {
        assert_eq!(heard(&get(target)), expected, "{target}");
    }
    let plain = get("/v1/endpoints")
        .replace("HTTP/1.1", "HTTP/1.0")
        .replace("Host: 127.0.0.11\r\n", "");
    assert_eq!(heard(&plain), asked(None, None, 30));
}

#[test]
fn every_part_of_a_question_is_waited_for() {
    let whole = get("/v1/endpoints/web?after=1");
    for len in 0..whole.len() {
        assert_eq!(heard(&whole[..len]), Heard::Part, "cut at {len}");
    }
}

#[test]
fn what_is_not_one_plain_question_is_refused() {
    let good = get("/v1/endpoints");
    let with = |line: &str| good.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
    for (text, status) in [
        (good.replace(TOKEN, "0123456789abcdeF"), Status::Unknown),
        (good.replace(TOKEN, "0123456789abcde"), Status::Unknown),
        (good.replace(TOKEN, "0123456789abcdef0"), Status::Unknown),
        (good.replace("Bearer", "Basic"), Status::Unknown),
        (
            good.replace("Authorization", "X-Authorization"),
            Status::Unknown,
        ),
        // Without the token nothing is told about paths and methods.
        (get("/x").replace(TOKEN, "x"), Status::Unknown),
        (
            good.replace("GET", "POST").replace(TOKEN, "x"),
            Status::Unknown,
        ),
        (good.replace("GET", "POST"), Status::Method),
        (good.replace("GET", "get"), Status::Method),
        (good.replace("HTTP/1.1", "HTTP/2"), Status::Version),
        (good.replace("HTTP/1.1", "HTTP/1.1 "), Status::Bad),
        (good.replace("GET ", "GET  "), Status::Bad),
        (good.replace("Host: 127.0.0.11\r\n", ""), Status::Bad),
        (with("Host: other"), Status::Bad),
        (with("Authorization: Bearer x"), Status::Bad),
        (with("Content-Length: 5"), Status::Bad),
        (with("Content-Length: +0"), Status::Bad),
        (with("Transfer-Encoding: chunked"), Status::Bad),
        (with(" folded: x"), Status::Bad),
        (with("no colon"), Status::Bad),
        (with("space : x"), Status::Bad),
        (with(": x"), Status::Bad),
        (with("a: \u{1}"), Status::Bad),
        (with("a: x\nHost: y"), Status::Bad),
        (with("a: \u{e9}"), Status::Bad),
        (good.clone() + "GET", Status::Bad),
        (good.clone() + "\r\n", Status::Bad),
        (with(&"a: b\r\n".repeat(40)[..238]), Status::TooLong),
        (
            with(&format!("a: {}", "x".repeat(MAX_HEAD))),
            Status::TooLong,
        ),
        ("x".repeat(MAX_HEAD), Status::TooLong),
        (get("/"), Status::NotFound),
        (get("/v1/endpointsx"), Status::NotFound),
        (get("/v2/endpoints"), Status::NotFound),
        (get("/v1/endpoints/../x"), Status::NotFound),
        (get("/v1/endpoints/a/b"), Status::NotFound),
        (get("/v1/endpoints/%61"), Status::NotFound),
        (get("http://x/v1/endpoints"), Status::NotFound),
        (get("/v1/endpoints?after=-1"), Status::Bad),
        (get("/v1/endpoints?after=99999999999999999999"), Status::Bad),
        (get("/v1/endpoints?after="), Status::Bad),
        (get("/v1/endpoints?after=1&after=2"), Status::Bad),
        (get("/v1/endpoints?wait=1&wait=2"), Status::Bad),
        (get("/v1/endpoints?x=1"), Status::Bad),
    ] {
        assert_eq!(refused(&text), Some(status), "{text:?}");
    }
}

#[test]
fn no_damage_makes_a_question_of_another_token() {
    // A request without the token, and every single byte of it changed in some ways, is never heard.
    let closed = get("/v1/endpoints").replace(TOKEN, "fedcba9876543210");
    for at in 0..closed.len() {
        for change in [0, 9, 10, 13, 32, 58, 97, 127, 128, 255] {
            let mut bytes = closed.clone().into_bytes();
            bytes[at] = change;
            assert!(
                !matches!(hear(&bytes, TOKEN), Heard::Ask(_)),
                "{at} {change}"
            );
        }
    }
    // No token opens what has none to know.
    for text in ["", " ", "  "] {
        let open = get("/v1/endpoints").replace(TOKEN, text);
        assert!(
            !matches!(hear(open.as_bytes(), ""), Heard::Ask(_)),
            "{text:?}"
        );
    }
}

#[test]
fn responses_are_whole_and_say_how_long_they_are() {
    for status in [Status::Bad, Status::Unknown, Status::NotFound, Status::Busy] {
        let text = String::from_utf8(refusal(status)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        assert!(
            body.starts_with("{\"kind\":\"") && body.ends_with("\"}\n"),
            "{body}"
        );
    }
    let unchanged = String::from_utf8(refusal(Status::Unchanged)).unwrap();
    assert!(unchanged.starts_with("HTTP/1.1 304 ") && unchanged.ends_with("\r\n\r\n"));
    assert!(!unchanged.contains("Content-Length"));
}
