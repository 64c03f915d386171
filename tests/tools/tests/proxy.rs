//! Each fault, seen from a client's side, with a small server behind the proxy that counts.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use unmoor_tools::proxy::{Action, FaultProxy, Running};

/// Answers every request with the number of requests so far and a fixed tail.
struct Server {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(Some(path)) = read_request(&stream) else {
                    continue;
                };
                if path == "/quit" {
                    return;
                }
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let _ = respond(&stream, &path, number);
            }
        });
        Self {
            address,
            served,
            thread: Some(thread),
        }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.write_all(b"GET /quit HTTP/1.1\r\n\r\n");
        }
        let _ = self.thread.take().expect("stopped once").join();
    }
}

fn read_request(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).map(ToOwned::to_owned);
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if header.trim().is_empty() {
            io::copy(&mut reader.take(length), &mut io::sink())?;
            return Ok(path);
        }
    }
}

fn respond(mut stream: &TcpStream, path: &str, number: usize) -> io::Result<()> {
    let body = format!("request {number}: 0123456789");
    let text = if path.starts_with("/chunked") {
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    } else {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    stream.write_all(text.as_bytes())
}

fn proxy(server: &Server, rules: &[&str]) -> Running {
    let mut proxy = FaultProxy::http(server.address.to_string()).seed(1);
    for rule in rules {
        proxy = proxy.rule(rule.parse().expect("a rule"));
    }
    proxy.start().expect("the proxy starts")
}

/// Sends one request and reads until the connection ends.
fn get(to: SocketAddr, path: &str) -> io::Result<String> {
    request(
        to,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
}

fn request(to: SocketAddr, text: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(text.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn without_rules_everything_passes() {
    let server = Server::start();
    let proxy = proxy(&server, &[]);
    for path in ["/plain", "/chunked"] {
        let answer = get(proxy.address(), path).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(": 0123456789"), "{answer}");
    }
    let log = proxy.log();
    assert_eq!(log.len(), 2);
    assert!(
        log.iter()
            .all(|event| event.action.is_none() && event.upstream == Some(200))
    );
}

#[test]
fn a_client_may_send_several_requests_on_one_connection() {
    let server = Server::start();
    let proxy = proxy(&server, &[]);
    let two = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nHost: x\r\n\
               Content-Length: 2\r\nConnection: close\r\n\r\nhi";
    let answer = request(proxy.address(), two).expect("answers");
    assert!(
        answer.contains("request 1:") && answer.contains("request 2:"),
        "{answer}"
    );
}

#[test]
fn drop_before_never_reaches_the_server() {
    let server = Server::start();
    let proxy = proxy(&server, &["GET /x 1 drop-before"]);
    let error = get(proxy.address(), "/x").expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(server.served(), 0);
    assert!(
        get(proxy.address(), "/x")
            .expect("the second passes")
            .contains("request 1:")
    );
}

#[test]
fn drop_after_is_carried_out_and_not_answered() {
    let server = Server::start();
    let proxy = proxy(&server, &["POST /x 1 drop-after"]);
    let post = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    let error = request(proxy.address(), post).expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(server.served(), 1);
    assert_eq!(proxy.log()[0].upstream, Some(200));
}

#[test]
fn a_status_is_given_as_often_as_the_rule_says() {
    let server = Server::start();
    let proxy = proxy(&server, &["* * 1..2 status=429,7"]);
    for _ in 0..2 {
        let answer = get(proxy.address(), "/x").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.contains("Retry-After: 7\r\n"), "{answer}");
    }
    assert!(
        get(proxy.address(), "/x")
            .expect("an answer")
            .starts_with("HTTP/1.1 200 ")
    );
    assert_eq!(server.served(), 1);
}

#[test]
fn truncate_ends_the_body_early() {
    let server = Server::start();
    let proxy = proxy(&server, &["* * * truncate=4"]);
    let answer = get(proxy.address(), "/plain").expect("a short answer");
    assert!(
        answer.contains("Content-Length: 21\r\n") && answer.ends_with("\r\n\r\nrequ"),
        "{answer}"
    );
    let answer = get(proxy.address(), "/chunked").expect("a short answer");
    assert!(answer.ends_with("\r\n15\r\nrequ"), "{answer}");
}

#[test]
fn corrupt_changes_the_body_the_same_way_each_run() {
    let server = Server::start();
    let body = || {
        let proxy = proxy(&server, &["* * 1 corrupt=1"]);
        let mut stream = TcpStream::connect(proxy.address()).expect("connects");
        stream.write_all(b"GET /x HTTP/1.0\r\n\r\n").expect("sends");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        bytes.split_off(bytes.len() - 12)
    };
    let bodies = [body(), body()];
    let differing = |body: &[u8]| {
        body.iter()
            .zip(b": 0123456789")
            .filter(|(a, b)| a != b)
            .count()
    };
    assert!(bodies.iter().all(|body| differing(body) <= 1));
    assert_eq!(differing(&bodies[0]), differing(&bodies[1]));
}

#[test]
fn duplicate_asks_the_server_twice() {
    let server = Server::start();
    let proxy = proxy(&server, &["POST * 1 duplicate"]);
    let post = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let answer = request(proxy.address(), post).expect("an answer");
    assert!(answer.contains("request 2:"), "{answer}");
    assert_eq!(server.served(), 2);
}

#[test]
fn a_delay_is_kept() {
    let server = Server::start();
    let proxy = proxy(&server, &["* * 1 delay=150"]);
    let started = Instant::now();
    get(proxy.address(), "/x").expect("an answer");
    assert!(started.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_server_that_is_away_is_a_502() {
    let unused = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = unused.local_addr().expect("an address").to_string();
    drop(unused);
    let proxy = FaultProxy::http(address).start().expect("the proxy starts");
    assert!(
        get(proxy.address(), "/x")
            .expect("an answer")
            .starts_with("HTTP/1.1 502 ")
    );
}

#[test]
fn tcp_connections_are_cut_after_the_answer() {
    let server = Server::start();
    let rule = "TCP / 2 drop-after".parse().expect("a rule");
    let proxy = FaultProxy::tcp(server.address.to_string())
        .rule(rule)
        .start()
        .expect("starts");
    assert!(
        get(proxy.address(), "/x")
            .expect("the first passes")
            .contains("request 1:")
    );
    let error = get(proxy.address(), "/x").expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(server.served(), 2);
    assert_eq!(proxy.log()[1].action, Some(Action::DropAfter));
}

#[test]
fn a_tcp_proxy_refuses_what_only_http_has() {
    let rule = "* * * status=500".parse().expect("a rule");
    let error = FaultProxy::tcp("127.0.0.1:1")
        .rule(rule)
        .start()
        .expect_err("refused");
    assert!(error.to_string().contains("knows no status"), "{error}");
}

#[test]
fn dropping_the_proxy_ends_idle_connections() {
    let server = Server::start();
    let proxy = proxy(&server, &[]);
    let mut idle = TcpStream::connect(proxy.address()).expect("connects");
    idle.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sends");
    BufReader::new(&idle)
        .read_line(&mut String::new())
        .expect("an answer begins");
    drop(proxy);
    // Returns only because the proxy closed its side.
    io::copy(&mut idle, &mut io::sink()).expect("the stream ends");
}
