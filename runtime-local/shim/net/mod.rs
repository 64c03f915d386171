//! The shim's share of a replica's network: interfaces, names, and stable addresses.
//!
//! Order of a start: clone the child, [`host_setup`] in the shim, [`child_setup`] in the child
//! (before the new root is entered, so that the host's `/proc` is still there), then
//! [`NetService::open`], and only then may the replica's program start: its names resolve and its
//! addresses answer from the first instruction on. At the end drop the service, then
//! [`host_teardown`].

mod forward;
mod link;
mod nl;
mod publish;
mod rules;
mod serve;
mod speak;
mod sys;
mod zones;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use crate::wire::names::{Zone, balanced, balanced_some};
use crate::wire::netplan::{Attachment, NetPlan};
use crate::wire::nft_client::{Balanced, Client};
use crate::wire::zone::EndpointFile;
use nl::{Netlink, Refusal};
use publish::Ports;
use rules::Rules;
use serve::{Server, Sockets};
pub(crate) use speak::Discovery;
use speak::Speaker;
use sys::{Epoll, READ, Timer};
use zones::{Changed, Zones};

const TIMER: u64 = 1 << 56;
const ZONES: u64 = 2 << 56;

/// Changes that come closer together than the first are applied together, and closer together than
/// the second where applying takes long: in a large network, or on a busy host.
const BREATH: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(250));
/// The part of its time that a shim gives to changes at most is one in so many.
const PART: u32 = 20;

/// What could not be done, on what, and the kernel's answer.
#[derive(Debug)]
pub(crate) struct NetError {
    /// What was tried, on what.
    pub(crate) what: String,
    /// The kernel's error number; 0 when the failure is not the kernel's.
    pub(crate) errno: i32,
}

impl NetError {
    fn plain(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            errno: 0,
        }
    }

    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |error| Self {
            what: what.into(),
            errno: error.raw_os_error().unwrap_or(0),
        }
    }

    fn refused(what: impl Into<String>) -> impl FnOnce(Refusal) -> Self {
        move |refusal| Self {
            what: what.into(),
            errno: refusal.errno,
        }
    }
}

impl core::fmt::Display for NetError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.what)?;
        if self.errno != 0 {
            write!(f, ": {}", io::Error::from_raw_os_error(self.errno))?;
        }
        Ok(())
    }
}

/// Makes the replica's interface pairs; runs in the shim, in the host's network namespace.
///
/// A leftover pair of the same name is replaced.
pub(crate) fn host_setup(
    plan: &NetPlan,
    child_pid: i32,
    netns: BorrowedFd<'_>,
) -> Result<(), NetError> {
    if !plan.attachments.is_empty() {
        inside(netns, link::no_ipv6)?;
    }
    link::make(plan, child_pid)
}

/// Brings up loopback and the replica's interfaces; runs in the child, in its own namespaces.
///
/// Needs a writable `/proc/sys/net` in view and `CAP_NET_ADMIN` in the child's user namespace.
/// It sets a few kernel parameters of the namespace: the user's own come after it.
pub(crate) fn child_setup(plan: &NetPlan) -> Result<(), NetError> {
    link::configure(plan)
}

/// Moves what still goes to a replica that has ended to those that are left. Its endpoint files are
/// gone already, and its interfaces go with its network namespace.
pub(crate) fn after_end(plan: &NetPlan) -> Result<(), NetError> {
    publish::forget_flows(plan)
}

/// Removes what [`host_setup`] made and the replica's endpoint files; absent things are fine.
pub(crate) fn host_teardown(plan: &NetPlan) -> Result<(), NetError> {
    let mut first = Ok(());
    for attachment in &plan.attachments {
        first = first.and(withdraw(plan, attachment));
    }
    first
        .and(publish::forget_flows(plan))
        .and(link::remove(plan))
}

/// Answers names and keeps the address map of one replica while it runs.
#[derive(Debug)]
pub(crate) struct NetService {
    plan: NetPlan,
    epoll: Epoll,
    fds: [RawFd; 1],
    parts: Option<Parts>,
    problem: Option<NetError>,
}

