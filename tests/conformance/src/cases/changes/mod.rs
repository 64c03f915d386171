//! Every change of a stack that runs, so that each is tried in every way: given up, by a crowd,
//! while visitors come, twice, and where there is nothing to change.

mod crowd;
mod edge;
mod given_up;
mod traffic;

use unmoor_core::apply::RunOptions;
use unmoor_core::backend::{Feature, Phase};
use unmoor_core::client::{DownOptions, UpOptions};
use unmoor_core::label::Selector;
use unmoor_core::name::{Alias, ReplicaId, ServiceName, StackName};
use unmoor_core::spec::{Link, RestartPolicy, Service, Stack};
use unmoor_core::{Client, Error, ErrorKind};

use crate::case::{Case, Failure, Verdict, ensure, ensure_eq};
use crate::fixture::{Fixture, PATIENCE, named, slot};

pub(super) fn cases() -> Vec<Case> {
    [
        given_up::cases(),
        crowd::cases(),
        traffic::cases(),
        edge::cases(),
    ]
    .concat()
}

/// A change of a stack that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Up,
    Down,
    Spawn,
    Scale,
    Update,
    Rollback,
    Link,
    Repoint,
    Unlink,
    Remove,
    Stop,
}

/// A stack that can be changed in every way: two who ask, and two who answer.
struct Ground {
    name: StackName,
    /// What is behind `web`: it is asked under its name by `load`.
    web: Service,
    asking: Service,
}

/// Somebody who knows nothing but the backend.
fn stranger(t: &Fixture) -> Client {
    Client::with_clock(t.backend().clone(), t.client().clock().clone())
}

fn alias(text: &str) -> Alias {
    Alias::parse(text).expect("the suite's own names are valid")
}

/// Who answers others on port 80, where others can reach it: elsewhere two on one node cannot both
/// have the port.
fn answering(t: &Fixture, name: &str) -> Service {
    match t.has(Feature::InternalTcp) {
        true => t.server(&format!("--tcp 80 --name {name}")),
        false => t.server(""),
    }
}

/// What the n-th service or alias is called that comes and goes.
fn nth(word: &str, n: usize) -> String {
    format!("{word}{n}")
}

fn counts(n: usize) -> u32 {
    [3, 1, 4, 2][n % 4]
}

fn target(n: usize) -> &'static str {
    ["web", "other"][n % 2]
}

impl Ground {
    /// A stack of servers without checks: it changes fast.
    fn plain(t: &Fixture) -> Self {
        Self {
            name: t.stack_name(),
            web: answering(t, "web"),
            asking: t.server(""),
        }
    }

    /// A stack of two that are checked, and visitors who come all the time.
    fn busy(t: &Fixture) -> Self {
        let web = answering(t, "web").health(t.health(80));
        Self {
            web: web.replicas(2),
            asking: t.server("--load web 80 10"),
            ..Self::plain(t)
        }
    }

    /// The stack's file, the n-th time that it is written.
    fn file(&self, t: &Fixture, n: usize) -> Stack {
        let other = answering(t, "other");
        Stack::new(self.name.clone())
            .service(named("load"), self.asking.clone())
            .service(named("web"), self.web.clone())
            .service(named("other"), other.env("VERSION", n.to_string()))
    }

    async fn up(&self, t: &Fixture) -> Verdict {
        t.up(&self.file(t, 0)).await?;
        Ok(())
    }

    fn load(&self) -> ReplicaId {
        slot(&self.name, "load", 1)
    }

    fn handle(&self, client: &Client) -> Client {
        client.in_stack(self.name.clone())
    }

    /// One replica of `web` after the other: slots and phases.
    async fn web(&self, t: &Fixture) -> Result<Vec<(u32, Phase)>, Failure> {
        let list = t.replicas(&self.name, "web").await?;
        let seen = list.iter().map(|replica| (replica.id.slot, replica.phase));
        Ok(seen.collect())
    }

    /// Asks from inside who answers under a name.
    async fn answers(&self, t: &Fixture, name: &str, who: &str) -> Verdict {
        let wanted = format!(" {who}\n");
        let words = format!("connect {name} 80 hello");
        t.until_says(&self.load(), &words, |out| out.ends_with(&wanted))
            .await?;
        Ok(())
    }
}

