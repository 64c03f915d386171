//! Going back to what a service was: asked for, or after an update that failed.

use std::collections::BTreeMap;

use super::record::Former;
use super::stack::{Stopped, UpOptions};
use super::{Client, StackRecord};
use crate::apply::{Report, RunOptions};
use crate::backend::{Action, DesiredService, ObservedStack};
use crate::error::{Error, ErrorKind, Result};
use crate::image::Digest;
use crate::name::{ServiceName, StackName};
use crate::plan::{Direction, Plan, Scope};

impl Client {
    /// Brings a service back to what it was before its last change, over the very image that ran
    /// then, with as many replicas as now. It goes as the service's rollback policy says.
    ///
    /// After a change that was carried out whole, a second call undoes the first. What a service
    /// was is part of the stack's record, which the backend keeps, so any client can go back. The
    /// next `up` goes by its file. *Cancelled*: what serves goes on serving; the next
    /// [`update`](Self::update), [`scale`](Self::scale) or `up` goes on.
    ///
    /// # Errors
    /// `NotFound` without such a service, or if nothing is known of what it was; `Unsupported` if
    /// the backend keeps no record of stacks; else as [`up`](Self::up).
    pub async fn rollback(
        &self,
        stack: &StackName,
        service: &ServiceName,
        options: &UpOptions<'_>,
    ) -> Result<Report> {
        let edit = |record: &mut StackRecord| {
            self.need(record, stack, service)?;
            go_back(record, stack, service)?;
            // Whoever goes back wants it to go.
            record.rollouts.remove(service);
            Ok(())
        };
        self.change(stack, &back(service, options.clone()), edit)
            .await
    }

    /// Takes an update back that has failed; the error says what became of it.
    pub(super) async fn take_back(
        &self,
        stack: &StackName,
        stopped: Stopped,
        run: RunOptions<'_>,
    ) -> Error {
        let Stopped { error, update } = stopped;
        let Some(update) = update else { return error };
        let service = &update.service;
        let mut record = update.record.clone();
        if go_back(&mut record, stack, service).is_err() {
            return error.hint("nothing is known of what it was before; it stays where it is");
        }
        let mut options = back(service, UpOptions::new());
        options.run = run;
        let planned = self
            .plan_record(stack, record, update.record, update.revision, &options)
            .await;
        let outcome = match planned {
            Ok(planned) => self.carry_out_once(planned, run).await,
            Err(error) => Err(Stopped::at(error)),
        };
        match outcome {
            Err(failed) => error.with_cleanup(vec![failed.error]),
            Ok(report) if report.resting.contains(service) => {
                error.hint("its rollout is paused, so it was not taken back: it stays where it is")
            }
            Ok(_) => {
                let text = "the update failed and was taken back; it is as it was before";
                Error::new(error.kind(), text)
                    .on(format!("service {service}"))
                    .with_log(error.log().to_vec())
                    .because(error)
            }
        }
    }
}

fn back<'a>(service: &ServiceName, options: UpOptions<'a>) -> UpOptions<'a> {
    let mut options = options.only(Scope::Change(vec![service.clone()]));
    options.plan.direction = Direction::Back;
    options
}

/// Has the record want what the service was.
fn go_back(record: &mut StackRecord, stack: &StackName, service: &ServiceName) -> Result<()> {
    let former = record.former.remove(service);
    let now = record.written(service).map(|service| service.replicas);
    let (Some(former), Some(replicas)) = (former, now) else {
        let text = format!("nothing is known of what `{service}` was before");
        return Err(Error::new(ErrorKind::NotFound, text)
            .on(stack)
            .hint("apply the former file, or `update` it to the former image"));
    };
    record.write(service, former.pinned(replicas));
    Ok(())
}

/// Notes what the services are that a plan replaces, where they are it whole.
pub(super) fn remember(
    record: &mut StackRecord,
    former: &StackRecord,
    plan: &Plan,
    observed: &ObservedStack,
) {
    let mut new: BTreeMap<&ServiceName, &DesiredService> = BTreeMap::new();
    for entry in &plan.entries {
        match &entry.action {
            Action::StartReplica { service, .. } | Action::CreateReplica { service, .. } => {
                new.insert(&service.name, service);
            }
            // Its replicas follow once it goes on, and nothing tells then what it was.
            Action::EnsureService { service } if plan.resting.contains(&service.name) => {
                new.insert(&service.name, service);
            }
            _ => {}
        }
    }
    for (name, service) in new {
        let Some(seen) = observed.services.get(name) else {
            continue;
        };
        // What was not reached is nothing to go back to: what was before it still is.
        if seen.spec_hash == service.spec_hash || former.is_unfinished(name) {
            continue;
        }
        let Some(written) = former.written(name) else {
            continue;
        };
        let mut of_it = observed.replicas_of(name);
        let ran = of_it.find(|replica| replica.spec_hash == seen.spec_hash);
        let was = Former {
            service: written.clone(),
            digest: ran.and_then(|replica| Digest::parse(&replica.image_digest).ok()),
        };
        record.former.insert(name.clone(), was);
    }
}
