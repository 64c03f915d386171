//! The few requests of HTTP that a replica may make of its shim: read strictly, or refused.
//!
//! The bytes are a stranger's. A request is one `GET` without a body on a connection of its own.

/// Longest request that is read.
pub const MAX_HEAD: usize = 2048;
/// Most fields of a request.
const MAX_FIELDS: usize = 32;
/// Longest and usual time that a question may wait for a change, in seconds.
const WAIT: (u64, u64) = (60, 30);

/// What a response says before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Here it is.
    Ok,
    /// It is as it was.
    Unchanged,
    /// The request cannot be read.
    Bad,
    /// It has no token, or another one.
    Unknown,
    /// There is nothing of that name.
    NotFound,
    /// It is no `GET`.
    Method,
    /// It is too long.
    TooLong,
    /// Too many wait already.
    Busy,
    /// It is of another version of HTTP.
    Version,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::Unchanged => "304 Not Modified",
            Self::Bad => "400 Bad Request",
            Self::Unknown => "401 Unauthorized\r\nWWW-Authenticate: Bearer",
            Self::NotFound => "404 Not Found",
            Self::Method => "405 Method Not Allowed\r\nAllow: GET",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Busy => "503 Service Unavailable\r\nRetry-After: 1",
            Self::Version => "505 HTTP Version Not Supported",
        }
    }

    /// Kind and message of the error that a program reads.
    fn error(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok | Self::Unchanged => ("", ""),
            Self::Bad => ("invalid", "the request cannot be read"),
            Self::Unknown => (
                "unauthenticated",
                "send `Authorization: Bearer` with the value of UNMOOR_DISCOVERY_TOKEN",
            ),
            Self::NotFound => ("not_found", "no service or link here has that name"),
            Self::Method => ("unsupported", "there is only GET"),
            Self::TooLong => ("invalid", "the request is longer than 2048 bytes"),
            Self::Busy => ("throttled", "too many requests are open"),
            Self::Version => ("unsupported", "speak HTTP/1.1"),
        }
    }
}

/// What somebody with the right token asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// Only the service or link of this name.
    pub name: Option<String>,
    /// Answer when the list is not the one with this cursor.
    pub after: Option<u64>,
    /// How many seconds to wait for that.
    pub wait: u64,
}

/// What has been read so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Not all of it.
    Part,
    /// A question.
    Ask(Ask),
    /// What is refused.
    Refused(Status),
}

/// Reads a request; `token` is what it has to know.
pub fn hear(bytes: &[u8], token: &str) -> Heard {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end else {
        return match bytes.len() {
            MAX_HEAD.. => Heard::Refused(Status::TooLong),
            _ => Heard::Part,
        };
    };
    if end + 4 > MAX_HEAD {
        return Heard::Refused(Status::TooLong);
    }
    if end + 4 < bytes.len() {
        // A body, or another request behind it.
        return Heard::Refused(Status::Bad);
    }
    match request(&bytes[..end], token) {
        Ok(ask) => Heard::Ask(ask),
        Err(status) => Heard::Refused(status),
    }
}

fn request(head: &[u8], token: &str) -> Result<Ask, Status> {
    let text = core::str::from_utf8(head).map_err(|_| Status::Bad)?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    if text.split("\r\n").any(|line| !line.bytes().all(is_plain)) {
        return Err(Status::Bad);
    }
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Status::Bad);
    };
    let known = fields(lines)?;
    match version {
        "HTTP/1.1" if known.host => {}
        "HTTP/1.0" => {}
        "HTTP/1.1" => return Err(Status::Bad),
        _ => return Err(Status::Version),
    }
    // Who may not ask learns nothing about what can be asked.
    let given = known.authorization.and_then(bearer);
    if !given.is_some_and(|given| same(given.as_bytes(), token.as_bytes())) {
        return Err(Status::Unknown);
    }
    if method != "GET" {
        return Err(Status::Method);
    }
    ask(target)
}

/// Printable ASCII: no control bytes, so no lines within lines.
fn is_plain(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte)
}

#[derive(Debug, Default)]
struct Fields<'a> {
    host: bool,
    authorization: Option<&'a str>,
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Fields<'a>, Status> {
    let mut fields = Fields::default();
    for (at, line) in lines.enumerate() {
        if at >= MAX_FIELDS {
            return Err(Status::TooLong);
        }
        let (name, value) = line.split_once(':').ok_or(Status::Bad)?;
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Status::Bad);
        }
        let value = value.trim_matches(' ');
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("host") {
            if std::mem::replace(&mut fields.host, true) {
                return Err(Status::Bad);
            }
        } else if is("authorization") {
            if fields.authorization.replace(value).is_some() {
                return Err(Status::Bad);
            }
        } else if is("transfer-encoding") || (is("content-length") && value != "0") {
            return Err(Status::Bad);
        }
    }
    Ok(fields)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Compares in a time that tells only the length.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differ) == 0
}

/// Reads `/v1/endpoints[/NAME][?after=CURSOR[&wait=SECONDS]]`.
fn ask(target: &str) -> Result<Ask, Status> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let rest = path.strip_prefix("/v1/endpoints").ok_or(Status::NotFound)?;
    let name = match rest {
        "" | "/" => None,
        rest => {
            let name = rest.strip_prefix('/').ok_or(Status::NotFound)?;
            Some(super::zone::is_name(name).then(|| name.to_owned()))
        }
    };
    let mut found = Ask {
        name: name.map(|name| name.ok_or(Status::NotFound)).transpose()?,
        after: None,
        wait: WAIT.1,
    };
    let mut waits = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let number = |text: &str| {
            let digits = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            digits
                .then(|| text.parse().ok())
                .flatten()
                .ok_or(Status::Bad)
        };
        match pair.split_once('=') {
            Some(("after", text)) if found.after.is_none() => found.after = Some(number(text)?),
            Some(("wait", text)) if !std::mem::replace(&mut waits, true) => {
                found.wait = number(text)?.min(WAIT.0);
            }
            _ => return Err(Status::Bad),
        }
    }
    Ok(found)
}

/// The response with a body.
pub fn response(status: Status, body: &[u8]) -> Vec<u8> {
    let line = status.line();
    let mut text = format!("HTTP/1.1 {line}\r\nConnection: close\r\nCache-Control: no-store\r\n");
    if status != Status::Unchanged {
        let length = body.len();
        text.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {length}\r\n"
        ));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

/// The response to what is refused.
pub fn refusal(status: Status) -> Vec<u8> {
    if status == Status::Unchanged {
        return response(status, b"");
    }
    let (kind, message) = status.error();
    let body = format!("{{\"kind\":\"{kind}\",\"message\":\"{message}\"}}\n");
    response(status, body.as_bytes())
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
