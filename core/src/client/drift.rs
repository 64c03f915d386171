//! What somebody changed on the platform, past the stack: shown, put right, or left.

use std::collections::BTreeSet;

use super::planned::Ground;
use super::{Client, UpOptions};
use crate::apply::Report;
use crate::backend::{Capabilities, ObservedStack};
use crate::error::{Error, ErrorKind, Result};
use crate::name::{ServiceName, StackName};
use crate::plan::{Desired, Drift, drift};
use crate::spec::DriftPolicy;

impl Client {
    /// What there is of a stack that is not as it was applied last. A read.
    ///
    /// # Errors
    /// `Unsupported` if the backend keeps no record of stacks; `NotFound` if it has none of this one.
    pub async fn drift(&self, stack: &StackName) -> Result<Drift> {
        self.state_facet()?;
        let (record, revision) = self.load_record(stack).await?;
        if revision.is_none() {
            return Err(unknown(stack));
        }
        let observed = self.whole(stack).await?;
        let applied = record.effective(stack);
        Ok(drift(&applied, &observed, &self.capabilities()))
    }

    /// Brings a stack back to what was applied last; needs no file. Services that want their drift
    /// reported or ignored are put right too, as this is asked for.
    ///
    /// Idempotent. *Cancelled*: what serves goes on serving; the same call again goes on.
    ///
    /// # Errors
    /// As [`drift`](Self::drift); `NotFound` for the content of a secret that is gone, which only
    /// `up` with the file can give; else as [`up`](Self::up).
    pub async fn reconcile(&self, stack: &StackName, options: &UpOptions<'_>) -> Result<Report> {
        self.state_facet()?;
        let mut options = options.clone();
        options.plan.drift = Some(options.plan.drift.unwrap_or_default());
        self.change(stack, &options, |record| match &record.file {
            None if record.hand.services.is_empty() => Err(unknown(stack)),
            _ => Ok(()),
        })
        .await
    }
}

fn unknown(stack: &StackName) -> Error {
    let text = "nothing is known of what was applied";
    Error::new(ErrorKind::NotFound, text)
        .on(stack)
        .hint("`unmoor up` with its file makes it known again")
}

/// Services whose replicas are left as they are: nobody wants anything else of them than before.
pub(super) fn left(ground: &Ground, observed: &ObservedStack) -> BTreeSet<ServiceName> {
    let stack = &ground.desired.stack;
    let before = ground.former.effective(&stack.name);
    let is_left = |name: &ServiceName| {
        let wanted = &stack.services[name];
        let policy = ground.options.drift.unwrap_or(wanted.drift);
        policy != DriftPolicy::Reconcile
            && before.services.get(name) == Some(wanted)
            && observed.services.contains_key(name)
            && !ground.former.is_unfinished(name)
    };
    let names = stack.services.keys();
    names.filter(|name| is_left(name)).cloned().collect()
}

/// What a plan says of services that it leaves although they differ.
pub(super) fn left_notes(
    desired: &Desired,
    observed: &ObservedStack,
    capabilities: &Capabilities,
) -> Vec<String> {
    if desired.left.is_empty() {
        return Vec::new();
    }
    let all = drift(&desired.stack, observed, capabilities);
    let told = all.told().filter(|item| {
        let service = item.service.as_ref();
        service.is_some_and(|name| desired.left.contains(name))
    });
    told.map(|item| format!("{item}; it is left so")).collect()
}
