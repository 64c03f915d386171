//! Exchanges under way: which connections to a replica wait for an answer, or bring one.
//!
//! The kernel's socket diagnosis (sock_diag(7), `INET_DIAG_INFO`) tells of every connection in a
//! namespace when bytes last came and last went. A server that has received later than it has
//! sent owes an answer; one that has just sent, or whose queues are not empty, is in the midst of
//! one. An idle
//! connection that is kept for the next request is neither, and nobody waits for it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;

use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::netlink::Netlink;
use crate::wire::netlink::{Batch, DUMP, Message};

/// Ask for sockets by their family (`SOCK_DIAG_BY_FAMILY`).
const BY_FAMILY: u16 = 20;
const TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// The attribute with `struct tcp_info`, and the bit that asks for it.
const INFO: u16 = 2;
/// Length of `struct inet_diag_msg`.
const HEADER: usize = 72;

/// States of a connection (`net/tcp_states.h`).
const ESTABLISHED: u8 = 1;
const SYN_RECV: u8 = 3;
const FIN_WAIT1: u8 = 4;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const LISTEN: u8 = 10;
const CLOSING: u8 = 11;

/// For how long after the last byte one cannot be sure: the times have the kernel's tick, so a
/// request may have come within the tick of the answer before it.
const UNSURE_MS: u32 = 2_000;
/// For how long after the last byte an answer may still go on: servers send theirs in parts.
const PARTS_MS: u32 = 100;
/// How long a new connection is given to ask something.
const NEW_MS: u32 = 1_000;

/// The sockets of one namespace, whoever looks.
#[derive(Debug)]
pub(crate) struct Exchanges(Netlink);

impl Exchanges {
    /// Those of the namespace that this process is in.
    ///
    /// Only a thread of its own goes there; the socket stays in the namespace it was made in.
    pub(crate) fn of(pid: Pid) -> io::Result<Self> {
        let space = File::open(format!("/proc/{}/ns/net", pid.as_raw_nonzero()))?;
        let there = std::thread::spawn(move || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
            Netlink::diagnosis()
        });
        let opened = there.join();
        opened
            .unwrap_or_else(|_| Err(io::Error::other("the thread that goes there panicked")))
            .map(Self)
    }

    /// How many exchanges with the outside are under way now.
    pub(crate) fn under_way(&self) -> io::Result<usize> {
        let mut sockets = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let found = self.0.collect(&ask(family), |message| {
                Socket::read(message).into_iter().collect()
            });
            match found {
                Ok(found) => sockets.extend(found),
                // A kernel without IPv6.
                Err(error) if family == AF_INET6 && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count(&sockets))
    }
}

/// `struct inet_diag_req_v2`: every TCP socket of a family, with its times.
fn ask(family: u8) -> Vec<u8> {
    let states = [
        ESTABLISHED,
        SYN_RECV,
        FIN_WAIT1,
        CLOSE_WAIT,
        LAST_ACK,
        LISTEN,
        CLOSING,
    ];
    let states = states.iter().fold(0_u32, |all, state| all | 1 << state);
    let mut request = [0; 56];
    request[0] = family;
    request[1] = TCP;
    request[2] = 1 << (INFO - 1);
    request[4..8].copy_from_slice(&states.to_ne_bytes());
    let mut batch = Batch::new();
    batch.message(BY_FAMILY, DUMP, &request);
    batch.finish()
}

/// What is known of one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    state: u8,
    port: u16,
    address: IpAddr,
    /// Bytes that the program has not read, and that the other side has not acknowledged.
    queued: u32,
    times: Times,
}

/// Milliseconds since bytes last went and came, and how many did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Times {
    sent_ago: u32,
    received_ago: u32,
    sent: u64,
    received: u64,
}

impl Socket {
    fn read(message: &Message<'_>) -> Option<Self> {
        let bytes = message.payload;
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let address = match *bytes.first()? {
            AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(8..12)?).ok()?)),
            AF_INET6 => {
                let address = <[u8; 16]>::try_from(bytes.get(8..24)?).ok()?;
                Ipv6Addr::from(address).to_canonical()
            }
            _ => return None,
        };
        let info = message.attrs(HEADER).find(INFO);
        Some(Self {
            state: *bytes.get(1)?,
            port: u16::from_be_bytes(bytes.get(4..6)?.try_into().ok()?),
            address,
            queued: word(56)?.saturating_add(word(60)?),
            times: info.and_then(Times::read).unwrap_or_default(),
        })
    }

    /// True while somebody waits for bytes that this end owes or has under way.
    fn is_busy(&self) -> bool {
        match self.state {
            SYN_RECV => true,
            ESTABLISHED | CLOSE_WAIT => self.queued > 0 || self.times.owes(),
            // Closed by the program; what it said last may still be on its way.
            FIN_WAIT1 | LAST_ACK | CLOSING => self.queued > 0,
            _ => false,
        }
    }
}

