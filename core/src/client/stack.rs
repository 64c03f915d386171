//! Whole stacks: plan, apply, up, down.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::drift::{self, left};
use super::planned::{Ground, Prepared};
use super::rollback::remember;
use super::rollout::{RecordGate, forget_approvals, holds, note_approvals};
use super::stored::Asked;
use super::{Change, Client, Hand, PlannedStack, StackRecord};
use crate::apply::{self, Failed, Progress, Report, RunOptions};
use crate::backend::{Commit, ObservedStack, OnPull, Revision, StackLock};
use crate::error::{Error, ErrorKind, Result};
use crate::label::Selector;
use crate::name::{ServiceName, StackName};
use crate::plan::{Orphans, Plan, PlanOptions, RemovalOptions, Scope, plan, plan_removal};
use crate::spec::{FailureAction, Stack};

/// How a stack is brought up.
#[derive(Clone)]
#[non_exhaustive]
pub struct UpOptions<'a> {
    /// How the plan is made.
    pub plan: PlanOptions,
    /// How it is carried out.
    pub run: RunOptions<'a>,
    /// Called with the progress of image pulls.
    pub on_pull: OnPull<'a>,
    /// Called once with the plan before it is carried out.
    pub on_plan: &'a (dyn Fn(&Plan) + Send + Sync),
    /// Numbers of replicas over what the stack says and what was set by hand.
    pub scale: BTreeMap<ServiceName, u32>,
}

impl fmt::Debug for UpOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpOptions")
            .field("plan", &self.plan)
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

impl Default for UpOptions<'_> {
    fn default() -> Self {
        Self {
            plan: PlanOptions::default(),
            run: RunOptions::default(),
            on_pull: &|_| {},
            on_plan: &|_| {},
            scale: BTreeMap::new(),
        }
    }
}

impl<'a> UpOptions<'a> {
    /// The defaults: create what is missing, replace what changed, leave orphans.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends with a wait until every service is ready.
    #[must_use]
    pub fn wait(mut self, deadline: Duration) -> Self {
        self.plan.wait = Some(deadline);
        self
    }

    /// Removes services that the stack no longer has.
    #[must_use]
    pub fn remove_orphans(mut self, remove: bool) -> Self {
        self.plan.orphans = match remove {
            true => Orphans::Remove,
            false => Orphans::Keep,
        };
        self
    }

    /// Limits it to some services; the others are left as they are.
    #[must_use]
    pub fn only(mut self, scope: Scope) -> Self {
        self.plan.only = scope;
        self
    }

    /// Sets a service's number of replicas, over what the stack says and what was set by hand.
    ///
    /// It holds until the stack is brought up again: the file's number counts then.
    #[must_use]
    pub fn scaled(mut self, service: ServiceName, replicas: u32) -> Self {
        self.scale.insert(service, replicas);
        self
    }

    /// Calls `told` with progress.
    #[must_use]
    pub fn on_progress(mut self, told: &'a (dyn Fn(Progress) + Send + Sync)) -> Self {
        self.run.on_progress = told;
        self
    }

    /// Calls `told` with the progress of image pulls.
    #[must_use]
    pub fn on_pull(mut self, told: OnPull<'a>) -> Self {
        self.on_pull = told;
        self
    }

    /// Calls `told` with the plan before it is carried out.
    #[must_use]
    pub fn on_plan(mut self, told: &'a (dyn Fn(&Plan) + Send + Sync)) -> Self {
        self.on_plan = told;
        self
    }
}

/// How a stack is taken down.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct DownOptions<'a> {
    /// Remove named volumes **with their data**.
    pub volumes: bool,
    /// Time between stop signal and kill, over what the services say.
    pub grace: Option<Duration>,
    /// How the plan is carried out.
    pub run: RunOptions<'a>,
}

impl<'a> DownOptions<'a> {
    /// The defaults: volumes stay.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes named volumes with their data.
    #[must_use]
    pub fn volumes(mut self, remove: bool) -> Self {
        self.volumes = remove;
        self
    }

    /// Sets the time between stop signal and kill, over what the services say.
    #[must_use]
    pub fn grace(mut self, grace: Option<Duration>) -> Self {
        self.grace = grace;
        self
    }

    /// Calls `told` with progress.
    #[must_use]
    pub fn on_progress(mut self, told: &'a (dyn Fn(Progress) + Send + Sync)) -> Self {
        self.run.on_progress = told;
        self
    }
}

