//! The backend `local:`: unmoor's contract over the engine, and nothing else.

mod adopt;
mod attach;
mod capabilities;
mod connect;
mod drain;
mod exec;
mod images;
mod inside;
mod logs;
mod notices;
mod place;
mod state;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use unmoor_core::backend::{
    Action, Adoption, Applied, Attach, Backend, Capabilities, Exec, Files, Images, Info, Logs,
    Notices, Observed, Processes, Signals, State, Stats, Step, Stream,
};
use unmoor_core::clock::Clock;
use unmoor_core::discover::{Cursor, EndpointEvent, Endpoints};
use unmoor_core::event::ReplicaEvent;
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;
use unmoor_core::{Error, ErrorKind, Result};

pub use connect::LocalConnect;
use place::Place;

use crate::engine::Runtime;
use crate::error::LocalError;
use crate::net;

/// The local backend: containers on this machine, without a daemon.
#[derive(Debug)]
pub struct LocalBackend {
    place: Place,
    uri: String,
}

impl LocalBackend {
    /// The firewall of somebody else that keeps replicas from the world, with what to do.
    fn obstacle(&self) -> Option<String> {
        // What cannot be listed is not worse than before anybody looked.
        let blockers = net::forward_blockers().unwrap_or_default();
        let texts: Vec<String> = blockers.iter().map(ToString::to_string).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    async fn ensure(&self, action: &Action, step: &Step) -> Result<Applied, LocalError> {
        let runtime = &self.place.made().await?.committing(step.commit);
        let stack = step.stack.clone();
        match action.clone() {
            Action::EnsureNetwork { name, spec } => {
                let subject = runtime.subject("network", &stack, name.as_str());
                let work = move |r: &Runtime| r.ensure_network(&stack, &name, &spec);
                runtime.work(subject, "makes a network", work).await
            }
            Action::EnsureVolume { name, spec } => {
                let subject = runtime.subject("volume", &stack, name.as_str());
                let work = move |r: &Runtime| r.ensure_volume(&stack, &name, &spec);
                runtime.work(subject, "makes a volume", work).await
            }
            Action::EnsureBlob { id, content } => {
                let subject = runtime.subject("blob", &stack, id.name.as_str());
                let work = move |r: &Runtime| r.ensure_blob(&stack, &id, &content);
                runtime.work(subject, "stores a blob", work).await
            }
            Action::EnsureService { service } => {
                let subject = runtime.subject("service", &stack, service.name.as_str());
                let work = move |r: &Runtime| r.ensure_service(&stack, &service);
                runtime.work(subject, "declares a service", work).await
            }
            Action::StartReplica { replica, service } => {
                let work = move |r: &Runtime, id: &ReplicaId| r.start_replica(id, &service);
                on_replica(runtime, "starts a replica", replica, work).await
            }
            Action::CreateReplica { replica, service } => {
                let work = move |r: &Runtime, id: &ReplicaId| r.create_replica(id, &service);
                on_replica(self.place.made().await?, "makes a replica", replica, work).await
            }
            Action::Adopt { from, claim } => adopt::adopt(runtime, &stack, from, claim).await,
            _ => self.change(action, step).await,
        }
    }

    async fn change(&self, action: &Action, step: &Step) -> Result<Applied, LocalError> {
        let runtime = &self.place.made().await?.committing(step.commit);
        let stack = step.stack.clone();
        match action.clone() {
            Action::RemoveNetwork { name } => {
                let subject = runtime.subject("network", &stack, name.as_str());
                let work = move |r: &Runtime| r.remove_network(&stack, &name);
                runtime.work(subject, "removes a network", work).await
            }
            Action::RemoveVolume { name } => {
                let subject = runtime.subject("volume", &stack, name.as_str());
                let work = move |r: &Runtime| r.remove_volume(&stack, &name);
                runtime.work(subject, "removes a volume", work).await
            }
            Action::RemoveBlob { id } => {
                let subject = runtime.subject("blob", &stack, id.name.as_str());
                let work = move |r: &Runtime| r.remove_blob(&stack, &id);
                runtime.work(subject, "forgets a blob", work).await
            }
            Action::RemoveService { name } => {
                let subject = runtime.subject("service", &stack, name.as_str());
                let work = move |r: &Runtime| r.remove_service(&stack, &name);
                runtime.work(subject, "removes a service", work).await
            }
            Action::PauseReplica { replica } => {
                let work = Runtime::pause_replica;
                on_replica(runtime, "freezes a replica", replica, work).await
            }
            Action::ResumeReplica { replica } => {
                let work = Runtime::resume_replica;
                on_replica(runtime, "resumes a replica", replica, work).await
            }
            Action::DrainReplica { replica } => drain::drain(runtime, replica).await,
            Action::StopReplica { replica, grace } => {
                let work = move |r: &Runtime, id: &ReplicaId| r.stop_replica(id, grace);
                on_replica(runtime, "stops a replica", replica, work).await
            }
            Action::RestartReplica { replica, grace } => {
                let work = move |r: &Runtime, id: &ReplicaId| r.restart_replica(id, grace);
                on_replica(runtime, "restarts a replica", replica, work).await
            }
            Action::RemoveReplica { replica } => {
                let work = Runtime::remove_replica;
                on_replica(runtime, "removes a replica", replica, work).await
            }
            other => Err(LocalError::Unsupported {
                what: format!("{other} is carried out by the caller, not by a backend"),
                hint: "apply the plan through a client".to_owned(),
            }),
        }
    }
}

pub(super) async fn on_replica(
    runtime: &Runtime,
    what: &'static str,
    replica: ReplicaId,
    work: impl FnOnce(&Runtime, &ReplicaId) -> Result<Applied, LocalError> + Send + 'static,
) -> Result<Applied, LocalError> {
    let subject = runtime.subject_of(&replica);
    let work = move |runtime: &Runtime| work(runtime, &replica);
    runtime.work(subject, what, work).await
}

#[async_trait]
impl Backend for LocalBackend {
    fn info(&self) -> Info {
        let kernel = rustix::system::uname();
        Info {
            scheme: "local".to_owned(),
            uri: self.uri.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            detail: format!(
                "{} {} in {}{}",
                kernel.sysname().to_string_lossy(),
                kernel.release().to_string_lossy(),
                self.place.root().display(),
                self.obstacle()
                    .map_or_else(String::new, |text| format!("; {text}"))
            ),
        }
    }

