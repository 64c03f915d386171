//! Sends netlink messages and reads what the kernel says to them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size_force};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netdevice,
    netlink, recv, send, socket_with,
};

use crate::sys::give_away;
use crate::wire::netlink::{Message, Messages};
use crate::wire::nft;

/// The rules changed since the generation that a change was made for (`ERESTART`).
pub(super) const CHANGED_MEANWHILE: i32 = 85;

/// How many changes of rules this process has made; each is one generation of the kernel's.
static CHANGES: AtomicU32 = AtomicU32::new(0);

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one for links, addresses and routes.
    pub(super) fn route() -> io::Result<Self> {
        // The family's default protocol is that one.
        Self::open(None)
    }

    /// Opens one for firewall rules.
    pub(super) fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    /// Opens one for the diagnosis of sockets.
    pub(super) fn diagnosis() -> io::Result<Self> {
        Self::open(Some(netlink::SOCK_DIAG))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let fd = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
        // A change of many rules is one message; who may not raise the limit keeps the usual one.
        let _ = set_socket_send_buffer_size_force(&fd, 4 << 20);
        let _ = set_socket_recv_buffer_size(&fd, 1 << 20);
        Ok(Self(fd))
    }

    /// Ends it after rules were removed: to close it now would be to wait until no packet is in them
    /// any more.
    pub(super) fn leave(self) {
        give_away(self.0);
    }

    /// Opens one that tells of every change of a link.
    pub(super) fn of_links() -> io::Result<Self> {
        const LINKS: u32 = 1;
        let route = Self::route()?;
        bind(&route.0, &netlink::SocketAddrNetlink::new(0, LINKS))?;
        Ok(route)
    }

    /// Waits until something is told, and takes it; false when it takes longer.
    pub(super) fn wait(&self, longest: Duration) -> io::Result<bool> {
        let limit = Timespec::try_from(longest).ok();
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], limit.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 4096];
        // What does not fit, or was lost, is told too.
        while !matches!(
            recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT),
            Err(Errno::AGAIN)
        ) {}
        Ok(true)
    }

    /// Number of an interface; none if there is no such interface.
    pub(super) fn interface(&self, name: &str) -> io::Result<Option<u32>> {
        match netdevice::name_to_index(&self.0, name) {
            Ok(index) => Ok(Some(index)),
            Err(Errno::NODEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How many changes of rules this process has made.
    pub(super) fn changes() -> u32 {
        CHANGES.load(Ordering::SeqCst)
    }

    /// Sends one change of rules, of which the kernel takes all or nothing.
    pub(super) fn change_rules(&self, bytes: &[u8]) -> io::Result<()> {
        self.change(bytes)?;
        CHANGES.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Sends changes and reports the first refusal.
    pub(super) fn change(&self, bytes: &[u8]) -> io::Result<()> {
        let mut refused = None;
        self.exchange(bytes, |message| {
            refused = refused.or(message.errno().filter(|errno| *errno != 0));
        })?;
        refused.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    /// Sends a question and hands out each answer; an error among them is the result.
    ///
    /// The kernel works on a message while it is being sent, so every answer is there when the
    /// sending returns; a dump goes on with every further reading.
    pub(super) fn exchange(
        &self,
        bytes: &[u8],
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        send(&self.0, bytes, SendFlags::NOSIGNAL)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match recv(&self.0, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((len, _)) => Messages::new(&buffer[..len]).for_each(|message| each(&message)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a question and collects what `each` finds in the answers.
    pub(super) fn collect<T>(
        &self,
        bytes: &[u8],
        mut each: impl FnMut(&Message<'_>) -> Vec<T>,
    ) -> io::Result<Vec<T>> {
        let mut found = Vec::new();
        let mut refused = None;
        self.exchange(bytes, |message| match message.errno() {
            Some(0) => {}
            Some(errno) => refused = Some(errno),
            None => found.extend(each(message)),
        })?;
        refused.map_or(Ok(found), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    /// The namespace's current generation of firewall rules.
    pub(super) fn generation(&self) -> io::Result<u32> {
        let found = self.collect(&nft::ask_generation(), |message| {
            nft::generation(message).into_iter().collect()
        })?;
        found
            .first()
            .copied()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// The keys of a set in our table; none when there is no such table.
    pub(super) fn keys(&self, set: &str) -> io::Result<Vec<(Vec<u8>, Option<String>)>> {
        match self.collect(
            &nft::ask_keys(crate::wire::nft_client::TABLE, set),
            nft::keys,
        ) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }
}
