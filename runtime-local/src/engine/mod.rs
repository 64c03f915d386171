//! The runtime itself: makes, changes and removes networks, volumes, services and replicas.
//!
//! Everything here blocks and runs on threads for such work; a caller that gives up leaves the
//! work to finish by itself. Each action is: look, record the intent, act, record the end.

mod across;
mod adopt;
mod blob;
mod compile;
mod devices;
mod dismiss;
mod dying;
mod endpoints;
mod environment;
mod files;
mod foreign;
mod inside;
mod links;
mod lookup;
mod mounts;
mod network;
mod observe;
mod publish;
mod rebuild;
mod recover;
mod replica;
mod service;
mod start;
mod strays;
mod takedown;
mod volume;
mod work;

pub(crate) use compile::{groups, member_of};
pub(crate) use lookup::Running;
pub(crate) use work::Subject;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use unmoor_core::backend::Commit;
use unmoor_core::name::{NetworkName, StackName};
use unmoor_core::spec::{NetworkMode, Service, default_network};
use unmoor_image::Store;

use crate::error::LocalError;
use crate::layout::Layout;
use crate::net::{NetworkConfig, Subnet, bridge_name, zone_dir};
use crate::sandbox::cgroup::Hierarchies;
use crate::shim::Program;
use crate::state::{
    Db, Durability, Lock, NetworkRecord, Patience, Session, meta, random_hex, room,
};

/// One installation: a directory with everything in it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    inner: Arc<Inner>,
    commit: Commit,
    patience: Patience,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    db: Db,
    images: Store,
    program: OnceLock<Program>,
    hierarchies: Hierarchies,
    /// Tells this installation's cgroups from another's.
    id: String,
}

impl Runtime {
    /// Opens the installation in `root`, makes it if need be, and puts right what earlier
    /// commands or a reboot left behind.
    pub(crate) fn open(root: &Path) -> Result<Self, LocalError> {
        crate::preflight::check()?;
        let layout = Layout::open(root)?;
        let read_only = layout.is_read_only();
        if !read_only {
            room::keep(layout.root());
        }
        let images = Store::open(layout.images())?;
        let hierarchies = Hierarchies::detect()?;
        let (db, made) = if read_only {
            (Db::open_read_only(&layout.database())?, false)
        } else {
            Db::open(&layout.database())?
        };
        let former = if made {
            rebuild::former_id(&layout)?
        } else {
            None
        };
        let id = installation_id(&db, former)?;
        let program = OnceLock::new();
        let inner = Inner {
            layout,
            db,
            images,
            program,
            hierarchies,
            id,
        };
        let runtime = Self {
            inner: Arc::new(inner),
            commit: Commit::Now,
            patience: Patience::Waits,
        };
        if made {
            runtime.rebuild()?;
        }
        // What cannot be written can still be read.
        if !read_only {
            runtime.recover()?;
        }
        Ok(runtime)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    pub(crate) fn db(&self) -> Session<'_> {
        self.inner.db.session(self.commit, self.patience)
    }

    /// The same installation, for a command whose caller acknowledges it so.
    pub(crate) fn committing(&self, commit: Commit) -> Self {
        Self {
            commit,
            ..self.clone()
        }
    }

    /// Gives up work that may take long, if there is no time to wait.
    fn may_wait(&self) -> Result<(), LocalError> {
        match self.patience {
            Patience::Waits => Ok(()),
            Patience::GivesUp => Err(LocalError::InTheWay),
        }
    }

    pub(crate) fn images(&self) -> &Store {
        &self.inner.images
    }

    pub(crate) fn hierarchies(&self) -> &Hierarchies {
        &self.inner.hierarchies
    }

    /// The installed shim; installed at the first use.
    fn program(&self) -> Result<&Program, LocalError> {
        if let Some(program) = self.inner.program.get() {
            return Ok(program);
        }
        let program = Program::install(self.layout())?;
        Ok(self.inner.program.get_or_init(|| program))
    }

    fn cgroup_path(&self, key: &str) -> String {
        format!("unmoor/{}/{key}", self.inner.id)
    }

    /// The folder of a network's zone.
    fn zone(&self, network: &NetworkRecord) -> Result<PathBuf, LocalError> {
        Ok(zone_dir(self.layout().root(), &network.id)?)
    }

    /// A network as the host has it.
    fn network_config(&self, network: &NetworkRecord) -> Result<NetworkConfig, LocalError> {
        let subnet = subnet(network)?;
        Ok(NetworkConfig {
            bridge: bridge_name(self.layout().root(), &network.id),
            subnet,
            gateway: subnet.gateway(),
            internal: network.spec.internal,
            mtu: network.mtu,
        })
    }

    /// The same, unless another command holds it.
    fn try_lock(
        &self,
        kind: &str,
        stack: &StackName,
        name: &str,
    ) -> Result<Option<Lock>, LocalError> {
        Lock::attempt(&self.layout().lock(&format!("{kind}.{stack}.{name}")))
    }

    /// Runs blocking work on a thread for it; goes on although the caller gives up.
    pub(crate) async fn block<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Self) -> Result<T, LocalError> + Send + 'static,
    ) -> Result<T, LocalError> {
        let runtime = self.clone();
        let task = tokio::task::spawn_blocking(move || work(&runtime));
        task.await.map_err(|_| LocalError::Lost(what))?
    }

    /// Does short work at once, and on a thread only if something is in its way.
    ///
    /// To wake a thread and to be woken by it takes longer than most looks. The work must be done
    /// in a fraction of a millisecond, or end with `InTheWay` before it has changed anything.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Fn(&Self) -> Result<T, LocalError> + Send + 'static,
    ) -> Result<T, LocalError> {
        let hasty = Self {
            patience: Patience::GivesUp,
            ..self.clone()
        };
        match work(&hasty) {
            Err(LocalError::InTheWay) => self.block(what, work).await,
            done => done,
        }
    }
}

/// The networks that a service is on.
fn networks_of(spec: &Service) -> Vec<NetworkName> {
    match spec.network_mode {
        NetworkMode::Networks if spec.networks.is_empty() => vec![default_network()],
        NetworkMode::Networks => spec.networks.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

fn subnet(network: &NetworkRecord) -> Result<Subnet, LocalError> {
    Subnet::new(network.subnet, network.prefix).ok_or_else(|| LocalError::Corrupt {
        what: format!("the record of network `{}`", network.name),
        problem: format!("{}/{} is no subnet", network.subnet, network.prefix),
    })
}

/// The id on record; else the one that a lost database had, or a new one.
fn installation_id(db: &Db, former: Option<String>) -> Result<String, LocalError> {
    const KEY: &str = "installation";
    if let Some(id) = db.read("read the installation's id", |c| meta::load(c, KEY))? {
        return Ok(id);
    }
    let fresh = former.map_or_else(|| random_hex(4), Ok)?;
    db.write(
        "write the installation's id",
        Durability::Power,
        |c| match meta::load(c, KEY)? {
            Some(id) => Ok(id),
            None => meta::store(c, KEY, &fresh).map(|()| fresh),
        },
    )
}
