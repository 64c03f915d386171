//! Discovery for programs that run inside a service: blocking, and with the standard library alone.
//!
//! A replica with a network of its own is told where to ask by `UNMOOR_DISCOVERY_URL` and
//! `UNMOOR_DISCOVERY_TOKEN`. It sees the services of its networks and what its links lead to.
//!
//! ```no_run
//! use unmoor::inside::Inside;
//!
//! # fn run() -> unmoor::Result<()> {
//! let unmoor = Inside::here()?;
//! for event in unmoor.watch(Some("db")) {
//!     println!("{:?}", event?);
//! }
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use unmoor_core::discover::{Cursor, EndpointEvent, Endpoints, Follower};
use unmoor_core::{Error, ErrorKind, Result};

/// The variable that says where to ask.
pub const URL: &str = "UNMOOR_DISCOVERY_URL";
/// The variable with what lets one ask.
pub const TOKEN: &str = "UNMOOR_DISCOVERY_TOKEN";

/// How long a request may take beyond the time it asked to wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a watch waits for a change before it asks again, in seconds.
const WAIT: u64 = 30;
/// Time before a watch asks again after it could not.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest answer that is read: some hundred thousand endpoints.
const MAX_ANSWER: u64 = 64 << 20;

/// Where to ask from inside a service. Holds no connection.
#[derive(Clone)]
pub struct Inside {
    /// Host and port.
    authority: String,
    path: String,
    token: String,
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            authority, path, ..
        } = self;
        write!(f, "Inside(http://{authority}{path})")
    }
}

/// A whole list as it was answered.
#[derive(Debug)]
struct Answer {
    endpoints: Endpoints,
    /// What the other side calls it.
    cursor: Cursor,
}

impl Inside {
    /// As the variables of this process say.
    ///
    /// # Errors
    /// `Unsupported` if they are not set: the program runs outside of a replica, or in one without
    /// a network of its own. `InvalidSpec` if they cannot be read.
    pub fn here() -> Result<Self> {
        Self::of(|name| std::env::var(name).ok())
    }

    /// As these variables say.
    ///
    /// # Errors
    /// As [`here`](Self::here).
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |name: &str| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| {
                let text = format!("look services up from inside: {name} is not set");
                let hint = "this needs a replica with a network of its own";
                Error::new(ErrorKind::Unsupported, text).hint(hint)
            })
        };
        let (url, token) = (set(URL)?, set(TOKEN)?);
        let wrong =
            |what: &str| Error::new(ErrorKind::InvalidSpec, format!("{what} is not usable"));
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong(URL))?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.is_empty() || !plain(&url) || url.contains(['?', '#', '@']) {
            return Err(wrong(URL));
        }
        if !plain(&token) {
            return Err(wrong(TOKEN));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            digits && !port.ends_with(']')
        });
        let port = if has_port { "" } else { ":80" };
        Ok(Self {
            authority: format!("{authority}{port}"),
            path: path.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// Every address that this replica may use now.
    ///
    /// # Errors
    /// `Unavailable`, `Timeout`, `Unauthenticated`; `Throttled` if too many ask at once.
    pub fn discover(&self) -> Result<Endpoints> {
        self.list(None)
    }

    /// The addresses of a service, of an alias, or of what a link leads to.
    ///
    /// # Errors
    /// As [`discover`](Self::discover); `NotFound` if nothing that is visible here has this name.
    pub fn discover_name(&self, name: &str) -> Result<Endpoints> {
        self.list(Some(name))
    }

    fn list(&self, name: Option<&str>) -> Result<Endpoints> {
        let answer = self.ask(name, None)?;
        let answer = answer.ok_or_else(|| broken("nothing has changed, which was not asked"))?;
        Ok(answer.endpoints)
    }

    /// Tells of changes: first the whole list, then each change, for ever.
    ///
    /// A fault is an error item, after which it goes on with the whole list.
    #[must_use]
    pub fn watch(&self, name: Option<&str>) -> Watch {
        self.watch_after(name, None)
    }

    /// The same from a place in a former watch.
    #[must_use]
    pub fn watch_after(&self, name: Option<&str>, cursor: Option<Cursor>) -> Watch {
        Watch {
            inside: self.clone(),
            name: name.map(str::to_owned),
            follower: Follower::new(cursor),
            theirs: None,
            rest: false,
            queue: VecDeque::new(),
        }
    }

    /// Asks once; `None` if the list is still the one of `after`.
    fn ask(&self, name: Option<&str>, after: Option<Cursor>) -> Result<Option<Answer>> {
        let mut target = format!("{}/endpoints", self.path);
        if let Some(name) = name {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if name.is_empty() || !name.bytes().all(known) {
                let text = format!("`{}` is no name of a service", name.escape_default());
                return Err(Error::new(ErrorKind::InvalidSpec, text));
            }
            target.push_str(&format!("/{name}"));
        }
        let mut patience = PATIENCE;
        if let Some(Cursor(after)) = after {
            target.push_str(&format!("?after={after}&wait={WAIT}"));
            patience += Duration::from_secs(WAIT);
        }
        let bytes = self.exchange(&target, patience).map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => ErrorKind::Timeout,
                _ => ErrorKind::Unavailable,
            };
            Error::new(kind, format!("ask {self:?}")).because(error)
        })?;
        read(&bytes)
    }

    fn exchange(&self, target: &str, patience: Duration) -> std::io::Result<Vec<u8>> {
        let mut addresses = self.authority.to_socket_addrs()?;
        let nowhere = || std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        let address: SocketAddr = addresses.next().ok_or_else(nowhere)?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let Self {
            authority, token, ..
        } = self;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n\
             Accept: application/json\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn broken(what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the answer cannot be read: {what}"),
    )
}

