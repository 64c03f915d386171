//! `sim:` and its settings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use unmoor_core::backend::Backend;
use unmoor_core::catalog::Connect;
use unmoor_core::clock::SystemClock;
use unmoor_core::{Error, ErrorKind, Result, Uri};

use crate::bug::Bug;
use crate::clock::VirtualClock;
use crate::sim::Sim;
use crate::world::World;

const SETTINGS: [&str; 5] = ["name", "seed", "clock", "ports", "bug"];

/// Opens worlds by URI: `sim:?name=a&seed=7&clock=system&ports=sockets&bug=no-grace`.
///
/// Connections of one process that give the same name share a world as long as one of them lives;
/// without a name each has its own. `clock` is `system` (default: programs that connect by URI
/// wait in real time) or `virtual`; `ports` is `sockets` (default: published ports answer on this
/// machine's loopback address) or `model`.
#[derive(Debug, Default)]
pub struct SimConnect {
    worlds: Mutex<BTreeMap<String, Weak<World>>>,
}

impl SimConnect {
    /// A catalog entry without worlds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

fn wrong(uri: &Uri, setting: &str, wanted: &str) -> Error {
    let text = format!("connect to `{uri}`: setting `{setting}` must be {wanted}");
    Error::new(ErrorKind::InvalidSpec, text)
}

fn open(uri: &Uri, name: &str) -> Result<Sim> {
    let setting = |key: &str| uri.query.get(key).map(String::as_str);
    let mut builder = Sim::builder().name(name);
    if let Some(seed) = setting("seed") {
        builder = builder.seed(seed.parse().map_err(|_| wrong(uri, "seed", "a number"))?);
    }
    builder = match setting("clock") {
        None | Some("system") => builder.clock(Arc::new(SystemClock::new())),
        Some("virtual") => builder.clock(Arc::new(VirtualClock::new())),
        Some(_) => return Err(wrong(uri, "clock", "system or virtual")),
    };
    builder = match setting("ports") {
        None | Some("sockets") => builder.sockets(),
        Some("model") => builder,
        Some(_) => return Err(wrong(uri, "ports", "sockets or model")),
    };
    for name in setting("bug").into_iter().flat_map(|list| list.split(',')) {
        let bug = Bug::parse(name).ok_or_else(|| wrong(uri, "bug", "the name of a seeded bug"))?;
        builder = builder.bug(bug);
    }
    Ok(builder.build())
}

#[async_trait]
impl Connect for SimConnect {
    fn scheme(&self) -> &'static str {
        "sim"
    }

    fn summary(&self) -> &'static str {
        "a model in memory, for tests; gone when the program ends"
    }

    async fn connect(&self, uri: &Uri) -> Result<Arc<dyn Backend>> {
        uri.allow_settings(&SETTINGS)?;
        if !uri.hosts.is_empty() || !uri.path.is_empty() {
            let text = format!("connect to `{uri}`: a world has neither host nor path");
            return Err(
                Error::new(ErrorKind::InvalidSpec, text).hint("write `sim:` or `sim:?name=NAME`")
            );
        }
        let Some(name) = uri.query.get("name") else {
            return Ok(open(uri, "")?.backend());
        };
        let mut worlds = self.worlds.lock().unwrap_or_else(PoisonError::into_inner);
        worlds.retain(|_, world| world.strong_count() > 0);
        if let Some(world) = worlds.get(name).and_then(Weak::upgrade) {
            return Ok(Sim { world }.backend());
        }
        let sim = open(uri, name)?;
        worlds.insert(name.clone(), Arc::downgrade(&sim.world));
        Ok(sim.backend())
    }
}