/// Why a plan was not carried out to its end.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) error: Error,
    /// The update that failed, if it is to be taken back.
    pub(super) update: Option<FailedUpdate>,
}

/// An update that has failed, and the record as it stands.
#[derive(Debug)]
pub(super) struct FailedUpdate {
    pub(super) service: ServiceName,
    pub(super) record: StackRecord,
    pub(super) revision: Option<Revision>,
}

impl Stopped {
    pub(super) fn at(error: Error) -> Self {
        Self {
            error,
            update: None,
        }
    }

    fn by(failed: Failed, plan: &Plan, record: StackRecord, revision: Option<Revision>) -> Self {
        let rollout = failed.rollout.map(|at| &plan.rollouts[at]);
        let rollout = rollout.filter(|rollout| rollout.on_failure == FailureAction::Rollback);
        Self {
            error: failed.error,
            update: rollout.map(|rollout| FailedUpdate {
                service: rollout.service.clone(),
                record,
                revision,
            }),
        }
    }
}

impl Client {
    /// Plans the way to `stack` and writes nothing.
    ///
    /// Missing images are fetched where the pull policy says so, because a plan is made over
    /// digests. What was spawned, linked or scaled by hand stays part of the stack.
    ///
    /// # Errors
    /// `InvalidSpec`, `Unsupported` with all gaps, `NotFound` for images, and what `observe` gives.
    pub async fn plan(&self, stack: &Stack, options: &UpOptions<'_>) -> Result<PlannedStack> {
        let (former, revision) = self.load_record(&stack.name).await?;
        let mut record = former.clone();
        take_up(&mut record, stack, &options.scale);
        let Prepared { plan, ground } = self
            .plan_record(&stack.name, record, former, revision, options)
            .await?;
        let asked = Asked {
            file: stack.clone(),
            scale: options.scale.clone(),
        };
        Ok(PlannedStack {
            plan,
            ground,
            asked,
        })
    }

    /// Brings a stack up: plans and applies. Idempotent: the same stack again writes nothing.
    ///
    /// *Cancelled* or killed anywhere: what serves goes on serving, and the next `up` finishes.
    ///
    /// # Errors
    /// As [`plan`](Self::plan) before anything is written; then what the actions give, with undo
    /// failures in `cleanup`.
    pub async fn up(&self, stack: &Stack, options: &UpOptions<'_>) -> Result<Report> {
        let name = &stack.name;
        self.change(name, options, |record| {
            take_up(record, stack, &options.scale);
            Ok(())
        })
        .await
    }

    /// Takes a stack down: removes its replicas, services, networks, secrets and configs.
    ///
    /// Idempotent: a stack that is not there is success. Volumes stay unless asked for.
    /// *Cancelled*: a part is gone; the next `down` goes on.
    ///
    /// # Errors
    /// What the actions give.
    pub async fn down(&self, name: &StackName, options: &DownOptions<'_>) -> Result<Report> {
        let _lock = self.lock(name).await?;
        let (record, revision) = self.load_record(name).await?;
        let observed = self.backend.observe(&Selector::stack(name.clone())).await?;
        if observed.partial {
            let text = "the backend gave only a part of what there is; nothing is removed on that";
            return Err(Error::new(ErrorKind::Unavailable, text).on(name));
        }
        let known = record.effective(name);
        let removal = RemovalOptions {
            volumes: options.volumes,
            grace: options.grace,
        };
        let observed = observed.stack(name);
        let plan = plan_removal(&known, &observed, removal);
        let mut run = options.run;
        if revision.is_some() {
            run.commit = self.commit();
        }
        let report = apply::run(&plan, &self.backend, &self.clock, self.timed(run)).await?;
        if revision.is_some() {
            self.state_facet()?.remove(name).await?;
        }
        Ok(report)
    }

    /// The record of a stack; empty if there is none.
    ///
    /// # Errors
    /// `Corrupt` if it cannot be read; what the backend gives.
    pub async fn record(&self, stack: &StackName) -> Result<StackRecord> {
        self.load_record(stack).await.map(|(record, _)| record)
    }

    /// Stacks that the backend has a record of.
    ///
    /// # Errors
    /// What the backend gives.
    pub async fn stacks(&self) -> Result<Vec<StackName>> {
        match self.backend.state() {
            Some(state) => state.stacks().await,
            None => Ok(self
                .backend
                .observe(&Selector::all())
                .await?
                .stacks
                .into_keys()
                .collect()),
        }
    }

