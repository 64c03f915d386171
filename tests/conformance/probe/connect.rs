//! Commands that reach others: resolve, connect, udp, check.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::command::Reply;
use crate::dns;

const PATIENCE: Duration = Duration::from_secs(2);
/// An answer takes as long as what was asked for.
const ANSWER: Duration = Duration::from_secs(30);

pub(crate) fn resolve(rest: &[String]) -> Reply {
    let Some(name) = rest.first() else {
        return Reply::wrong();
    };
    let found = dns::resolve(name);
    if found.is_empty() {
        return Reply::fail(2, format!("{name} does not resolve"));
    }
    Reply::out(
        found
            .iter()
            .map(|address| format!("{address}\n"))
            .collect::<String>(),
    )
}

pub(crate) fn connect(name: &str, rest: &[String]) -> Reply {
    let (patience, rest) = match rest {
        [flag, time, rest @ ..] if flag == "--timeout" => match time.parse() {
            Ok(time) => (Duration::from_millis(time), rest),
            Err(_) => return Reply::wrong(),
        },
        _ => (PATIENCE, rest),
    };
    let [host, port, text @ ..] = rest else {
        return Reply::wrong();
    };
    let Ok(number) = port.parse() else {
        return Reply::wrong();
    };
    let Some(address) = dns::resolve(host).first().copied() else {
        return Reply::fail(2, format!("{host} does not resolve"));
    };
    let answer = if name == "udp" {
        ask_udp(address, number, &text.join(" "), patience)
    } else {
        ask_tcp(address, number, &text.join(" "), patience)
    };
    match answer {
        Ok(answer) => Reply::out(answer),
        Err(error) => Reply::fail(3, format!("{name} {host}:{port}: {}", why(&error))),
    }
}

pub(crate) fn why(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "refused".to_owned(),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "no way there".to_owned(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

/// Connects, sends a line, and reads the answer to its end.
pub(crate) fn ask_tcp(
    address: Ipv4Addr,
    port: u16,
    line: &str,
    patience: Duration,
) -> std::io::Result<String> {
    say(open(address, port, patience)?, line)
}

/// Connects.
pub(crate) fn open(address: Ipv4Addr, port: u16, patience: Duration) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::from((address, port)), patience)
}

/// Sends a line and reads the answer to its end.
pub(crate) fn say(mut stream: TcpStream, line: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn ask_udp(
    address: Ipv4Addr,
    port: u16,
    text: &str,
    patience: Duration,
) -> std::io::Result<String> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect((address, port))?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(text.as_bytes())?;
    let mut buffer = vec![0; 65536];
    let count = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

/// Whether the server on a port of this replica says that it is ready.
pub(crate) fn check(rest: &[String]) -> Reply {
    let Some(port) = rest.first().and_then(|word| word.parse().ok()) else {
        return Reply::wrong();
    };
    match ask_tcp(Ipv4Addr::LOCALHOST, port, "ready", PATIENCE) {
        Ok(out) => Reply {
            code: u8::from(out != "ready\n"),
            out,
            err: String::new(),
        },
        Err(error) => Reply::fail(1, format!("check {port}: {}", why(&error))),
    }
}

/// What the load of the server on a port of this replica came to.
pub(crate) fn count(port: u16) -> Reply {
    match ask_tcp(Ipv4Addr::LOCALHOST, port, "count", PATIENCE) {
        Ok(answer) => Reply::out(answer),
        Err(error) => Reply::fail(3, format!("count {port}: {}", why(&error))),
    }
}
