//! An HTTP/1.1 server for a handful of routes: one thread a connection, one request each.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const HEAD_LIMIT: u64 = 16 << 10;
const BODY_LIMIT: u64 = 1 << 20;

/// A request, as much of it as the example needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT`, `POST`.
    pub method: String,
    /// The path, without a query.
    pub path: String,
    /// The body, empty when there is none.
    pub body: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Answer {
    /// A page.
    #[must_use]
    pub fn html(body: String) -> Self {
        Self {
            status: 200,
            kind: "text/html; charset=utf-8",
            body,
        }
    }

    /// A JSON value.
    #[must_use]
    pub fn json(body: String) -> Self {
        Self {
            status: 200,
            kind: "application/json",
            body,
        }
    }

    /// A few words.
    #[must_use]
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            kind: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }

    fn write(&self, mut to: &TcpStream) -> io::Result<()> {
        let Self { status, kind, body } = self;
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            _ => "Service Unavailable",
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        to.write_all(head.as_bytes())?;
        to.write_all(body.as_bytes())
    }
}

/// Listens and answers until the process is stopped.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve<H>(name: &str, address: &str, handler: H) -> io::Result<()>
where
    H: Fn(&Request) -> io::Result<Answer> + Send + Sync + 'static,
{
    let listener = TcpListener::bind(address)?;
    println!("{name} listens on {}", listener.local_addr()?);
    let handler = Arc::new(handler);
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let handler = Arc::clone(&handler);
        thread::spawn(move || {
            // A client that went away is no reason to stop.
            let _ = answer(&stream, &*handler);
        });
    }
    Ok(())
}

fn answer(stream: &TcpStream, handler: &dyn Fn(&Request) -> io::Result<Answer>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = match read(stream) {
        Ok(request) => request,
        Err(error) => return Answer::text(400, format!("{error}\n")).write(stream),
    };
    let answer = if request.path == "/healthz" {
        Answer::text(200, "ok\n")
    } else {
        handler(&request).unwrap_or_else(|error| {
            eprintln!("{} {}: {error}", request.method, request.path);
            Answer::text(503, format!("{error}\n"))
        })
    };
    answer.write(stream)
}

fn read(stream: &TcpStream) -> io::Result<Request> {
    let mut reader = BufReader::new(stream).take(HEAD_LIMIT);
    let mut start = String::new();
    reader.read_line(&mut start)?;
    let mut words = start.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(io::Error::other("not a request"));
    };
    let length = read_headers(&mut reader)?;
    if length > BODY_LIMIT {
        return Err(io::Error::other("the body is too large"));
    }
    reader.set_limit(length);
    let mut body = String::new();
    reader.read_to_string(&mut body)?;
    let path = target.split('?').next().unwrap_or("/").to_owned();
    Ok(Request {
        method: method.to_owned(),
        path,
        body,
    })
}

/// Reads up to the empty line and gives the length of the body.
fn read_headers(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok(length);
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
}