/// What a replica with a network has.
#[derive(Debug)]
struct Parts {
    timer: Timer,
    due: Option<Instant>,
    zones: Zones,
    zone: Zone,
    /// The zones have changed since the names were made: most replicas of a large network never ask
    /// between two changes, many never at all.
    zone_is_old: bool,
    rules: Rules,
    server: Server,
    speaker: Option<Speaker>,
    /// There is something that who waits for a change has not been told.
    news: bool,
    ports: Option<Ports>,
    turn: u32,
    /// When changes were applied last.
    applied: Instant,
    /// How long to wait after that, so that changes that follow each other come together.
    breath: Duration,
    dirty: bool,
    /// The last change could not be made.
    stale: bool,
}

impl NetService {
    /// Opens the sockets inside `netns`, reserves published ports, loads the zones, installs the
    /// address map, and waits until packets pass: call it after [`child_setup`]. Requests are
    /// answered to whoever knows what `discovery` says. The caller must be single-threaded; it is
    /// back in its own network namespace when this returns.
    ///
    /// # Panics
    /// When the way back into the caller's own namespace fails: nothing it did after that would
    /// be where it belongs.
    pub(crate) fn open(
        plan: &NetPlan,
        discovery: Option<Discovery>,
        netns: BorrowedFd<'_>,
    ) -> Result<Self, NetError> {
        let epoll = Epoll::new().map_err(NetError::io("open an epoll descriptor"))?;
        let fds = [epoll.0.as_raw_fd()];
        let parts = if plan.attachments.is_empty() {
            None
        } else {
            Some(Parts::open(plan, discovery, netns, &epoll)?)
        };
        Ok(Self {
            plan: plan.clone(),
            epoll,
            fds,
            parts,
            problem: None,
        })
    }

    /// The descriptors to poll for reading; the same ones for the service's whole life.
    pub(crate) fn fds(&self) -> &[RawFd] {
        &self.fds
    }

    /// Does whatever is due; call it when one of [`Self::fds`] is readable. Never blocks.
    pub(crate) fn on_ready(&mut self, _fd: RawFd) {
        let Some(parts) = &mut self.parts else { return };
        let mut tokens = [0; 16];
        let count = self.epoll.ready(&mut tokens, Duration::ZERO);
        let mut changed = false;
        for token in &tokens[..count] {
            match *token {
                TIMER => drop(sys::read_bytes(&parts.timer.0, &mut [0; 8])),
                ZONES => changed = true,
                token if [speak::CALLERS, speak::CALLS].contains(&(token & 0xff << 56)) => {
                    if let Some(speaker) = &mut parts.speaker {
                        speaker.ready(&self.epoll, token, &parts.zones);
                    }
                }
                token => {
                    parts.renew_names(&self.plan);
                    parts.server.ready(&self.epoll, token, &parts.zone);
                }
            }
        }
        let applied = parts.tick(changed, &self.epoll, &self.plan);
        self.note(applied);
    }

    /// Publishes or withdraws this replica as an endpoint of its service.
    pub(crate) fn set_ready(&mut self, ready: bool) -> Result<(), NetError> {
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        for attachment in &self.plan.attachments {
            if ready {
                announce(&self.plan, attachment)?;
            } else {
                withdraw(&self.plan, attachment)?;
            }
        }
        if let Some(ports) = &parts.ports {
            ports.converge(&self.plan, ready)?;
        }
        publish::converge_across(&self.plan)?;
        if !ready {
            // Our own view follows like everybody's: a whole stack that stops has better to do.
            return Ok(());
        }
        // Our own view changes at once, not when the kernel tells us what we have just done.
        parts.settle(&self.epoll, &self.plan)
    }

    /// Takes the ports of a plan that differs in nothing else; they lead somewhere with the next
    /// [`set_ready`](Self::set_ready).
    pub(crate) fn change_ports(&mut self, plan: &NetPlan) -> Result<(), NetError> {
        if let Some(parts) = &mut self.parts {
            parts.ports = Ports::open(plan)?;
        }
        self.plan = plan.clone();
        Ok(())
    }

    /// Applies every change of the zones and links that has been made so far.
    pub(crate) fn settle(&mut self) -> Result<(), NetError> {
        match &mut self.parts {
            Some(parts) => parts.settle(&self.epoll, &self.plan),
            None => Ok(()),
        }
    }

    /// Reads every zone and the links again and puts every rule back, as after a firewall flush.
    pub(crate) fn reload(&mut self) -> Result<(), NetError> {
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        parts.zones.reopen(&self.plan, &self.epoll)?;
        parts.zones.refresh();
        parts.zone_is_old = true;
        parts.tell(&self.epoll);
        parts.rules.install(parts.balanced())?;
        publish::converge_across(&self.plan)?;
        match &parts.ports {
            Some(ports) => ports.converge(&self.plan, true),
            None => Ok(()),
        }
    }