impl Times {
    /// From `struct tcp_info`; older kernels' end earlier.
    fn read(info: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(info.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_ne_bytes(info.get(at..at + 8)?.try_into().ok()?));
        Some(Self {
            sent_ago: word(44)?,
            received_ago: word(52)?,
            received: long(128)?,
            sent: long(200)?,
        })
    }

    fn owes(&self) -> bool {
        if self.received == 0 {
            return self.sent == 0 && self.received_ago < NEW_MS;
        }
        if self.sent_ago < PARTS_MS {
            return true;
        }
        match self.received_ago.cmp(&self.sent_ago) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => self.sent == 0 || self.received_ago < UNSURE_MS,
            std::cmp::Ordering::Greater => false,
        }
    }
}

/// Busy connections to a port that something listens on, from elsewhere.
fn count(sockets: &[Socket]) -> usize {
    let served: BTreeSet<u16> = sockets
        .iter()
        .filter(|socket| socket.state == LISTEN)
        .map(|socket| socket.port)
        .collect();
    sockets
        .iter()
        .filter(|socket| !socket.address.is_loopback() && served.contains(&socket.port))
        .filter(|socket| socket.is_busy())
        .count()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    fn socket(state: u8, times: Times) -> Socket {
        Socket {
            state,
            port: 80,
            address: Ipv4Addr::new(10, 201, 0, 2).into(),
            queued: 0,
            times,
        }
    }

    fn times(received_ago: u32, received: u64, sent_ago: u32, sent: u64) -> Times {
        Times {
            sent_ago,
            received_ago,
            sent,
            received,
        }
    }

    #[test]
    fn who_owes_an_answer_is_busy_and_who_has_given_it_is_not() {
        let owes = |times: Times| times.owes();
        assert!(
            owes(times(5_000, 10, 9_000, 10)),
            "asked after the last answer"
        );
        assert!(!owes(times(9_000, 10, 5_000, 10)), "answered");
        assert!(owes(times(9_000, 10, 20, 10)), "in the midst of an answer");
        assert!(owes(times(60_000, 10, 60_000, 0)), "asked, never answered");
        assert!(owes(times(1_000, 10, 1_000, 10)), "within one tick");
        assert!(
            !owes(times(3_000, 10, 3_000, 10)),
            "within one tick, long ago"
        );
        assert!(owes(times(10, 0, 10, 0)), "has just come");
        assert!(!owes(times(4_000, 0, 4_000, 0)), "kept for later");
        assert!(!owes(times(4_000, 0, 10, 20)), "the server speaks first");
    }

    #[test]
    fn only_connections_from_elsewhere_to_what_is_served_count() {
        let busy = times(1, 10, 9, 0);
        let listener = socket(LISTEN, Times::default());
        let served = socket(ESTABLISHED, busy);
        let own = Socket {
            port: 40_000,
            ..served
        };
        let check = Socket {
            address: Ipv4Addr::LOCALHOST.into(),
            ..served
        };
        assert_eq!(count(&[listener, served, own, check]), 1);
        assert_eq!(count(&[served]), 0, "nothing listens");
        let last = Socket {
            queued: 5,
            ..socket(LAST_ACK, Times::default())
        };
        assert_eq!(count(&[listener, last, socket(LAST_ACK, busy)]), 1);
    }

    #[test]
    fn the_kernel_tells_of_a_request_until_it_is_answered() {
        let exchanges = Exchanges::of(rustix::process::getpid());
        let exchanges = match exchanges {
            Ok(exchanges) => exchanges,
            Err(error) => {
                unmoor_tools::skipped(&format!("no socket diagnosis: {error}"));
                return;
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        let (mut server, _) = listener.accept().expect("accepted");
        let busy = || {
            let found = exchanges.0.collect(&ask(AF_INET), |message| {
                Socket::read(message).into_iter().collect()
            });
            let found = found.expect("told");
            let ours = found.iter().filter(|socket| socket.port == port);
            ours.filter(|socket| socket.is_busy()).count()
        };
        client.write_all(b"ask").expect("sent");
        assert_eq!(busy(), 1, "not read yet");
        server.read_exact(&mut [0; 3]).expect("read");
        assert_eq!(busy(), 1, "read, and no answer");
        server.write_all(b"answer").expect("sent");
        client.read_exact(&mut [0; 6]).expect("read");
        let begun = Instant::now();
        while busy() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "it stays busy");
            std::thread::yield_now();
        }
    }
}
