//! The model itself: what a platform holds, and how it changes with time. No waiting; I/O only to
//! open real ports, where a world has them.

mod act;
mod copy;
mod files;
mod foreign;
mod health;
mod inside;
mod life;
mod net;
mod observe;
mod ports;
mod tree;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use unmoor_core::backend::{DesiredService, Exit, HealthState, LogLine, Maker, Phase, StackPlace};
use unmoor_core::name::{NetworkName, ReplicaId, ServiceName, StackName, VolumeName};
use unmoor_core::spec::{BlobId, Published, SecretBytes};

pub(crate) use act::Begun;
pub(crate) use files::{FileError, Write};
pub(crate) use net::{Net, Refused};
pub(crate) use ports::Reservation;
pub(crate) use tree::{Kind, Node, Tree, normal, parent};
pub(crate) use user::Identity;

use crate::bug::Bugs;
use crate::doors::Doors;
use crate::image::ImageStore;
use crate::probe::{Process, Timer};
use crate::rng::Rng;

/// Everything of one world.
#[derive(Debug)]
pub(crate) struct Model {
    /// Time of what happens right now; never ahead of the clock.
    pub(crate) now: Duration,
    epoch: SystemTime,
    version: u64,
    events: BTreeMap<(Duration, u64), Event>,
    ticket: u64,
    pub(crate) stacks: BTreeMap<StackName, Holding>,
    /// What of them is not ours, and who made it.
    foreign: BTreeMap<StackPlace, Maker>,
    /// Services of them that somebody else declared.
    undeclared: BTreeSet<(StackName, ServiceName)>,
    /// Data of volumes by physical name.
    pub(crate) volumes: BTreeMap<String, Tree>,
    pub(crate) processes: BTreeMap<u64, Process>,
    pub(crate) images: ImageStore,
    pub(crate) records: BTreeMap<StackName, (Vec<u8>, u64)>,
    pub(crate) locks: BTreeSet<StackName>,
    pub(crate) published: Vec<Reservation>,
    pub(crate) subnets: u32,
    pub(crate) rng: Rng,
    pub(crate) bugs: Bugs,
    /// Asked whether a port can be published, as this machine is where it answers.
    pub(crate) doors: Arc<Doors>,
    /// Program files looked through already, and whether they are the probe.
    pub(crate) programs: Vec<(Arc<Vec<u8>>, bool)>,
    /// How many servers ask one another right now.
    pub(crate) depth: u32,
}

/// What happens by itself at a time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A timer of a process.
    Process(u64, Timer),
    /// A health check is due.
    Health(ReplicaId, u64),
    /// The pause before a restart is over.
    Restart(ReplicaId, u64),
    /// The grace after a stop signal is over.
    Kill(ReplicaId, u64),
}

/// What there is of one stack.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    pub(crate) networks: BTreeMap<NetworkName, Net>,
    /// Physical names of volumes, and whether they are somebody else's.
    pub(crate) volumes: BTreeMap<VolumeName, (String, bool)>,
    pub(crate) blobs: BTreeMap<BlobId, SecretBytes>,
    pub(crate) services: BTreeMap<ServiceName, Declared>,
    pub(crate) replicas: BTreeMap<(ServiceName, u32), Replica>,
}

/// A declared service.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) service: Arc<DesiredService>,
    /// When it was declared last, in the model's time.
    pub(crate) since: Duration,
    pub(crate) addresses: BTreeMap<NetworkName, Ipv4Addr>,
}

/// Where files of a replica come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A volume by physical name.
    Volume(String),
    /// A tree of the replica's own, by its place in the list.
    Own(usize),
}

/// Something mounted into a replica.
#[derive(Debug, Clone)]
pub(crate) struct MountPoint {
    pub(crate) target: String,
    pub(crate) source: Source,
    pub(crate) read_only: bool,
}