    /// Ends the service; returns what takes the kernel long to close.
    pub(crate) fn leave(self) -> Vec<OwnedFd> {
        let Some(parts) = self.parts else {
            return Vec::new();
        };
        let mut slow = parts.zones.into_watch();
        // After rules were removed its closing waits until no packet is in them any more.
        slow.push(parts.rules.into_socket());
        slow.extend(parts.speaker.map(Speaker::into_socket));
        slow
    }

    /// The last failure of work that nobody waited for, once.
    pub(crate) fn take_problem(&mut self) -> Option<NetError> {
        self.problem.take()
    }

    fn note(&mut self, result: Result<(), NetError>) {
        if let Err(problem) = result {
            self.problem = Some(problem);
        }
    }
}

impl Parts {
    fn open(
        plan: &NetPlan,
        discovery: Option<Discovery>,
        netns: BorrowedFd<'_>,
        epoll: &Epoll,
    ) -> Result<Self, NetError> {
        let ports = Ports::open(plan)?;
        let inside = inside(netns, || {
            let sockets = Sockets::open().map_err(NetError::io("open the DNS sockets"))?;
            let netlink = Netlink::netfilter().map_err(NetError::io("open netfilter"))?;
            let listener = discovery.is_some().then(speak::listen).transpose();
            let listener = listener.map_err(NetError::io("open the socket for requests"))?;
            Ok((sockets, netlink, listener))
        });
        let (sockets, netlink, listener) = inside?;
        let http = listener
            .as_ref()
            .and_then(|socket| socket.local_addr().ok());
        let http = http.map(|address| address.port());
        let dns = sockets
            .ports()
            .map_err(NetError::io("ask for the DNS ports"))?;
        let subnets = plan
            .attachments
            .iter()
            .map(|a| (a.address, a.prefix))
            .collect();
        let timer = Timer::new().map_err(NetError::io("open a timer"))?;
        let timed = epoll.add(&timer.0, READ, TIMER);
        timed.map_err(NetError::io("wait for a timer"))?;
        let zones = Zones::open(plan, epoll, ZONES)?;
        let mut parts = Self {
            timer,
            due: None,
            zone: Zone::default(),
            zone_is_old: true,
            zones,
            rules: Rules::new(netlink, Client { dns, http, subnets }),
            server: Server::new(sockets, plan, epoll)?,
            speaker: listener
                .zip(discovery)
                .map(|(listener, discovery)| Speaker::new(listener, discovery, epoll))
                .transpose()?,
            news: false,
            ports,
            turn: plan.attachments.first().map_or(0, |a| a.address.to_bits()),
            applied: Instant::now(),
            breath: BREATH.0,
            dirty: false,
            stale: false,
        };
        let refused = parts.rules.refused();
        parts.rules.install(parts.balanced())?;
        parts.rules.reopen(&refused)?;
        link::settle(plan)?;
        Ok(parts)
    }

    /// Answers those who wait for a change.
    fn tell(&mut self, epoll: &Epoll) {
        let Some(speaker) = &mut self.speaker else {
            return;
        };
        let started = Instant::now();
        speaker.changed(epoll, &self.zones);
        // Those who wait cost time as the rules do, and are part of the same part.
        self.breath = (self.breath + started.elapsed() * PART).min(BREATH.1);
    }

    fn balanced(&self) -> Balanced {
        balanced(&self.zones.views, &self.zones.links, self.turn)
    }

    /// Makes the names anew if they are old; call it before a question is answered.
    fn renew_names(&mut self, plan: &NetPlan) {
        if self.zone_is_old {
            self.zone = build_zone(plan, &self.zones);
            self.zone_is_old = false;
        }
    }

    /// Applies changes, at once or after a breath.
    fn tick(&mut self, changed: bool, epoll: &Epoll, plan: &NetPlan) -> Result<(), NetError> {
        let now = Instant::now();
        if changed {
            self.dirty |= self.zones.notice();
        }
        let due = self.dirty && now.duration_since(self.applied) >= self.breath;
        let applied = if due {
            // What has come while nobody listened.
            self.zones.notice();
            self.apply(now)
        } else {
            Ok(())
        };
        self.keep_time(applied, now, epoll, plan)
    }

