//! The backend `local:`: unmoor's contract over the engine, and nothing else.

mod attach;
mod capabilities;
mod connect;
mod exec;
mod images;
mod inside;
mod logs;
mod notices;
mod state;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use unmoor_core::backend::{
    Action, Applied, Attach, Backend, Capabilities, Exec, Files, Images, Info, Logs, Notices,
    Observed, Processes, Signals, State, Stats, Step, Stream,
};
use unmoor_core::clock::Clock;
use unmoor_core::discover::{Cursor, Endpoint, EndpointEvent};
use unmoor_core::event::ReplicaEvent;
use unmoor_core::label::Selector;
use unmoor_core::name::ReplicaId;
use unmoor_core::{Error, ErrorKind, Result};

pub use connect::LocalConnect;

use crate::engine::Runtime;
use crate::error::LocalError;
use crate::net;

/// The local backend: containers on this machine, without a daemon.
#[derive(Debug)]
pub struct LocalBackend {
    runtime: Runtime,
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
        let (runtime, stack) = (&self.runtime.committing(step.commit), step.stack.clone());
        match action.clone() {
            Action::EnsureNetwork { name, spec } => {
                let lock = runtime.lock("network", &stack, name.as_str()).await?;
                runtime
                    .block_with(lock, "makes a network", move |r| {
                        r.ensure_network(&stack, &name, &spec)
                    })
                    .await
            }
            Action::EnsureVolume { name, spec } => {
                let lock = runtime.lock("volume", &stack, name.as_str()).await?;
                runtime
                    .block_with(lock, "makes a volume", move |r| {
                        r.ensure_volume(&stack, &name, &spec)
                    })
                    .await
            }
            Action::EnsureBlob { id, content } => {
                let lock = runtime.lock("blob", &stack, id.name.as_str()).await?;
                runtime
                    .block_with(lock, "stores a blob", move |r| {
                        r.ensure_blob(&stack, &id, &content)
                    })
                    .await
            }
            Action::EnsureService { service } => {
                let lock = runtime
                    .lock("service", &stack, service.name.as_str())
                    .await?;
                runtime
                    .block_with(lock, "declares a service", move |r| {
                        r.ensure_service(&stack, &service)
                    })
                    .await
            }
            Action::StartReplica { replica, service } => {
                let lock = runtime.lock_replica(&replica).await?;
                runtime
                    .block_with(lock, "starts a replica", move |r| {
                        r.start_replica(&replica, &service)
                    })
                    .await
            }
            Action::CreateReplica { replica, service } => {
                let work = move |r: &Runtime, id: &ReplicaId| r.create_replica(id, &service);
                on_replica(&self.runtime, "makes a replica", replica, work).await
            }
            _ => self.change(action, step).await,
        }
    }

    async fn change(&self, action: &Action, step: &Step) -> Result<Applied, LocalError> {
        let (runtime, stack) = (&self.runtime.committing(step.commit), step.stack.clone());
        match action.clone() {
            Action::RemoveNetwork { name } => {
                let lock = runtime.lock("network", &stack, name.as_str()).await?;
                runtime
                    .block_with(lock, "removes a network", move |r| {
                        r.remove_network(&stack, &name)
                    })
                    .await
            }
            Action::RemoveVolume { name } => {
                let lock = runtime.lock("volume", &stack, name.as_str()).await?;
                runtime
                    .block_with(lock, "removes a volume", move |r| {
                        r.remove_volume(&stack, &name)
                    })
                    .await
            }
            Action::RemoveBlob { id } => {
                let lock = runtime.lock("blob", &stack, id.name.as_str()).await?;
                runtime
                    .block_with(lock, "forgets a blob", move |r| r.remove_blob(&stack, &id))
                    .await
            }
            Action::RemoveService { name } => {
                let lock = runtime.lock("service", &stack, name.as_str()).await?;
                runtime
                    .block_with(lock, "removes a service", move |r| {
                        r.remove_service(&stack, &name)
                    })
                    .await
            }
            Action::PauseReplica { replica } => {
                on_replica(
                    runtime,
                    "freezes a replica",
                    replica,
                    Runtime::pause_replica,
                )
                .await
            }
            Action::ResumeReplica { replica } => {
                on_replica(
                    runtime,
                    "resumes a replica",
                    replica,
                    Runtime::resume_replica,
                )
                .await
            }
            Action::DrainReplica { replica } => {
                on_replica(runtime, "drains a replica", replica, Runtime::drain_replica).await
            }
            Action::StopReplica { replica, grace } => {
                on_replica(runtime, "stops a replica", replica, move |r, id| {
                    r.stop_replica(id, grace)
                })
                .await
            }
            Action::RestartReplica { replica, grace } => {
                let work = move |r: &Runtime, id: &ReplicaId| r.restart_replica(id, grace);
                on_replica(runtime, "restarts a replica", replica, work).await
            }
            Action::RemoveReplica { replica } => {
                on_replica(
                    runtime,
                    "removes a replica",
                    replica,
                    Runtime::remove_replica,
                )
                .await
            }
            other => Err(LocalError::Unsupported {
                what: format!("{other} is carried out by the caller, not by a backend"),
                hint: "apply the plan through a client".to_owned(),
            }),
        }
    }
}