    fn capabilities(&self) -> Capabilities {
        let obstacle = self.obstacle();
        capabilities::of(self.place.hierarchies(), obstacle.as_deref())
    }

    async fn observe(&self, selector: &Selector) -> Result<Observed> {
        let selector = selector.clone();
        let look = move |runtime: &Runtime| runtime.observe(&selector);
        match self.place.there().await? {
            Some(runtime) => Ok(runtime.look("observes", look).await?),
            None => Ok(Observed::default()),
        }
    }

    async fn apply(&self, action: &Action, step: &Step) -> Result<Applied> {
        if action.is_wait() {
            let text = format!("{action} is carried out by the caller, not by a backend");
            return Err(Error::new(ErrorKind::Unsupported, text).on(&step.stack));
        }
        let applied = self.ensure(action, step).await;
        applied.map_err(|error| {
            let error = Error::from(error);
            if error.subject().is_some() {
                error
            } else {
                error.on(&step.stack)
            }
        })
    }

    async fn endpoints(&self, selector: &Selector) -> Result<Endpoints> {
        let selector = selector.clone();
        let look = move |runtime: &Runtime| runtime.endpoints(&selector);
        match self.place.there().await? {
            Some(runtime) => Ok(runtime.block("lists endpoints", look).await?),
            None => Ok(Endpoints::default()),
        }
    }

    async fn watch(
        self: Arc<Self>,
        selector: &Selector,
        cursor: Option<Cursor>,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<EndpointEvent>> {
        // The kernel tells of changes; the clock is for what could not be looked at.
        let selector = selector.clone();
        if let Some(runtime) = self.place.there().await? {
            return Ok(watch::watch(runtime.clone(), selector, cursor, clock).await?);
        }
        let none = EndpointEvent::Resync {
            endpoints: Vec::new(),
            cursor: Cursor::of(&[]),
        };
        let later = async move {
            let runtime = self.place.awaited(&clock).await?.clone();
            let cursor = Some(Cursor::of(&[]));
            Ok::<_, Error>(watch::watch(runtime, selector, cursor, clock).await?)
        };
        let later = stream::once(later).try_flatten();
        Ok(stream::once(async { Ok(none) }).chain(later).boxed())
    }

    async fn notices(&self, selector: &Selector) -> Option<Box<dyn Notices>> {
        let runtime = self.place.there().await.ok()??.clone();
        let armed = notices::Told::arm(runtime, selector.clone()).await;
        // Without it there is still the clock.
        armed.ok().map(|told| Box::new(told) as Box<dyn Notices>)
    }

    async fn events(
        self: Arc<Self>,
        selector: &Selector,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<ReplicaEvent>> {
        let selector = selector.clone();
        if let Some(runtime) = self.place.there().await? {
            return Ok(attach::events(runtime.clone(), selector).await?);
        }
        let later = async move {
            let runtime = self.place.awaited(&clock).await?.clone();
            Ok::<_, Error>(attach::events(runtime, selector).await?)
        };
        Ok(stream::once(later).try_flatten().boxed())
    }

    fn logs(&self) -> Option<&dyn Logs> {
        Some(self)
    }

    fn exec(&self) -> Option<&dyn Exec> {
        Some(self)
    }

    fn signals(&self) -> Option<&dyn Signals> {
        Some(self)
    }

    fn stats(&self) -> Option<&dyn Stats> {
        Some(self)
    }

    fn processes(&self) -> Option<&dyn Processes> {
        Some(self)
    }

    fn files(&self) -> Option<&dyn Files> {
        Some(self)
    }

    fn attach(&self) -> Option<&dyn Attach> {
        Some(self)
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn adoption(&self) -> Option<&dyn Adoption> {
        Some(self)
    }

    fn state(&self) -> Option<&dyn State> {
        Some(self)
    }
}
