//! One HTTP/1.1 connection: request by request, each over a connection of its own to the server.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;

use super::log::Verdict;
use super::message::{Framing, Head, copy_body};
use super::rule::Action;
use super::serve::{Shared, pause};
use super::tcp;

/// A request's body is kept whole, so that it can be sent twice.
const BODY_LIMIT: u64 = 256 << 20;

pub(super) fn serve(shared: &Shared, number: u64, client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut exchange = Exchange {
        shared,
        number,
        client,
        reader: BufReader::new(client),
    };
    while exchange.next()? {}
    Ok(())
}

/// A request with its body as it came, framing included.
struct Request {
    head: Head,
    method: String,
    body: Vec<u8>,
    keep_alive: bool,
}

struct Exchange<'a> {
    shared: &'a Shared,
    number: u64,
    client: &'a TcpStream,
    reader: BufReader<&'a TcpStream>,
}

impl Exchange<'_> {
    /// Handles one request; false when the connection is over.
    fn next(&mut self) -> io::Result<bool> {
        let Some(head) = Head::read(&mut self.reader)? else {
            return Ok(false);
        };
        let (method, path) = head.request()?;
        let mut verdict = self.shared.judge.decide(self.number, method, path);
        match verdict.action.clone() {
            Some(Action::DropBefore) => {
                self.shared.reset(self.number, self.client)?;
                return Ok(false);
            }
            Some(Action::Delay(time)) => pause(time),
            _ => {}
        }
        let request = self.read_request(head)?;
        if let Some(Action::Status(code, retry_after)) = verdict.action {
            answer(self.client, code, retry_after)?;
            return Ok(request.keep_alive);
        }
        let go_on = self.forward(&request, &mut verdict);
        self.shared.forget_upstream(self.number);
        go_on
    }

    fn read_request(&mut self, mut head: Head) -> io::Result<Request> {
        let method = head.request()?.0.to_owned();
        let keep_alive = head.start.ends_with("HTTP/1.1") && !head.has_token("connection", "close");
        if head.has_token("expect", "100-continue") {
            self.client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            head.remove("expect");
        }
        let framing = head.request_framing()?;
        let mut body = Vec::new();
        let mut limited = Read::by_ref(&mut self.reader).take(BODY_LIMIT);
        copy_body(&mut limited, &mut body, framing, &mut |_| true)?;
        if head.header("upgrade").is_none() {
            head.set("Connection", "close");
        }
        Ok(Request {
            head,
            method,
            body,
            keep_alive,
        })
    }

    fn forward(&mut self, request: &Request, verdict: &mut Verdict) -> io::Result<bool> {
        if verdict.action == Some(Action::Duplicate) {
            let mut first = self.send(request)?;
            io::copy(&mut first, &mut io::sink())?;
        }
        let server = match self.send(request) {
            Ok(server) => server,
            Err(_) => {
                // What a load balancer says about a server that does not answer.
                answer(self.client, 502, None)?;
                return Ok(request.keep_alive);
            }
        };
        let mut reader = BufReader::new(&server);
        let mut head = final_head(&mut reader)?;
        self.shared.judge.answered(verdict, head.status()?);
        if verdict.action == Some(Action::DropAfter) {
            // The whole answer is awaited: the server must have done what it was asked.
            let framing = head.answer_framing(&request.method)?;
            copy_body(&mut reader, &mut io::sink(), framing, &mut |_| true)?;
            self.shared.reset(self.number, self.client)?;
            return Ok(false);
        }
        if head.status()? == 101 {
            head.write(&mut &*self.client)?;
            return self.tunnel(reader, &server);
        }
        self.relay(request, &mut head, &mut reader, verdict)
    }

    fn send(&self, request: &Request) -> io::Result<TcpStream> {
        let mut server = self.shared.connect(self.number)?;
        request.head.write(&mut server)?;
        server.write_all(&request.body)?;
        Ok(server)
    }

    /// Passes the answer on, changed as the verdict has it.
    fn relay(
        &self,
        request: &Request,
        head: &mut Head,
        reader: &mut BufReader<&TcpStream>,
        verdict: &mut Verdict,
    ) -> io::Result<bool> {
        let framing = head.answer_framing(&request.method)?;
        let keep_alive = request.keep_alive && framing != Framing::UntilClose;
        head.set(
            "Connection",
            if keep_alive { "keep-alive" } else { "close" },
        );
        head.write(&mut &*self.client)?;
        let mut edit = editor(verdict);
        let whole = copy_body(reader, &mut &*self.client, framing, &mut edit)?;
        Ok(whole && keep_alive)
    }

    /// After `101 Switching Protocols` both sides speak something else.
    fn tunnel(&mut self, reader: BufReader<&TcpStream>, server: &TcpStream) -> io::Result<bool> {
        let mut client = self.client;
        client.write_all(reader.buffer())?;
        let mut upstream = server;
        upstream.write_all(self.reader.buffer())?;
        thread::scope(|scope| {
            scope.spawn(|| tcp::pump(self.client, server, &mut |_| true));
            tcp::pump(server, self.client, &mut |_| true);
        });
        Ok(false)
    }
}

/// Skips interim answers such as `100 Continue` and `103 Early Hints`.
fn final_head(reader: &mut BufReader<&TcpStream>) -> io::Result<Head> {
    loop {
        let head = Head::read(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.status()?;
        if status >= 200 || status == 101 {
            return Ok(head);
        }
    }
}

/// What the verdict does to the pieces of a body.
pub(super) fn editor(verdict: &mut Verdict) -> impl FnMut(&mut Vec<u8>) -> bool {
    let action = verdict.action.clone();
    let mut dice = verdict.dice.clone();
    let mut passed = 0;
    let mut corrupted = false;
    move |piece| match action {
        Some(Action::Truncate(limit)) => {
            let room = limit - passed;
            let cut = piece.len() >= room;
            piece.truncate(room);
            passed += piece.len();
            !cut
        }
        Some(Action::Corrupt(count)) if !corrupted => {
            dice.corrupt(piece, count);
            corrupted = true;
            true
        }
        _ => true,
    }
}

fn answer(mut client: &TcpStream, code: u16, retry_after: Option<u32>) -> io::Result<()> {
    let retry = retry_after
        .map(|after| format!("Retry-After: {after}\r\n"))
        .unwrap_or_default();
    let head = format!("HTTP/1.1 {code} Fault\r\nContent-Length: 0\r\n{retry}\r\n");
    client.write_all(head.as_bytes())
}