/// One replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    pub(crate) service: Arc<DesiredService>,
    pub(crate) hostname: String,
    pub(crate) phase: Phase,
    pub(crate) health: HealthState,
    pub(crate) draining: bool,
    pub(crate) exit: Option<Exit>,
    pub(crate) message: Option<String>,
    pub(crate) command: Vec<String>,
    pub(crate) created: SystemTime,
    pub(crate) started: Option<SystemTime>,
    pub(crate) ended: Option<SystemTime>,
    /// When the present run began, in the model's time.
    pub(crate) since: Duration,
    pub(crate) restarts: u32,
    /// Restarts in a row without a run of ten seconds.
    pub(crate) in_a_row: u32,
    pub(crate) failed_checks: u32,
    pub(crate) stop_requested: bool,
    /// Counts runs and stops, so that an event meant for an earlier one does nothing.
    pub(crate) run: u64,
    pub(crate) main: Option<u64>,
    pub(crate) addresses: BTreeMap<NetworkName, Ipv4Addr>,
    pub(crate) ports: Vec<Published>,
    /// The image's files with everything written since.
    pub(crate) root: Tree,
    pub(crate) mounts: Vec<MountPoint>,
    pub(crate) own: Vec<Tree>,
    /// Secrets and configs by target.
    pub(crate) given: BTreeMap<String, Node>,
    pub(crate) logs: Vec<LogLine>,
    /// Timers that were due while it was frozen.
    pub(crate) held: Vec<(u64, Timer)>,
}

impl Model {
    pub(crate) fn new(epoch: SystemTime, now: Duration, seed: u64, bugs: Bugs) -> Self {
        Self {
            now,
            epoch,
            version: 0,
            events: BTreeMap::new(),
            ticket: 0,
            stacks: BTreeMap::new(),
            foreign: BTreeMap::new(),
            undeclared: BTreeSet::new(),
            volumes: BTreeMap::new(),
            processes: BTreeMap::new(),
            images: ImageStore::default(),
            records: BTreeMap::new(),
            locks: BTreeSet::new(),
            published: Vec::new(),
            subnets: 0,
            rng: Rng::new(seed),
            bugs,
            doors: Arc::new(Doors::none()),
            programs: Vec::new(),
            depth: 0,
        }
    }

    /// Counts every change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn touch(&mut self) {
        self.version += 1;
    }

    /// Wall-clock time of what happens right now.
    pub(crate) fn wall(&self) -> SystemTime {
        self.epoch + self.now
    }

    pub(crate) fn ticket(&mut self) -> u64 {
        self.ticket += 1;
        self.ticket
    }

    pub(crate) fn schedule(&mut self, pause: Duration, event: Event) {
        let ticket = self.ticket();
        self.events.insert((self.now + pause, ticket), event);
    }

    /// When something happens by itself next.
    pub(crate) fn next_event(&self) -> Option<Duration> {
        self.events.keys().next().map(|(at, _)| *at)
    }

    /// Lets everything happen that is due until `now`, each at its own time.
    pub(crate) fn catch_up(&mut self, now: Duration) {
        while let Some(entry) = self.events.first_entry() {
            let at = entry.key().0;
            if at > now {
                break;
            }
            let event = entry.remove();
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(now);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Process(pid, timer) if self.hold(pid, timer) => {}
            Event::Process(pid, timer) => self.process_timer(pid, timer),
            Event::Health(id, run) => self.health_due(&id, run),
            Event::Restart(id, run) => self.restart_due(&id, run),
            Event::Kill(id, run) => self.kill_due(&id, run),
        }
    }

    pub(crate) fn holding(&self, stack: &StackName) -> Option<&Holding> {
        self.stacks.get(stack)
    }

    pub(crate) fn replica(&self, id: &ReplicaId) -> Option<&Replica> {
        let key = (id.service.clone(), id.slot);
        self.stacks.get(&id.stack)?.replicas.get(&key)
    }

    pub(crate) fn replica_mut(&mut self, id: &ReplicaId) -> Option<&mut Replica> {
        let key = (id.service.clone(), id.slot);
        self.stacks.get_mut(&id.stack)?.replicas.get_mut(&key)
    }

    /// Every replica of a service.
    pub(crate) fn replicas_of<'a>(
        &'a self,
        stack: &StackName,
        service: &'a ServiceName,
    ) -> impl Iterator<Item = &'a Replica> {
        let holding = self.stacks.get(stack);
        let replicas = holding
            .into_iter()
            .flat_map(|holding| holding.replicas.values());
        replicas.filter(move |replica| replica.id.service == *service)
    }

    /// Forgets a stack of which nothing is left.
    pub(crate) fn tidy(&mut self, stack: &StackName) {
        if self.stacks.get(stack).is_some_and(Holding::is_empty) {
            self.stacks.remove(stack);
        }
    }
}

impl Holding {
    fn is_empty(&self) -> bool {
        self.networks.is_empty()
            && self.volumes.is_empty()
            && self.blobs.is_empty()
            && self.services.is_empty()
            && self.replicas.is_empty()
    }
}

impl Replica {
    /// True if it runs and is healthy or has no check.
    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Running
            && matches!(self.health, HealthState::None | HealthState::Healthy)
    }
}