/// Reads a response that ended with its connection.
fn read(bytes: &[u8]) -> Result<Option<Answer>> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = bytes.split_at(end.ok_or_else(|| broken("it ends in its head"))? + 4);
    let head = std::str::from_utf8(head).map_err(|_| broken("its head is no text"))?;
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
    let said = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let length = value.trim().parse::<usize>();
        name.eq_ignore_ascii_case("content-length")
            .then_some(length)
    });
    if said.is_some_and(|length| length != Ok(body.len())) {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "the answer was cut short",
        ));
    }
    let kind = match status {
        Some(200) => return whole(body).map(Some),
        Some(304) => return Ok(None),
        Some(401) => ErrorKind::Unauthenticated,
        Some(404) => ErrorKind::NotFound,
        Some(503) => ErrorKind::Throttled,
        _ => ErrorKind::Internal,
    };
    let text = serde_json::from_slice::<serde_json::Value>(body).ok();
    let text = text.and_then(|value| value.get("message")?.as_str().map(str::to_owned));
    Err(Error::new(kind, text.unwrap_or_else(|| first.to_owned())))
}

fn whole(body: &[u8]) -> Result<Answer> {
    match serde_json::from_slice(body) {
        Ok(EndpointEvent::Resync { endpoints, cursor }) => Ok(Answer {
            endpoints: endpoints.into(),
            cursor,
        }),
        Ok(_) => Err(broken("it is no whole list")),
        Err(error) => Err(broken("it is no list of endpoints").because(error)),
    }
}

/// Changes as they come. Blocks in `next`; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    inside: Inside,
    name: Option<String>,
    follower: Follower,
    /// What the other side calls the list that was read last.
    theirs: Option<Cursor>,
    /// It could not be asked.
    rest: bool,
    queue: VecDeque<Result<EndpointEvent>>,
}

impl Iterator for Watch {
    type Item = Result<EndpointEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if std::mem::take(&mut self.rest) {
                rest();
            }
            match self.inside.ask(self.name.as_deref(), self.theirs) {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    self.theirs = Some(answer.cursor);
                    self.queue.extend(self.follower.turn(answer.endpoints));
                }
                Err(error) => {
                    (self.theirs, self.rest) = (None, true);
                    self.queue.push_back(Err(self.follower.lost(error)));
                }
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "who cannot be reached tells nothing: there is no event to wait for"
)]
fn rest() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests;