    /// Applies changes without a breath: somebody waits for them.
    fn settle(&mut self, epoll: &Epoll, plan: &NetPlan) -> Result<(), NetError> {
        let now = Instant::now();
        self.dirty |= self.zones.notice();
        let applied = if self.dirty || self.stale {
            self.apply(now)
        } else {
            Ok(())
        };
        self.keep_time(applied, now, epoll, plan)
    }

    fn apply(&mut self, now: Instant) -> Result<(), NetError> {
        self.dirty = false;
        self.applied = now;
        let changed = self.zones.refresh();
        self.zone_is_old = true;
        self.news = true;
        let updated = match changed {
            Changed::Services(services) if !self.stale => {
                let (views, links) = (&self.zones.views, &self.zones.links);
                let now = balanced_some(views, links, self.turn, |at, name| {
                    services[at].contains_key(name)
                });
                let before = services
                    .into_iter()
                    .flat_map(BTreeMap::into_values)
                    .flatten();
                self.rules
                    .update_some(before.chain(now.keys().copied()).collect(), now)
            }
            _ => self.rules.update(self.balanced()),
        };
        self.stale = updated.is_err();
        self.breath = (now.elapsed() * PART).clamp(BREATH.0, BREATH.1);
        updated
    }

    /// Gives up on what took too long, and sets the timer for what is due next.
    fn keep_time(
        &mut self,
        applied: Result<(), NetError>,
        now: Instant,
        epoll: &Epoll,
        plan: &NetPlan,
    ) -> Result<(), NetError> {
        // During a breath nothing is listened to: in a large network every change of many would wake
        // everybody up, only to be put off.
        self.zones.listen(epoll, !self.dirty)?;
        if self.server.deadline().is_some_and(|due| due <= now) {
            self.renew_names(plan);
            self.server.expire(epoll, now, &self.zone);
        }
        if std::mem::take(&mut self.news) {
            self.tell(epoll);
        }
        if let Some(speaker) = &mut self.speaker
            && speaker.deadline().is_some_and(|due| due <= now)
        {
            speaker.expire(epoll, now, &self.zones);
        }
        let applied = applied.and(self.rules.expire(now));
        let next = self.dirty.then(|| self.applied + self.breath);
        let others = self
            .server
            .deadline()
            .into_iter()
            .chain(self.rules.deadline())
            .chain(self.speaker.as_ref().and_then(Speaker::deadline));
        let next = next.into_iter().chain(others).min();
        if next != self.due {
            self.due = next;
            if let Some(next) = next {
                self.timer.set(next.saturating_duration_since(now));
            }
        }
        applied
    }
}

/// Runs `work` in another network namespace.
fn inside<T>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, NetError>,
) -> Result<T, NetError> {
    let own = "/proc/thread-self/ns/net";
    let home = File::open(own).map_err(NetError::io(format!("open {own}")))?;
    let entered = sys::enter_netns(netns);
    entered.map_err(NetError::io("enter the replica's network namespace"))?;
    let result = work();
    sys::enter_netns(home.as_fd()).expect("a process may always go back where it came from");
    result
}

fn build_zone(plan: &NetPlan, zones: &Zones) -> Zone {
    let mut zone = Zone::build(&zones.views, &zones.links);
    for attachment in &plan.attachments {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(attachment.prefix.min(32)))
            .unwrap_or(0);
        zone.subnets
            .push((attachment.address.to_bits() & mask, mask));
    }
    // A replica that cannot send packets out must not send names out either.
    zone.forward = plan
        .attachments
        .iter()
        .any(|attachment| !attachment.internal);
    zone
}

fn announce(plan: &NetPlan, attachment: &Attachment) -> Result<(), NetError> {
    let file = EndpointFile {
        replica: plan.replica.clone(),
        service: plan.service.clone(),
        address: Some(attachment.address),
        weight: plan.weight.max(1),
        names: attachment.names.clone(),
    };
    let written = zones::write(&attachment.zone_dir, "ep", &plan.replica, &file.format());
    let (replica, network) = (&plan.replica, &attachment.network);
    written.map_err(NetError::io(format!(
        "announce {replica} on the network {network}"
    )))
}

fn withdraw(plan: &NetPlan, attachment: &Attachment) -> Result<(), NetError> {
    let removed = zones::remove(&attachment.zone_dir, "ep", &plan.replica);
    let (replica, network) = (&plan.replica, &attachment.network);
    removed.map_err(NetError::io(format!(
        "withdraw {replica} from the network {network}"
    )))
}
