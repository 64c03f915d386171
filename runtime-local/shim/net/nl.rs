//! Sends netlink messages and reads what the kernel says to them.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::sys::{self, Epoll, READ};
use crate::wire::conntrack::{Flow, ask_count, ask_flows, count, flow, forget};
use crate::wire::netlink::Messages;

/// A change the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Number of the message that was refused, from 1; 0 when the sending itself failed.
    pub(super) seq: u32,
    /// The error number.
    pub(super) errno: i32,
}

impl Refusal {
    pub(super) const NOENT: i32 = 2;
    pub(super) const BUSY: i32 = 16;
    pub(super) const EXIST: i32 = 17;
    pub(super) const NODEV: i32 = 19;
    /// The rules changed since the generation that a change was made for.
    pub(super) const RESTART: i32 = 85;

    fn sending(error: &io::Error) -> Self {
        Self {
            seq: 0,
            errno: error.raw_os_error().unwrap_or(5),
        }
    }
}

/// A netlink socket; it belongs to the network namespace it was opened in.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl From<Netlink> for OwnedFd {
    fn from(netlink: Netlink) -> Self {
        netlink.0
    }
}

impl Netlink {
    /// Opens one for links and addresses, in the current namespace.
    pub(super) fn route() -> io::Result<Self> {
        sys::netlink(sys::ROUTE).map(Self)
    }

    /// Opens one for firewall rules, in the current namespace.
    pub(super) fn netfilter() -> io::Result<Self> {
        sys::netlink(sys::NETFILTER).map(Self)
    }

    /// Number of an interface.
    pub(super) fn interface(&self, name: &str) -> io::Result<u32> {
        sys::interface_index(&self.0, name)
    }

    /// Sends changes and reports the first refusal.
    pub(super) fn change(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let mut first = None;
        self.exchange(bytes, |message| {
            if let Some(errno) = message.errno().filter(|errno| *errno != 0) {
                first.get_or_insert(Refusal {
                    seq: message.seq,
                    errno,
                });
            }
        })?;
        first.map_or(Ok(()), Err)
    }

    /// Sends a question and hands out each answer.
    ///
    /// The kernel works on a message while it is being sent, so every answer is there when the
    /// sending returns; a dump goes on with every further reading.
    pub(super) fn exchange(
        &self,
        bytes: &[u8],
        mut each: impl FnMut(&crate::wire::netlink::Message<'_>),
    ) -> Result<(), Refusal> {
        self.drain();
        sys::send_bytes(&self.0, bytes).map_err(|error| Refusal::sending(&error))?;
        let mut buffer = vec![0; 32 * 1024];
        loop {
            match sys::receive(&self.0, &mut buffer) {
                Ok(len) => {
                    let len = len.min(buffer.len());
                    Messages::new(&buffer[..len]).for_each(|message| each(&message));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Refusal::sending(&error)),
            }
        }
    }

    /// From now on every change of a link in the namespace is told on this socket too.
    pub(super) fn follow_links(&self) -> Result<(), Refusal> {
        sys::follow_links(&self.0).map_err(|error| Refusal::sending(&error))
    }

    /// Waits until something is told.
    pub(super) fn wait(&self, longest: Duration) -> Result<(), Refusal> {
        let waited = Epoll::new().and_then(|epoll| {
            epoll.add(&self.0, READ, 0)?;
            epoll.ready(&mut [0; 16], longest);
            Ok(())
        });
        waited.map_err(|error| Refusal::sending(&error))
    }

    fn drain(&self) {
        let mut buffer = [0; 512];
        while sys::receive(&self.0, &mut buffer).is_ok() {}
    }

    /// Forgets the datagram flows that `which` picks; all of them are answered by `targets`.
    ///
    /// The next datagram of each is sent as a first one, to a target that is ready.
    pub(super) fn forget_flows(
        &self,
        targets: &[Ipv4Addr],
        which: impl Fn(&Flow) -> bool,
    ) -> Result<(), Refusal> {
        let only = match targets {
            [] => return Ok(()),
            [one] => Some(*one),
            _ => None,
        };
        // A look through the kernel's table takes milliseconds and keeps others from it: many
        // replicas that lose many neighbours at once must not look for nothing.
        let mut flows = None;
        self.exchange(&ask_count(), |answer| flows = flows.or(count(answer)))?;
        if flows == Some(0) {
            return Ok(());
        }
        let mut found = Vec::new();
        self.exchange(&ask_flows(only), |answer| found.extend(flow(answer)))?;
        for flow in found
            .iter()
            .filter(|flow| targets.contains(&flow.target) && which(flow))
        {
            match self.change(&forget(flow)) {
                // It may have ended by itself.
                Err(refusal) if refusal.errno != Refusal::NOENT => return Err(refusal),
                _ => {}
            }
        }
        Ok(())
    }

    /// The namespace's current generation of firewall rules.
    pub(super) fn generation(&self) -> Result<u32, Refusal> {
        let mut found = None;
        self.exchange(&crate::wire::nft::ask_generation(), |message| {
            found = found.or(crate::wire::nft::generation(message));
        })?;
        found.ok_or(Refusal { seq: 0, errno: 5 })
    }
}