async fn on_replica(
    runtime: &Runtime,
    what: &'static str,
    replica: ReplicaId,
    work: impl FnOnce(&Runtime, &ReplicaId) -> Result<Applied, LocalError> + Send + 'static,
) -> Result<Applied, LocalError> {
    let lock = runtime.lock_replica(&replica).await?;
    runtime
        .block_with(lock, what, move |runtime| work(runtime, &replica))
        .await
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
                self.runtime.layout().root().display(),
                self.obstacle()
                    .map_or_else(String::new, |text| format!("; {text}"))
            ),
        }
    }

    fn capabilities(&self) -> Capabilities {
        let obstacle = self.obstacle();
        capabilities::of(self.runtime.hierarchies(), obstacle.as_deref())
    }

    async fn observe(&self, selector: &Selector) -> Result<Observed> {
        let selector = selector.clone();
        let look = move |runtime: &Runtime| runtime.observe(&selector);
        Ok(self.runtime.block("observes", look).await?)
    }

    async fn apply(&self, action: &Action, step: &Step) -> Result<Applied> {
        if action.is_wait() {
            let text = format!("{action} is carried out by the caller, not by a backend");
            return Err(Error::new(ErrorKind::Unsupported, text).on(&step.stack));
        }
        self.runtime
            .block("finishes what was left", Runtime::finish_orphans)
            .await?;
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

    async fn endpoints(&self, selector: &Selector) -> Result<Vec<Endpoint>> {
        let selector = selector.clone();
        let look = move |runtime: &Runtime| runtime.endpoints(&selector);
        Ok(self.runtime.block("lists endpoints", look).await?)
    }

    async fn watch(
        self: Arc<Self>,
        selector: &Selector,
        cursor: Option<Cursor>,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<EndpointEvent>> {
        // The kernel tells of changes, so nothing is asked by the clock; every watch starts anew.
        let _ = (cursor, clock);
        Ok(watch::watch(self.runtime.clone(), selector.clone())?)
    }

    async fn notices(&self, selector: &Selector) -> Option<Box<dyn Notices>> {
        let armed = notices::Told::arm(self.runtime.clone(), selector.clone()).await;
        // Without it there is still the clock.
        armed.ok().map(|told| Box::new(told) as Box<dyn Notices>)
    }

    async fn events(
        self: Arc<Self>,
        selector: &Selector,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<ReplicaEvent>> {
        let _ = clock;
        Ok(attach::events(self.runtime.clone(), selector.clone()).await?)
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

    fn state(&self) -> Option<&dyn State> {
        Some(self)
    }
}