    /// Changes a stack's record and applies the result, under the stack's lock.
    pub(super) async fn change(
        &self,
        name: &StackName,
        options: &UpOptions<'_>,
        edit: impl FnOnce(&mut StackRecord) -> Result<()> + Send,
    ) -> Result<Report> {
        let _lock = self.lock(name).await?;
        let (former, revision) = self.load_record(name).await?;
        let mut record = former.clone();
        edit(&mut record)?;
        let planned = self
            .plan_record(name, record, former, revision, options)
            .await?;
        (options.on_plan)(&planned.plan);
        self.carry_out(planned, options.run).await
    }

    pub(super) async fn plan_record(
        &self,
        name: &StackName,
        record: StackRecord,
        former: StackRecord,
        revision: Option<Revision>,
        options: &UpOptions<'_>,
    ) -> Result<Prepared> {
        let stack = record.effective(name);
        if let Some(problem) = stack.problems().into_iter().next() {
            return Err(problem);
        }
        // Gaps come before images: what can never run here must not cost a download.
        let capabilities = self.capabilities();
        crate::plan::check(&stack, &capabilities, &options.plan)?;
        let reach = options.plan.only.reach(&stack);
        let desired = self.resolve(stack, &reach, options.on_pull).await?;
        let observed = self.whole(name).await?;
        let ground = Ground {
            record,
            former,
            revision,
            desired,
            options: options.plan.clone(),
        };
        let prepared = self.derive(ground, &observed)?;
        self.refuse_foreign(&prepared.plan).await?;
        Ok(prepared)
    }

    /// Plans, with nothing left to look up.
    pub(super) fn derive(&self, ground: Ground, observed: &ObservedStack) -> Result<Prepared> {
        let mut ground = ground;
        ground.desired.left = left(&ground, observed);
        ground.desired.holds = holds(&ground.record);
        let desired = &ground.desired;
        let mut plan = plan(desired, observed, &self.capabilities(), &ground.options)?;
        let record = &mut ground.record;
        plan.notes.extend(record.notes());
        let left = drift::left_notes(desired, observed, &self.capabilities());
        plan.notes.extend(left);
        record.settle(&desired.fingerprints);
        note_approvals(record, &ground.options.approve, |name| {
            let service = desired.service(name)?;
            Some(service.spec_hash.clone())
        });
        remember(record, &ground.former, &plan, observed);
        let known = &desired.stack.services;
        record.former.retain(|name, _| known.contains_key(name));
        record.rollouts.retain(|name, _| known.contains_key(name));
        Ok(Prepared { plan, ground })
    }

    pub(super) async fn carry_out(&self, planned: Prepared, run: RunOptions<'_>) -> Result<Report> {
        let stack = planned.plan.stack.clone();
        match self.carry_out_once(planned, run).await {
            Ok(report) => Ok(report),
            Err(stopped) => Err(self.take_back(&stack, stopped, run).await),
        }
    }

    pub(super) async fn carry_out_once(
        &self,
        planned: Prepared,
        run: RunOptions<'_>,
    ) -> std::result::Result<Report, Stopped> {
        let Prepared { plan, ground } = planned;
        let Ground {
            mut record,
            former,
            revision,
            options,
            ..
        } = ground;
        let scope = options.only;
        let name = plan.stack.clone();
        if plan.is_empty() {
            // Nothing can be interrupted, so the record needs no mark of a change under way; and one
            // whose last answer was lost has ended by now.
            let left = Change::left(former.change.clone(), &scope);
            record.change = Change::resting(left, former.change.as_ref(), &plan);
            forget_approvals(&mut record, &scope, &plan.resting);
            let known = revision.is_some() || self.backend.state().is_none();
            if !known || record.encode() != former.encode() {
                let stored = self.store_record(&name, &record, revision).await;
                stored.map_err(Stopped::at)?;
            }
            let outcome = apply::run(&plan, &self.backend, &self.clock, self.timed(run)).await;
            return outcome.map_err(Stopped::at);
        }
        record.change = Some(Change::begun(&plan, &scope, former.change.as_ref()));
        let marked = self
            .mark_record(&name, &mut record, &former, revision)
            .await;
        let revision = marked.map_err(Stopped::at)?;
        let gate = RecordGate::new(self, &name, &record, revision);
        let run = RunOptions {
            commit: self.commit(),
            gate: Some(&gate),
            ..run
        };
        match apply::run_plan(&plan, &self.backend, &self.clock, self.timed(run)).await {
            Ok(report) => {
                let marked = record.clone();
                let begun = record.change.take();
                let left = Change::left(former.change, &scope);
                record.change = Change::resting(left, begun.as_ref(), &plan);
                forget_approvals(&mut record, &scope, &plan.resting);
                let stored = self.store_over(&name, record, &marked, revision).await;
                stored.map(|()| report).map_err(Stopped::at)
            }
            Err(failed) => {
                let fresh = self.reread(&name, &record, revision).await;
                let (record, revision) = fresh.unwrap_or((record, revision));
                Err(Stopped::by(failed, &plan, record, revision))
            }
        }
    }

