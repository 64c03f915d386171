//! One world, the files that are asked for in it, and how a line of a script becomes a call.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use unmoor_core::apply::Report;
use unmoor_core::backend::{Action, Commit, ImageInput, Images, ObservedStack, Step};
use unmoor_core::client::{DownOptions, StackRecord, StoredPlan, UpOptions};
use unmoor_core::label::Selector;
use unmoor_core::name::{Alias, ReplicaId, ServiceName, StackName, VolumeName};
use unmoor_core::spec::{
    Condition, Dependency, Health, HealthTest, Link, Mount, Role, Service, Stack, Volume,
};
use unmoor_core::{Client, Error};
use unmoor_sim::{MARKER, Scheduler, Sim, VirtualClock};

use crate::script::{Item, Kind, Meddling, Op};

/// Label that tells the version of a replica.
pub(crate) const VERSION: &str = "version";
/// Longest wait for a stack to serve.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The plan that was kept last, and what it was made of.
pub(crate) type Shelf = Rc<RefCell<Option<(Vec<u8>, Op)>>>;

/// A call on its way.
pub(crate) type Asked<'a> = Pin<Box<dyn Future<Output = Result<Report, Error>> + 'a>>;

pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) scheduler: Scheduler,
    pub(crate) stack: StackName,
    pub(crate) shelf: Shelf,
}

pub(crate) fn named(name: &str) -> ServiceName {
    ServiceName::parse(name).expect("the script's own names are valid")
}

impl World {
    /// A world with the probe's image.
    pub(crate) fn new(seed: u64, bug: Option<unmoor_sim::Bug>) -> Self {
        let clock = VirtualClock::manual();
        let mut builder = Sim::builder()
            .seed(seed)
            .clock(std::sync::Arc::new(clock.clone()));
        if let Some(bug) = bug {
            builder = builder.bug(bug);
        }
        let mut world = Self {
            sim: builder.build(),
            scheduler: Scheduler::new(clock, seed),
            stack: StackName::parse("s").expect("valid"),
            shelf: Shelf::default(),
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = folder.path().join("probe");
        std::fs::write(&program, MARKER).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("made executable");
        let input = ImageInput::Rootfs {
            path: folder.path().to_owned(),
            reference: "probe:1".parse().expect("valid"),
            changes: Vec::new(),
        };
        let load = Images::load(&world.sim, &input, false);
        world.scheduler.run_one(load).expect("the image is loaded");
        world
    }

    /// A client as another machine has it: nothing is remembered from before.
    pub(crate) fn client(&self) -> Client {
        Client::with_clock(self.sim.backend(), self.sim.clock())
    }

    /// Does something to a replica past unmoor's plans; one that is not there stays so.
    pub(crate) fn meddle(&mut self, service: &str, slot: u32, how: Meddling) {
        let replica = ReplicaId::new(self.stack.clone(), named(service), slot);
        let action = match how {
            Meddling::Remove => Action::RemoveReplica { replica },
            Meddling::Stop => Action::StopReplica {
                replica,
                grace: None,
            },
            Meddling::Drain => Action::DrainReplica { replica },
        };
        let step = Step {
            stack: self.stack.clone(),
            plan: "nobody's".to_owned(),
            index: 0,
            deadline: PATIENCE,
            commit: Commit::Now,
        };
        let backend = self.sim.backend();
        let done = self.scheduler.run_one(backend.apply(&action, &step));
        done.expect("an undisturbed action succeeds");
    }

    /// What is remembered of the stack.
    pub(crate) fn record(&mut self) -> StackRecord {
        let (client, stack) = (self.client(), self.stack.clone());
        let record = self.scheduler.run_one(client.record(&stack));
        record.expect("a record reads back")
    }

    /// What there is.
    pub(crate) fn observed(&mut self) -> ObservedStack {
        let client = self.client();
        let selector = Selector::stack(self.stack.clone());
        let observed = self.scheduler.run_one(client.observe(&selector));
        observed
            .expect("an undisturbed look succeeds")
            .stack(&self.stack)
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let clock = self.sim.clock();
        self.scheduler.run_one(clock.sleep(time));
    }
}

fn service(item: &Item) -> Service {
    let port = if item.broken { "81" } else { "80" };
    let words = match item.kind {
        Kind::Job => ["/probe", "exit", "0", "50"],
        _ => ["/probe", "serve", "--tcp", port],
    };
    let version = item.version.to_string();
    let mut service = Service::new("probe:1".parse().expect("valid"))
        .entrypoint(words)
        .env("VERSION", &version)
        .label(VERSION, version)
        .replicas(item.count);
    service.update.deadline = Duration::from_secs(20);
    service.update.on_failure = item.on_failure;
    service.update.parallelism = item.batch;
    service.update.canary = item.canary.then_some(1);
    match item.kind {
        Kind::Plain => {}
        Kind::Checked => {
            let pace = Duration::from_millis(100);
            let check = Health::new(HealthTest::Tcp { port: 80 });
            service = service.health(check.interval(pace).retries(2).start(pace * 5, pace));
        }
        Kind::Data => service = service.mount(Mount::volume(volume(&item.name), "/data")),
        Kind::Job => service.role = Role::Job,
    }
    service
}

fn volume(service: &str) -> VolumeName {
    VolumeName::parse(format!("of-{service}")).expect("valid")
}

/// The file with these services.
pub(crate) fn file(name: &StackName, items: &[Item]) -> Stack {
    let mut stack = Stack::new(name.clone());
    for item in items {
        if item.kind == Kind::Data {
            stack = stack.volume(volume(&item.name), Volume::default());
        }
        let mut service = service(item);
        if let Some(other) = &item.after {
            let kind = items
                .iter()
                .find(|item| item.name == *other)
                .map(|item| item.kind);
            let condition = match kind {
                Some(Kind::Checked) => Condition::Healthy,
                Some(Kind::Job) => Condition::CompletedSuccessfully,
                _ => Condition::Started,
            };
            let dependency = Dependency {
                condition,
                ..Dependency::default()
            };
            service = service.after(named(other), dependency);
        }
        stack = stack.service(named(&item.name), service);
    }
    stack
}

fn options(orphans: bool, wait: bool) -> UpOptions<'static> {
    let options = UpOptions::new().remove_orphans(orphans);
    match wait {
        true => options.wait(PATIENCE),
        false => options,
    }
}

