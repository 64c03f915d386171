//! One-off copies of services: run once beside a stack, then removed.

use super::observe::empty_plan;
use super::stack::forget;
use super::{Client, UpOptions};
use crate::apply::{self, Report, RunOptions};
use crate::backend::Action;
use crate::error::{Error, ErrorKind, Result};
use crate::label::{ONE_OFF, Selector};
use crate::name::{ServiceName, StackName};
use crate::plan::Scope;
use crate::spec::{Service, Stack};

impl Client {
    /// Starts a service beside `stack`, with what it depends on unless `options` say otherwise;
    /// nothing else is touched.
    ///
    /// The service is labelled [`ONE_OFF`]: once it has ended, no plan
    /// starts it again. It stays until [`remove_once`](Self::remove_once).
    /// *Cancelled*: it may run; `remove_once` removes it.
    ///
    /// # Errors
    /// `AlreadyExists` if the stack has a service of this name; else as [`up`](Self::up).
    pub async fn spawn_once(
        &self,
        stack: &Stack,
        name: &ServiceName,
        service: Service,
        options: &UpOptions<'_>,
    ) -> Result<Report> {
        let mut options = options.clone();
        if options.plan.only == Scope::All {
            options.plan.only = Scope::WithDependencies(vec![name.clone()]);
        }
        self.change(&stack.name, &options, |record| {
            record.file = Some(stack.clone());
            if record.effective(&stack.name).services.contains_key(name) {
                let text = format!("service `{name}` is there already");
                return Err(Error::new(ErrorKind::AlreadyExists, text).on(&stack.name));
            }
            let labelled = match service.labels.contains_key(ONE_OFF) {
                true => service,
                false => service.label(ONE_OFF, name.as_str()),
            };
            record.hand.services.insert(name.clone(), labelled);
            Ok(())
        })
        .await
    }

    /// Removes a service that was spawned to run once; nothing else is touched, absent is success.
    ///
    /// # Errors
    /// What the actions give.
    pub async fn remove_once(
        &self,
        stack: &StackName,
        service: &ServiceName,
        run: RunOptions<'_>,
    ) -> Result<Report> {
        let _lock = self.lock(stack).await?;
        let selector = Selector::service(stack.clone(), service.clone());
        let observed = self.observe(&selector).await?.stack(stack);
        let mut plan = empty_plan(stack.clone());
        let mut gone = Vec::new();
        for replica in observed.replicas_of(service) {
            let id = replica.id.clone();
            let action = Action::RemoveReplica { replica: id };
            gone.push(plan.push_on(replica, action, "it ran once", &[]));
        }
        if observed.services.contains_key(service) {
            let name = service.clone();
            plan.push(Action::RemoveService { name }, "it ran once", &gone);
        }
        let report = apply::run(&plan, &self.backend, &self.clock, self.timed(run)).await?;
        let (mut record, revision) = self.load_record(stack).await?;
        if revision.is_some() && record.hand.services.contains_key(service) {
            forget(&mut record.hand, service);
            self.store_record(stack, &record, revision).await?;
        }
        Ok(report)
    }
}