    pub(super) async fn lock(&self, stack: &StackName) -> Result<Option<Box<dyn StackLock>>> {
        match self.backend.state() {
            Some(state) => state.lock(stack).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn load_record(
        &self,
        stack: &StackName,
    ) -> Result<(StackRecord, Option<Revision>)> {
        let Some(state) = self.backend.state() else {
            return Ok((StackRecord::default(), None));
        };
        match state.load(stack).await? {
            None => Ok((StackRecord::default(), None)),
            Some((bytes, revision)) => Ok((StackRecord::decode(stack, &bytes)?, Some(revision))),
        }
    }

    /// The record that a change ends with commits its steps, where there is one.
    fn commit(&self) -> Commit {
        match self.backend.state() {
            Some(_) => Commit::WithRecord,
            None => Commit::Now,
        }
    }

    /// Marks the record with what begins, over one that was `former` when it was read; a pause that
    /// somebody asked for since stays, and is seen before the first batch.
    async fn mark_record(
        &self,
        stack: &StackName,
        record: &mut StackRecord,
        former: &StackRecord,
        expected: Option<Revision>,
    ) -> Result<Option<Revision>> {
        let Some(state) = self.backend.state() else {
            return Ok(None);
        };
        let marked = state.mark(stack, &record.encode(), expected).await;
        match marked {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let (theirs, revision) = self.load_record(stack).await?;
                if !record.take_up_rollouts(former, &theirs) {
                    return Err(error);
                }
                let marked = state.mark(stack, &record.encode(), revision).await;
                marked.map(Some)
            }
            marked => marked.map(Some),
        }
    }

    /// Stores what a change came to, over the record it was marked with.
    async fn store_over(
        &self,
        stack: &StackName,
        mut record: StackRecord,
        marked: &StackRecord,
        expected: Option<Revision>,
    ) -> Result<()> {
        match self.store_record(stack, &record, expected).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let (theirs, revision) = self.load_record(stack).await?;
                if !record.take_up_rollouts(marked, &theirs) {
                    return Err(error);
                }
                self.store_record(stack, &record, revision).await.map(drop)
            }
            stored => stored.map(drop),
        }
    }

    /// The record of a change that failed, with what somebody wrote of rollouts meanwhile.
    async fn reread(
        &self,
        stack: &StackName,
        marked: &StackRecord,
        revision: Option<Revision>,
    ) -> Option<(StackRecord, Option<Revision>)> {
        let (theirs, now) = self.load_record(stack).await.ok()?;
        let mut record = marked.clone();
        (now != revision && record.take_up_rollouts(marked, &theirs)).then_some((record, now))
    }

    pub(super) async fn store_record(
        &self,
        stack: &StackName,
        record: &StackRecord,
        expected: Option<Revision>,
    ) -> Result<Option<Revision>> {
        match self.backend.state() {
            None => Ok(None),
            Some(state) => state
                .store(stack, &record.encode(), expected)
                .await
                .map(Some),
        }
    }
}

/// Makes a stack the one that is wanted, with these numbers of replicas over its own.
pub(super) fn take_up(record: &mut StackRecord, stack: &Stack, scale: &BTreeMap<ServiceName, u32>) {
    let mut file = stack.clone();
    for (name, replicas) in scale {
        if let Some(service) = file.services.get_mut(name) {
            service.replicas = *replicas;
            record.hand.scale.remove(name);
        }
    }
    record.file = Some(file);
}

/// Forgets what was done by hand to a service that the hand removed.
pub(super) fn forget(hand: &mut Hand, service: &ServiceName) {
    hand.services.remove(service);
    hand.links.remove(service);
    hand.scale.remove(service);
}
