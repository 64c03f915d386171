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

/// How the replica is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Loopback only.
    NoNetwork,
    /// On a bridge of its stack, with names.
    Network,
}

impl Way {
    pub(crate) const ALL: [Self; 2] = [Self::NoNetwork, Self::Network];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoNetwork => "unmoor, no network",
            Self::Network => "unmoor, bridge and names",
        }
    }
}

/// A connection with an image of the root file system given.
#[derive(Debug)]
pub(crate) struct Bench {
    client: Client,
    _dir: Option<TempDir>,
}

const IMAGE: &str = "unmoor-bench/base:1";

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

    fn stack(way: Way) -> Result<StackName> {
        Ok(StackName::parse(match way {
            Way::NoNetwork => "bench-none",
            Way::Network => "bench-net",
        })?)
    }

    /// From the call to the exit seen; the removal is not part of the time.
    pub(crate) async fn run_true(&self, way: Way) -> Result<Duration> {
        let client = self.client.in_stack(Self::stack(way)?);
        let mut service = Service::new(IMAGE.parse()?);
        service.role = Role::Job;
        if way == Way::NoNetwork {
            service.network_mode = NetworkMode::None;
        }
        let start = Instant::now();
        let run = client.spawn("true", service).await?;
        client
            .wait(
                client.stack_name(),
                run.name(),
                Until::Completed,
                Duration::from_secs(10),
            )
            .await?;
        let time = start.elapsed();
        run.remove().await?;
        Ok(time)
    }

    /// `count` replicas of one service at once: up, and down again.
    pub(crate) async fn many(&self, count: u32) -> Result<Vec<(String, Duration)>> {
        let mut times = Vec::new();
        for way in Way::ALL {
            let name = StackName::parse("bench-many")?;
            let mut service = Service::new(IMAGE.parse()?)
                .command(["/bin/sleep", "1000"])
                .replicas(count);
            if way == Way::NoNetwork {
                service.network_mode = NetworkMode::None;
            }
            let stack = Stack::new(name.clone()).service(ServiceName::parse("idle")?, service);
            let start = Instant::now();
            self.client.up(&stack, &UpOptions::new()).await?;
            times.push((format!("{}: {count} up", way.name()), start.elapsed()));
            let start = Instant::now();
            self.client.down(&name, &DownOptions::new()).await?;
            times.push((format!("{}: {count} down", way.name()), start.elapsed()));
        }
        Ok(times)
    }

    /// Memory of the shims of `count` idle replicas on a network.
    pub(crate) async fn idle(&self, count: u32) -> Result<String> {
        let name = StackName::parse("bench-idle")?;
        let service = Service::new(IMAGE.parse()?)
            .command(["/bin/sleep", "1000"])
            .replicas(count);
        let stack = Stack::new(name.clone()).service(ServiceName::parse("idle")?, service);
        self.client.up(&stack, &UpOptions::new()).await?;
        let text = shim_memory();
        self.client.down(&name, &DownOptions::new()).await?;
        Ok(text)
    }

    pub(crate) async fn close(self) -> Result<()> {
        for stack in self.client.observe(&Selector::all()).await?.stacks.keys() {
            self.client.down(stack, &DownOptions::new()).await?;
        }
        Ok(())
    }
}

/// Sums of `smaps_rollup` over all processes named `unmoor-shim`.
fn shim_memory() -> String {
    let (mut count, mut private, mut shared, mut resident) = (0u64, 0u64, 0u64, 0u64);
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.trim() != "unmoor-shim" {
            continue;
        }
        let text = std::fs::read_to_string(path.join("smaps_rollup")).unwrap_or_default();
        let field = |key: &str| -> u64 {
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
                .unwrap_or(0)
        };
        count += 1;
        private += field("Private_Clean:") + field("Private_Dirty:");
        shared += field("Pss:");
        resident += field("Rss:");
    }
    let each = |total: u64| total / count.max(1);
    format!(
        "{count} shims; each: private {} KB, proportional {} KB, resident {} KB",
        each(private),
        each(shared),
        each(resident)
    )
}