/// Plans and keeps the plan.
async fn keep(client: &Client, stack: &StackName, op: &Op, shelf: &Shelf) -> Result<(), Error> {
    let Op::Plan {
        items,
        orphans,
        wait,
    } = op
    else {
        return Ok(());
    };
    let options = options(*orphans, *wait);
    let planned = client.plan(&file(stack, items), &options).await?;
    let bytes = planned.store(client).encode();
    let up = Op::Up {
        items: items.clone(),
        orphans: *orphans,
        wait: *wait,
    };
    *shelf.borrow_mut() = Some((bytes, up));
    Ok(())
}

/// Applies the plan that was kept, as another program would that has nothing but the file.
async fn apply_kept(client: &Client, shelf: &Shelf) -> Result<Report, Error> {
    let kept = shelf.borrow().as_ref().map(|(bytes, _)| bytes.clone());
    let Some(bytes) = kept else {
        return Ok(Report::default());
    };
    let stored = StoredPlan::decode(&bytes)?;
    let planned = client.recall(&stored, &|_| {}).await?;
    client.apply(&planned, &UpOptions::new()).await
}

/// Asks for what a line says.
pub(crate) fn ask<'a>(
    client: &'a Client,
    (stack, shelf): (&'a StackName, &'a Shelf),
    op: &'a Op,
) -> Asked<'a> {
    match op {
        Op::Up {
            items,
            orphans,
            wait,
        } => Box::pin(async move {
            let options = options(*orphans, *wait);
            client.up(&file(stack, items), &options).await
        }),
        Op::Plan { .. } => Box::pin(async move {
            keep(client, stack, op, shelf).await?;
            Ok(Report::default())
        }),
        Op::Apply => Box::pin(apply_kept(client, shelf)),
        Op::Down { volumes } => Box::pin(async move {
            let options = DownOptions::new().volumes(*volumes);
            client.down(stack, &options).await
        }),
        Op::Scale { service, count } => Box::pin(async move {
            let options = UpOptions::new();
            client.scale(stack, &named(service), *count, &options).await
        }),
        Op::Update { service, version } => Box::pin(async move {
            let version = version.to_string();
            let change = |spec: Service| spec.env("VERSION", &version).label(VERSION, &version);
            client.update(stack, &named(service), change).await
        }),
        Op::Link { from, alias, to } => Box::pin(async move {
            let link = Link::to(named(to)).alias(Alias::parse(alias)?);
            client.link(stack, &named(from), link).await
        }),
        Op::Unlink { from, alias } => Box::pin(async move {
            let alias = Alias::parse(alias)?;
            client.unlink(stack, &named(from), &alias).await
        }),
        Op::Remove { service } => {
            Box::pin(async move { client.remove(stack, &named(service)).await })
        }
        Op::Rollback { service } => Box::pin(async move {
            let options = UpOptions::new();
            client.rollback(stack, &named(service), &options).await
        }),
        Op::Pause { service } => Box::pin(async move {
            client.pause_rollout(stack, &named(service)).await?;
            Ok(Report::default())
        }),
        Op::Resume { service } => Box::pin(async move {
            let options = UpOptions::new();
            client
                .resume_rollout(stack, &named(service), &options)
                .await
        }),
        Op::Reconcile => Box::pin(async move {
            let options = UpOptions::new();
            client.reconcile(stack, &options).await
        }),
        // Programs die by themselves; nobody asks for it.
        Op::Kill { .. } | Op::Meddle { .. } => Box::pin(async { Ok(Report::default()) }),
    }
}
