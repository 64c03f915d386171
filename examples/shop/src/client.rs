//! An HTTP/1.1 client for one request, with a limit on every wait.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(3);
const ANSWER_LIMIT: u64 = 1 << 20;

/// Sends a request to `host:port` and gives the body of a 200.
///
/// The name is looked up anew each time, so nothing here knows where a service was before.
///
/// # Errors
/// When the name does not resolve, nobody answers in time, or the answer is not 200.
pub fn ask(to: &str, method: &str, path: &str, body: &str) -> io::Result<String> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{to}{path}: {error}"));
    let mut stream = connect(to).map_err(told)?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).map_err(told)?;
    let mut answer = String::new();
    stream
        .take(ANSWER_LIMIT)
        .read_to_string(&mut answer)
        .map_err(told)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) == Some("200") {
        return Ok(body.to_owned());
    }
    let status = head.lines().next().unwrap_or("no answer");
    Err(io::Error::other(format!(
        "{to}{path}: {status}: {}",
        body.trim()
    )))
}

fn connect(to: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in to.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks for a URL and says by success whether it answered 200.
///
/// # Errors
/// When it did not, or the URL is not one of plain HTTP.
pub fn probe(url: &str) -> io::Result<()> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| io::Error::other("want an http:// URL"))?;
    let (to, path) = rest
        .find('/')
        .map_or((rest, "/"), |slash| rest.split_at(slash));
    ask(to, "GET", path, "").map(|_| ())
}
