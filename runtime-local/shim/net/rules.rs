//! Keeps the firewall table inside a replica's namespace equal to what it should be.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::NetError;
use super::nl::Netlink;
use crate::wire::conntrack::Flow;
use crate::wire::nft::{ask_keys, keys};
use crate::wire::nft_client::{Balanced, Client, NOBODY, REFUSED, TABLE};

/// How long datagram flows stay with a target that takes no new ones: it may be draining, and ends
/// within its grace time.
const DRAIN: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 12 });

/// A target that left a stable address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Departed {
    due: Instant,
    vip: Ipv4Addr,
    target: Ipv4Addr,
}

/// The table in one namespace.
#[derive(Debug)]
pub(super) struct Rules {
    netlink: Netlink,
    client: Client,
    installed: Balanced,
    departed: Vec<Departed>,
}

impl Rules {
    /// Takes charge of the namespace in which `netlink` was opened; installs nothing yet.
    pub(super) fn new(netlink: Netlink, client: Client) -> Self {
        let (installed, departed) = (Balanced::new(), Vec::new());
        Self {
            netlink,
            client,
            installed,
            departed,
        }
    }

    /// The socket, once the table needs no care any more.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.netlink.into()
    }

    /// Puts the whole table in place.
    pub(super) fn install(&mut self, balanced: Balanced) -> Result<(), NetError> {
        let change = self.client.install(&balanced);
        let what = "install the stable addresses in the replica's network namespace";
        self.netlink
            .change(&change)
            .map_err(NetError::refused(what))?;
        let before = std::mem::take(&mut self.installed);
        self.note(&before, balanced);
        Ok(())
    }

    /// Changes what differs, in one step; starts over if the table is not as we left it.
    pub(super) fn update(&mut self, balanced: Balanced) -> Result<(), NetError> {
        let touched = self.installed.keys().chain(balanced.keys()).copied();
        self.update_some(touched.collect(), balanced)
    }

    /// The same for some addresses; those of `touched` that `now` does not have go.
    pub(super) fn update_some(
        &mut self,
        touched: BTreeSet<Ipv4Addr>,
        now: Balanced,
    ) -> Result<(), NetError> {
        let mut before = Balanced::new();
        for vip in &touched {
            before.extend(self.installed.remove_entry(vip));
        }
        let change = self.client.update(&before, &now);
        let is_empty = |vip| before.get(vip).is_none_or(Vec::is_empty);
        let opens = now
            .iter()
            .any(|(vip, targets)| is_empty(vip) && !targets.is_empty());
        let changed = match change {
            None => {
                self.installed.extend(now);
                return Ok(());
            }
            Some(change) => self.netlink.change(&change),
        };
        match changed {
            Ok(()) => {
                self.note(&before, now);
                let refused = if opens { self.refused() } else { Vec::new() };
                self.reopen(&refused)
            }
            Err(_) => {
                let mut whole = self.installed.clone();
                whole.extend(now);
                self.installed.extend(before);
                self.install(whole)
            }
        }
    }

    /// The stable addresses from which datagrams were sent to nobody; also those that a dead shim
    /// knew, as long as its table is there.
    pub(super) fn refused(&self) -> Vec<Ipv4Addr> {
        let mut found = Vec::new();
        let asked = self.netlink.exchange(&ask_keys(TABLE, REFUSED), |answer| {
            let addresses = keys(answer).into_iter();
            found.extend(addresses.filter_map(|(key, _)| <[u8; 4]>::try_from(key).ok()));
        });
        // Where there is no table, nothing was refused.
        asked.map_or_else(
            |_| Vec::new(),
            |()| found.into_iter().map(Ipv4Addr::from).collect(),
        )
    }

    /// Forgets the datagram flows that led to nobody and have somebody to go to now: the kernel
    /// would lead them there for as long as they are used.
    pub(super) fn reopen(&self, refused: &[Ipv4Addr]) -> Result<(), NetError> {
        let open = |vip: &Ipv4Addr| {
            let targets = self.installed.get(vip);
            refused.contains(vip) && targets.is_some_and(|targets| !targets.is_empty())
        };
        let opened: Vec<_> = refused.iter().copied().filter(open).collect();
        if opened.is_empty() {
            return Ok(());
        }
        // A table that has been put in place anew knows none of them any more.
        let _ = self.netlink.change(&Client::forget_refused(&opened));
        let forgotten = self
            .netlink
            .forget_flows(&[NOBODY], |flow| opened.contains(&flow.destination));
        let what = "lead refused datagram flows to those that are ready now";
        forgotten.map_err(NetError::refused(what))
    }

    /// Notes what is installed in place of `before`, which is not among the rest.
    fn note(&mut self, before: &Balanced, now: Balanced) {
        let due = Instant::now() + DRAIN;
        for (vip, targets) in before {
            let left = now.get(vip).map_or(&[][..], Vec::as_slice);
            for target in targets.iter().filter(|target| !left.contains(target)) {
                let known = |gone: &Departed| gone.vip == *vip && gone.target == *target;
                if !self.departed.iter().any(known) {
                    self.departed.push(Departed {
                        due,
                        vip: *vip,
                        target: *target,
                    });
                }
            }
        }
        self.installed.extend(now);
        let installed = &self.installed;
        self.departed.retain(|gone| {
            !installed
                .get(&gone.vip)
                .is_some_and(|targets| targets.contains(&gone.target))
        });
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.departed.iter().map(|gone| gone.due).min()
    }

    /// Moves the datagram flows of targets that left long ago to those that are there.
    pub(super) fn expire(&mut self, now: Instant) -> Result<(), NetError> {
        let late = |gone: &Departed| gone.due <= now;
        let due: Vec<_> = self.departed.iter().copied().filter(late).collect();
        self.departed.retain(|gone| !late(gone));
        let targets: Vec<_> = due.iter().map(|gone| gone.target).collect();
        let is_due = |flow: &Flow| {
            let is = |gone: &Departed| gone.target == flow.target && gone.vip == flow.destination;
            due.iter().any(is)
        };
        let forgotten = self.netlink.forget_flows(&targets, is_due);
        forgotten.map_err(NetError::refused(
            "move datagram flows from a target that is gone",
        ))
    }
}