impl Change {
    /// What must be so before the n-th change of this kind.
    async fn prepare(self, t: &Fixture, ground: &Ground, n: usize) -> Verdict {
        let client = t.client();
        match self {
            Self::Down | Self::Stop => ground.up(t).await?,
            Self::Rollback => Self::Update.done(t, ground, n).await?,
            Self::Unlink => Self::Link.done(t, ground, n).await?,
            Self::Remove => {
                let service = t.server("");
                let client = ground.handle(client);
                client.spawn(nth("extra", n), service).await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn done(self, t: &Fixture, ground: &Ground, n: usize) -> Verdict {
        Box::pin(self.make(t, t.client(), ground, n)).await?;
        Ok(())
    }

    /// Makes the n-th change of this kind.
    async fn make(
        self,
        t: &Fixture,
        client: &Client,
        ground: &Ground,
        n: usize,
    ) -> Result<(), Error> {
        let (stack, web) = (&ground.name, named("web"));
        let waits = UpOptions::new().wait(PATIENCE);
        match self {
            Self::Up => drop(client.up(&ground.file(t, n), &waits).await?),
            Self::Down => drop(client.down(stack, &DownOptions::new()).await?),
            Self::Spawn => {
                let service = t.server("").env("VERSION", n.to_string());
                ground.handle(client).spawn("extra", service).await?;
            }
            Self::Scale => drop(client.scale(stack, &web, counts(n), &waits).await?),
            Self::Update => {
                let change = |service: Service| service.env("VERSION", n.to_string());
                client.update(stack, &web, change).await?;
            }
            Self::Rollback => drop(client.rollback(stack, &web, &waits).await?),
            Self::Link => {
                let link = Link::to(named("web")).alias(alias(&nth("aside", n)));
                client.link(stack, &named("load"), link).await?;
            }
            Self::Repoint => {
                let link = Link::to(named(target(n))).alias(alias("current"));
                client.link(stack, &named("load"), link).await?;
            }
            Self::Unlink => {
                let gone = alias(&nth("aside", n));
                client.unlink(stack, &named("load"), &gone).await?;
            }
            Self::Remove => {
                let service = ServiceName::parse(nth("extra", n))?;
                client.remove(stack, &service).await?;
            }
            Self::Stop => {
                let selector = Selector::service(stack.clone(), web);
                client.stop(&selector, None, RunOptions::default()).await?;
            }
        }
        Ok(())
    }

    /// Completes a change that somebody may have begun, as its documentation says.
    async fn finish(
        self,
        t: &Fixture,
        client: &Client,
        ground: &Ground,
        n: usize,
    ) -> Result<(), Error> {
        if self == Self::Rollback {
            // Whoever goes back twice is where he was: what is begun is gone on with instead.
            let options = UpOptions::new().wait(PATIENCE);
            let service = named("web");
            client.scale(&ground.name, &service, 2, &options).await?;
            return Ok(());
        }
        match self.make(t, client, ground, n).await {
            Err(error) if self == Self::Unlink && error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// That the change is made, whole, seen from outside.
    async fn check(self, t: &Fixture, ground: &Ground, n: usize) -> Verdict {
        match self {
            Self::Up => {
                let other = t.replica(&ground.name, "other").await?;
                let version = t.reach(&other.id, "env VERSION").await?;
                ensure_eq!(version, format!("{n}\n"), "version that runs");
            }
            Self::Down => {
                let seen = t.observe(&ground.name).await?;
                ensure!(seen.is_empty(), "left: {seen:?}");
            }
            Self::Spawn => {
                let extra = t.replica(&ground.name, "extra").await?;
                let version = t.reach(&extra.id, "env VERSION").await?;
                ensure_eq!(version, format!("{n}\n"), "version that runs");
            }
            Self::Scale => {
                let wanted = (1..=counts(n)).map(|slot| (slot, Phase::Running));
                let wanted: Vec<_> = wanted.collect();
                ensure_eq!(ground.web(t).await?, wanted, "replicas");
            }
            Self::Update => {
                for replica in t.replicas(&ground.name, "web").await? {
                    let version = t.reach(&replica.id, "env VERSION").await?;
                    ensure_eq!(version, format!("{n}\n"), "version of {}", replica.id);
                }
            }
            Self::Rollback => self.is_one_version(t, ground).await?,
            Self::Link => ground.answers(t, &nth("aside", n), "web").await?,
            Self::Repoint => ground.answers(t, "current", target(n)).await?,
            Self::Unlink => {
                let words = format!("resolve {}", nth("aside", n));
                t.until("the alias is gone", || async {
                    let output = t.run(&ground.load(), &words).await?;
                    Ok((output.code == 2).then_some(()))
                })
                .await?;
            }
            Self::Remove => {
                let name = nth("extra", n);
                let seen = t.observe(&ground.name).await?;
                let declared = seen.services.contains_key(&named(&name));
                ensure!(!declared, "{name} is still declared");
                let left = t.replicas(&ground.name, &name).await?;
                ensure!(left.is_empty(), "left: {left:?}");
            }
            Self::Stop => {
                let web = ground.web(t).await?;
                let stopped = web.iter().all(|(_, phase)| !phase.is_alive());
                ensure!(stopped && !web.is_empty(), "not stopped: {web:?}");
            }
        }
        Ok(())
    }

    /// That all of `web` is of one version, whichever, and runs.
    async fn is_one_version(self, t: &Fixture, ground: &Ground) -> Verdict {
        let list = t.replicas(&ground.name, "web").await?;
        ensure_eq!(list.len(), 2, "replicas");
        let same = list
            .iter()
            .all(|replica| replica.spec_hash == list[0].spec_hash);
        ensure!(same, "old and new: {list:?}");
        let running = list.iter().all(|replica| replica.phase == Phase::Running);
        ensure!(running, "not running: {list:?}");
        Ok(())
    }
}

/// A service that is started again whenever it ends.
fn always(service: Service) -> Service {
    service.restart(RestartPolicy::Always)
}
