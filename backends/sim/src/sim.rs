//! A connection to a world, and how worlds are made.

use std::sync::Arc;
use std::time::Duration;

use unmoor_core::backend::{Backend, Maker};
use unmoor_core::clock::Clock;
use unmoor_core::name::{ReplicaId, StackName};
use unmoor_core::spec::Protocol;
use unmoor_core::{Error, ErrorKind, Result};

use crate::bug::{Bug, Bugs};
use crate::clock::VirtualClock;
use crate::doors::Doors;
use crate::fault::{Call, Faults, Hit};
use crate::model::Model;
use crate::world::World;

/// A connection to a world in memory. Clones lead to the same world.
///
/// ```
/// # async fn demo() -> Result<(), unmoor_core::Error> {
/// use unmoor_core::backend::Backend;
/// use unmoor_core::label::Selector;
/// let sim = unmoor_sim::Sim::new();
/// assert!(sim.observe(&Selector::all()).await?.stacks.is_empty());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Sim {
    pub(crate) world: Arc<World>,
}

/// One replica at a glance, as the world itself has it: no fault comes in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Which.
    pub id: ReplicaId,
    /// Its process is there.
    pub alive: bool,
    /// It gets new connections.
    pub serves: bool,
}

/// How a world is made.
#[derive(Debug)]
pub struct Builder {
    name: String,
    seed: u64,
    clock: Option<Arc<dyn Clock>>,
    bugs: Bugs,
    sockets: bool,
}

impl Builder {
    /// Gives the world a name, which `info` shows.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets what the world's choices depend on.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Takes time from this clock; default: a [`VirtualClock`] of its own.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Puts a bug in.
    #[must_use]
    pub fn bug(mut self, bug: Bug) -> Self {
        self.bugs.add(bug);
        self
    }

    /// Opens real sockets for published ports, on this machine's loopback address.
    #[must_use]
    pub fn sockets(mut self) -> Self {
        self.sockets = true;
        self
    }

    /// Makes the world.
    #[must_use]
    pub fn build(self) -> Sim {
        let clock = self.clock.unwrap_or_else(|| Arc::new(VirtualClock::new()));
        let now = clock.monotonic();
        let doors = Arc::new(if self.sockets {
            Doors::sockets()
        } else {
            Doors::none()
        });
        let epoch = clock.now() - now;
        let mut model = Model::new(epoch, now, self.seed, self.bugs);
        model.doors = Arc::clone(&doors);
        Sim {
            world: World::new(self.name, clock, model, doors),
        }
    }
}

impl Sim {
    /// An empty world with virtual time.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A world to be set up.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            name: String::new(),
            seed: 1,
            clock: None,
            bugs: Bugs::default(),
            sockets: false,
        }
    }

    /// This connection, as `Client` takes it.
    #[must_use]
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.clone())
    }

    /// The world's clock, for a client whose waits should be as instant as the world's.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.world.clock)
    }

    /// What goes wrong in this world.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.world.faults.clone()
    }

    /// What goes wrong with a call, before its effect.
    pub(crate) async fn before(&self, call: Call, label: &str) -> Result<Hit> {
        let clock = self.world.clock.as_ref();
        self.world.faults.before(clock, call, label).await
    }

    /// Connects to a published port of the world's node, sends a line, and reads the answer.
    ///
    /// # Errors
    /// `Unavailable` if nothing answers there.
    pub fn knock(&self, protocol: Protocol, port: u16, line: &str) -> Result<String> {
        let answer = self.world.with(|model| model.knock(protocol, port, line));
        answer.map_err(|why| {
            let text = format!(
                "connect to port {port}/{protocol} of the node: {}",
                why.as_str()
            );
            Error::new(ErrorKind::Unavailable, text)
        })
    }

    /// Every replica of a stack right now, by service and slot.
    #[must_use]
    pub fn glance(&self, stack: &StackName) -> Vec<Glance> {
        self.world.with(|model| model.glance(stack))
    }

    /// Counts every change of the world.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.world.with(|model| model.version())
    }

    /// Kills the program of a replica, as the operating system does for want of memory; false if
    /// it does not run.
    #[must_use]
    pub fn kill(&self, replica: &ReplicaId) -> bool {
        self.world.with(|model| model.kill(replica))
    }

    /// Makes all that a stack has somebody else's, as if `maker` had made it past us; it goes on as
    /// it is. False without such a stack.
    #[must_use]
    pub fn disown(&self, stack: &StackName, maker: &Maker) -> bool {
        self.world.with(|model| model.disown(stack, maker))
    }

    /// The world's own time.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.world.clock.monotonic()
    }
}

impl Default for Sim {
    fn default() -> Self {
        Self::new()
    }
}
