//! HTTP/1.1 messages as far as a proxy must understand them: heads, and where bodies end.

use std::io::{self, BufRead, Read, Write};

/// A head larger than this is no head.
const HEAD_LIMIT: u64 = 1 << 20;

/// The start line and headers of a request or an answer, as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) start: String,
    headers: Vec<(String, String)>,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// Reads a head; `None` when the peer has closed between two messages.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut limited = from.take(HEAD_LIMIT);
        let Some(start) = read_line(&mut limited)?.filter(|line| !line.is_empty()) else {
            return Ok(None);
        };
        let mut headers = Vec::new();
        loop {
            let line = read_line(&mut limited)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                return Ok(Some(Self { start, headers }));
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| bad("a header has no colon"))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let same = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(same)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.headers
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        to.write_all(text.as_bytes())
    }

    /// Method and target of a request.
    pub(super) fn request(&self) -> io::Result<(&str, &str)> {
        let mut words = self.start.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some(method), Some(target), Some(_)) => Ok((method, target)),
            _ => Err(bad("not a request line")),
        }
    }

    /// The status code of an answer.
    pub(super) fn status(&self) -> io::Result<u16> {
        let code = self
            .start
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok());
        code.ok_or_else(|| bad("not a status line"))
    }

    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        let value = self.header(name).unwrap_or("");
        value
            .split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    }

    /// RFC 9112 §6.3, for requests: no length means no body.
    pub(super) fn request_framing(&self) -> io::Result<Framing> {
        Ok(self.declared()?.unwrap_or(Framing::Length(0)))
    }

    /// RFC 9112 §6.3, for answers: some have no body whatever their headers say.
    pub(super) fn answer_framing(&self, method: &str) -> io::Result<Framing> {
        let status = self.status()?;
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(Framing::Length(0));
        }
        Ok(self.declared()?.unwrap_or(Framing::UntilClose))
    }

    fn declared(&self) -> io::Result<Option<Framing>> {
        if self.has_token("transfer-encoding", "chunked") {
            return Ok(Some(Framing::Chunked));
        }
        let Some(length) = self.header("content-length") else {
            return Ok(None);
        };
        let length = length
            .parse()
            .map_err(|_| bad("content-length is no number"))?;
        Ok(Some(Framing::Length(length)))
    }
}

/// Copies a body as it is framed, handing each piece to `edit` on its way.
///
/// `edit` sees only what belongs to the body, and says whether to go on.
pub(super) fn copy_body(
    from: &mut impl BufRead,
    to: &mut impl Write,
    framing: Framing,
    edit: &mut dyn FnMut(&mut Vec<u8>) -> bool,
) -> io::Result<bool> {
    match framing {
        Framing::Length(length) => copy_plain(from, to, Some(length), edit),
        Framing::UntilClose => copy_plain(from, to, None, edit),
        Framing::Chunked => copy_chunks(from, to, edit),
    }
}

fn copy_plain(
    from: &mut impl BufRead,
    to: &mut impl Write,
    length: Option<u64>,
    edit: &mut dyn FnMut(&mut Vec<u8>) -> bool,
) -> io::Result<bool> {
    let mut left = length.unwrap_or(u64::MAX);
    while left > 0 {
        let part = from.fill_buf()?;
        let Some(size) = std::num::NonZero::new(part.len()) else {
            // A body cut short is passed on as short as it came.
            return Ok(length.is_none());
        };
        let size = size.get().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut piece = part[..size].to_vec();
        from.consume(size);
        left -= size as u64;
        let go_on = edit(&mut piece);
        to.write_all(&piece)?;
        to.flush()?;
        if !go_on {
            return Ok(false);
        }
    }
    Ok(true)
}

fn copy_chunks(
    from: &mut impl BufRead,
    to: &mut impl Write,
    edit: &mut dyn FnMut(&mut Vec<u8>) -> bool,
) -> io::Result<bool> {
    loop {
        let line = read_line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let digits = line.split(';').next().unwrap_or("").trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| bad("a chunk has no size"))?;
        if size == 0 {
            to.write_all(b"0\r\n")?;
            return copy_trailers(from, to).map(|()| true);
        }
        let mut piece = Vec::new();
        let got = from.by_ref().take(size).read_to_end(&mut piece)?;
        if got as u64 != size || read_line(from)?.is_none_or(|end| !end.is_empty()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let go_on = edit(&mut piece);
        // An edit may shorten the piece but the announced size stays: that is the fault wanted.
        to.write_all(format!("{size:x}\r\n").as_bytes())?;
        to.write_all(&piece)?;
        if !go_on {
            to.flush()?;
            return Ok(false);
        }
        to.write_all(b"\r\n")?;
        to.flush()?;
    }
}

fn copy_trailers(from: &mut impl BufRead, to: &mut impl Write) -> io::Result<()> {
    loop {
        let line = read_line(from)?.unwrap_or_default();
        to.write_all(format!("{line}\r\n").as_bytes())?;
        if line.is_empty() {
            return to.flush();
        }
    }
}

/// A line without its end; `None` at the end of the stream.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.pop_if(|last| *last == b'\r');
    String::from_utf8(line)
        .map(Some)
        .map_err(|_| bad("a head is not text"))
}

pub(super) fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(framing: Framing, body: &str) -> (bool, String) {
        let mut out = Vec::new();
        let whole = copy_body(&mut body.as_bytes(), &mut out, framing, &mut |_| true);
        (
            whole.expect("a body"),
            String::from_utf8(out).expect("text"),
        )
    }

    #[test]
    fn a_head_is_read_and_written_as_it_was() {
        let text = "GET /a HTTP/1.1\r\nHost: x\r\nX-Y: 1\r\n\r\n";
        let head = Head::read(&mut text.as_bytes())
            .expect("readable")
            .expect("a head");
        assert_eq!(head.request().expect("a request"), ("GET", "/a"));
        assert_eq!(head.header("HOST"), Some("x"));
        let mut out = Vec::new();
        head.write(&mut out).expect("writes");
        assert_eq!(out, text.as_bytes());
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        assert_eq!(pass(Framing::Length(3), "abcdef"), (true, "abc".to_owned()));
        assert_eq!(pass(Framing::Length(9), "abc"), (false, "abc".to_owned()));
        assert_eq!(pass(Framing::UntilClose, "abc"), (true, "abc".to_owned()));
        let chunks = "3\r\nabc\r\n0\r\nT: 1\r\n\r\n";
        assert_eq!(
            pass(Framing::Chunked, &format!("{chunks}next")),
            (true, chunks.to_owned())
        );
    }

    #[test]
    fn answers_without_a_body_have_none() {
        let head = |start: &str| Head {
            start: start.to_owned(),
            headers: vec![("Content-Length".to_owned(), "5".to_owned())],
        };
        let framing = |start, method| head(start).answer_framing(method).expect("framed");
        assert_eq!(framing("HTTP/1.1 200 OK", "HEAD"), Framing::Length(0));
        assert_eq!(
            framing("HTTP/1.1 304 Not Modified", "GET"),
            Framing::Length(0)
        );
        assert_eq!(framing("HTTP/1.1 200 OK", "GET"), Framing::Length(5));
    }
}
