//! Our side of a measurement, through the library as a user calls it.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use unmoor::backend::{ImageInput, Until};
use unmoor::client::{DownOptions, UpOptions};
use unmoor::label::Selector;
use unmoor::name::{ServiceName, StackName};
use unmoor::spec::{NetworkMode, Role, Service, Stack};
use unmoor::{Client, Error, ErrorKind, Result};

use crate::memory::{Memory, processes};

/// How the replica is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Loopback only.
    NoNetwork,
    /// On a bridge of its stack, with names.
    Network,
    /// The same, and nobody answers questions about services.
    Unasked,
}

impl Way {
    pub(crate) const ALL: [Self; 2] = [Self::NoNetwork, Self::Network];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoNetwork => "unmoor, no network",
            Self::Network => "unmoor, bridge and names",
            Self::Unasked => "unmoor, bridge and names, no discovery inside",
        }
    }
}

impl Way {
    fn applied(self, mut service: Service) -> Service {
        match self {
            Self::NoNetwork => service.network_mode = NetworkMode::None,
            Self::Network => {}
            Self::Unasked => service = service.env("UNMOOR_DISCOVERY_TOKEN", ""),
        }
        service
    }
}

/// A connection with an image of the root file system given.
#[derive(Debug)]
pub(crate) struct Bench {
    client: Client,
    _dir: Option<TempDir>,
}

const IMAGE: &str = "unmoor-bench/base:1";
const NAME: &str = "true";
/// After this time nothing is left of the work of a start.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);

impl Bench {
    pub(crate) async fn open(root: Option<&Path>, rootfs: &Path) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::Internal, "make a directory").because(error);
        let dir = match root {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(failed)?),
        };
        let path = root
            .or(dir.as_ref().map(TempDir::path))
            .unwrap_or_else(|| Path::new("/"));
        let client = unmoor::connect(&format!("local://{}", path.display())).await?;
        let input = ImageInput::Rootfs {
            path: rootfs.to_owned(),
            reference: IMAGE.parse()?,
            changes: vec!["CMD [\"/bin/true\"]".to_owned()],
        };
        client.images()?.load(&input, true).await?;
        let bench = Self { client, _dir: dir };
        // The network and the unpacked image stay; a start is measured, not the first start.
        for way in Way::ALL {
            bench.run_true(way).await?;
        }
        Ok(bench)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    fn stack(way: Way) -> Result<StackName> {
        Ok(StackName::parse(match way {
            Way::NoNetwork => "bench-none",
            Way::Network => "bench-net",
            Way::Unasked => "bench-unasked",
        })?)
    }

    /// From the call to the exit seen, and from there until nothing is left.
    pub(crate) async fn run_true(&self, way: Way) -> Result<(Duration, Duration)> {
        let start = Instant::now();
        self.start_true(way).await?;
        let time = start.elapsed();
        let start = Instant::now();
        self.remove_true(way).await?;
        Ok((time, start.elapsed()))
    }

    /// Spawns the program and waits for its end.
    pub(crate) async fn start_true(&self, way: Way) -> Result<()> {
        let client = self.client.in_stack(Self::stack(way)?);
        let mut service = way.applied(Service::new(IMAGE.parse()?));
        service.role = Role::Job;
        let run = client.spawn(NAME, service).await?;
        let limit = Duration::from_secs(10);
        client
            .wait(client.stack_name(), run.name(), Until::Completed, limit)
            .await
    }

    /// Removes what [`Self::start_true`] has left.
    pub(crate) async fn remove_true(&self, way: Way) -> Result<()> {
        let client = self.client.in_stack(Self::stack(way)?);
        client.service(NAME)?.remove().await.map(drop)
    }

    /// `count` replicas of one service at once: up, and down again.
    pub(crate) async fn many(&self, way: Way, count: u32) -> Result<(Duration, Duration)> {
        self.up_and_down(Self::idle_stack("bench-many", way, count)?)
            .await
    }

    /// `count` services of one replica each on one network: up, and down again.
    pub(crate) async fn services(&self, count: u32) -> Result<(Duration, Duration)> {
        let mut stack = Stack::new(StackName::parse("bench-services")?);
        for number in 1..=count {
            let name = ServiceName::parse(format!("s{number}"))?;
            stack = stack.service(name, Self::idle_service()?);
        }
        self.up_and_down(stack).await
    }

    async fn up_and_down(&self, stack: Stack) -> Result<(Duration, Duration)> {
        let start = Instant::now();
        self.client.up(&stack, &UpOptions::new()).await?;
        let up = start.elapsed();
        let start = Instant::now();
        self.client.down(&stack.name, &DownOptions::new()).await?;
        Ok((up, start.elapsed()))
    }

    /// Memory of the shims of `count` idle replicas.
    pub(crate) async fn idle(&self, way: Way, count: u32) -> Result<Memory> {
        const SHIM: &str = "unmoor-shim";
        let stack = Self::idle_stack("bench-idle", way, count)?;
        self.client.up(&stack, &UpOptions::new()).await?;
        // Idle is what comes after the start.
        tokio::time::sleep(SETTLED).await;
        let memory = Memory::of(&processes(SHIM, stack.name.as_str()));
        self.client.down(&stack.name, &DownOptions::new()).await?;
        Ok(memory)
    }

    fn idle_stack(name: &str, way: Way, count: u32) -> Result<Stack> {
        let service = way.applied(Self::idle_service()?.replicas(count));
        Ok(Stack::new(StackName::parse(name)?).service(ServiceName::parse("idle")?, service))
    }

    pub(crate) fn idle_service() -> Result<Service> {
        let mut service = Service::new(IMAGE.parse()?).command(["/bin/sleep", "1000"]);
        // It ignores the usual signal, being process 1.
        service.stop.signal = Some("SIGKILL".to_owned());
        Ok(service)
    }

    pub(crate) async fn close(self) -> Result<()> {
        for stack in self.client.observe(&Selector::all()).await?.stacks.keys() {
            self.client.down(stack, &DownOptions::new()).await?;
        }
        Ok(())
    }
}
