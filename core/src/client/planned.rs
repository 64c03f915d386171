//! A plan with everything that it was made from, so that it can be checked when it is carried out.

use super::{Client, StackRecord, UpOptions};
use crate::apply::Report;
use crate::backend::{ObservedStack, Revision};
use crate::client::stored::Asked;
use crate::error::{Error, ErrorKind, Result};
use crate::label::Selector;
use crate::name::StackName;
use crate::plan::{Desired, Plan, PlanOptions, facts, plan};

/// A plan together with what it was made from and the record it leads to.
#[derive(Debug, Clone)]
pub struct PlannedStack {
    /// The plan.
    pub plan: Plan,
    pub(super) ground: Ground,
    pub(super) asked: Asked,
}

/// What a plan was made from, and the record that it leads to.
#[derive(Debug, Clone)]
pub(super) struct Ground {
    pub(super) record: StackRecord,
    pub(super) former: StackRecord,
    pub(super) revision: Option<Revision>,
    pub(super) desired: Desired,
    pub(super) options: PlanOptions,
}

/// A plan that can be carried out.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) ground: Ground,
}

/// The answer to whoever comes with a plan that does not fit any more.
pub(super) fn outdated(stack: &StackName, why: &str) -> Error {
    Error::new(ErrorKind::Conflict, why)
        .on(stack)
        .hint("plan again")
}

impl Client {
    /// Carries out a plan made before.
    ///
    /// What it was made from is looked up again first. Nothing is written if any of it differs.
    ///
    /// # Errors
    /// `Conflict` if the record or what was observed changed since, or if other actions follow from
    /// it now; else what the actions give.
    pub async fn apply(&self, planned: &PlannedStack, options: &UpOptions<'_>) -> Result<Report> {
        let stack = &planned.plan.stack;
        let _lock = self.lock(stack).await?;
        let ground = &planned.ground;
        let (former, revision) = self.load_record(stack).await?;
        if revision != ground.revision || former != ground.former {
            return Err(outdated(stack, RECORD_CHANGED));
        }
        let observed = self.whole(stack).await?;
        if facts(&observed) != planned.plan.facts {
            return Err(outdated(stack, FACTS_CHANGED));
        }
        let capabilities = self.capabilities();
        let now = plan(&ground.desired, &observed, &capabilities, &ground.options)?;
        if now.entries != planned.plan.entries {
            return Err(outdated(stack, ACTIONS_CHANGED));
        }
        (options.on_plan)(&planned.plan);
        let prepared = Prepared {
            plan: planned.plan.clone(),
            ground: ground.clone(),
        };
        self.carry_out(prepared, options.run).await
    }

    /// What there is of a stack, all of it.
    pub(super) async fn whole(&self, stack: &StackName) -> Result<ObservedStack> {
        let observed = self.observe(&Selector::stack(stack.clone())).await?;
        if observed.partial {
            let text = "the backend gave only a part of what there is";
            return Err(Error::new(ErrorKind::Unavailable, text).on(stack));
        }
        Ok(observed.stack(stack))
    }
}

/// Somebody applied another file, or changed the stack by hand.
pub(super) const RECORD_CHANGED: &str =
    "what is wanted of the stack was changed since the plan was made";
/// Something came, went, began or ended.
pub(super) const FACTS_CHANGED: &str = "the stack changed since the plan was made";
/// Something that no list of facts has, as a replica that became unhealthy.
pub(super) const ACTIONS_CHANGED: &str = "other actions would be needed now than the plan has";
