//! The contract, kept by the model.

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use unmoor_core::backend::{
    Action, Adoption, Applied, Attach, Backend, Capabilities, Exec, Files, Foreign, Images, Info,
    Logs, Observed, Processes, Signals, State, Stats, Step, Stream,
};
use unmoor_core::clock::Clock;
use unmoor_core::discover::{Cursor, EndpointEvent, Endpoints, Unreadable};
use unmoor_core::event::ReplicaEvent;
use unmoor_core::label::Selector;
use unmoor_core::name::StackName;
use unmoor_core::{Error, ErrorKind, Result};

use crate::caps::capabilities;
use crate::fault::Call;
use crate::inside;
use crate::model::Begun;
use crate::sim::Sim;
use crate::watch;

#[async_trait]
impl Backend for Sim {
    fn info(&self) -> Info {
        let name = &self.world.name;
        let uri = if name.is_empty() {
            "sim:".to_owned()
        } else {
            format!("sim:?name={name}")
        };
        Info {
            scheme: "sim".to_owned(),
            uri,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            detail: "a model in memory".to_owned(),
        }
    }

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    async fn probe(&self) -> Result<Capabilities> {
        let hit = self.before(Call::Observe, "probe").await?;
        hit.after("probe").await?;
        Ok(capabilities())
    }

    async fn observe(&self, selector: &Selector) -> Result<Observed> {
        let clock = self.world.clock.as_ref();
        let hit = self
            .world
            .faults
            .before(clock, Call::Observe, "observe")
            .await?;
        let mut observed = self.world.with(|model| model.observe(selector));
        if hit.stale {
            observed = self.former(selector);
        }
        if hit.partial {
            observed.partial = true;
            for stack in observed.stacks.values_mut() {
                stack.replicas.pop();
            }
        }
        hit.after("observe").await?;
        Ok(observed)
    }

    async fn apply(&self, action: &Action, step: &Step) -> Result<Applied> {
        let label = action.to_string();
        let clock = self.world.clock.as_ref();
        let hit = self.world.faults.before(clock, Call::Apply, &label).await?;
        if self.world.faults.wants_history() {
            let now = self.world.with(|model| model.observe(&Selector::all()));
            *self
                .world
                .former
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
        let applied = self.perform(action, step).await?;
        hit.after(&label).await?;
        Ok(applied)
    }

    async fn endpoints(&self, selector: &Selector) -> Result<Endpoints> {
        let clock = self.world.clock.as_ref();
        let hit = self
            .world
            .faults
            .before(clock, Call::Endpoints, "list endpoints")
            .await?;
        let endpoints = self.world.with(|model| model.endpoints(selector));
        let mut endpoints = Endpoints::from(endpoints);
        if hit.partial {
            leave_out(&mut endpoints);
        }
        hit.after("list endpoints").await?;
        Ok(endpoints)
    }

    async fn watch(
        self: Arc<Self>,
        selector: &Selector,
        cursor: Option<Cursor>,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<EndpointEvent>> {
        // The model pushes, so it needs no clock to ask by.
        let _ = clock;
        let hit = self.before(Call::Watch, "watch endpoints").await?;
        hit.after("watch endpoints").await?;
        let world = Arc::clone(&self.world);
        Ok(watch::watch(world, selector.clone(), cursor).await)
    }

    async fn events(
        self: Arc<Self>,
        selector: &Selector,
        clock: Arc<dyn Clock>,
    ) -> Result<Stream<ReplicaEvent>> {
        // The model pushes, so it needs no clock to ask by.
        let _ = clock;
        let hit = self.before(Call::Watch, "watch replicas").await?;
        hit.after("watch replicas").await?;
        Ok(inside::events(Arc::clone(&self.world), selector.clone()))
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

#[async_trait]
impl Adoption for Sim {
    async fn foreign(&self, stack: Option<&StackName>) -> Result<Vec<Foreign>> {
        let what = "list what is not ours";
        let clock = self.world.clock.as_ref();
        let hit = self.world.faults.before(clock, Call::Observe, what).await?;
        let found = self.world.with(|model| model.foreign(stack));
        hit.after(what).await?;
        Ok(found)
    }
}

impl Sim {
    async fn perform(&self, action: &Action, step: &Step) -> Result<Applied> {
        // Ports that a call before gave up are free, also if that call was given up itself.
        self.world.settle().await;
        let applied = match self.world.with(|model| model.begin(action, &step.stack))? {
            Begun::Done(applied) => applied,
            Begun::Stopping(replica) => {
                self.world
                    .until(|model| model.has_stopped(&replica).then_some(()))
                    .await;
                self.world.with(|model| model.finish(action))
            }
        };
        self.world.settle().await;
        Ok(applied)
    }

    /// What was there before the last change; now, if nothing was kept.
    fn former(&self, selector: &Selector) -> Observed {
        let mut former = Observed::default();
        let kept = self
            .world
            .former
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = kept.as_ref() else {
            return self.world.with(|model| model.observe(selector));
        };
        for (name, stack) in &kept.stacks {
            if selector.matches_stack(name) {
                former.stacks.insert(name.clone(), stack.clone());
            }
        }
        former
    }
}

/// Makes the last replica of a list one that could not be read.
fn leave_out(endpoints: &mut Endpoints) {
    let last = endpoints.iter().rev().find_map(|e| e.replica.clone());
    let Some(id) = last else { return };
    endpoints.list.retain(|e| e.replica.as_ref() != Some(&id));
    let text = "injected fault: the replica cannot be read";
    endpoints.unreadable.push(Unreadable {
        what: Selector::replica(&id),
        error: Error::new(ErrorKind::Corrupt, text).on(&id),
    });
}
