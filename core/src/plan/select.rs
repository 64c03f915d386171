//! What a plan with a scope takes in: the named services, and what they need of others.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Scope;
use super::diff::Planner;
use super::scope::{link_targets, with_dependencies};
use crate::backend::{DesiredService, Phase};
use crate::error::{Error, ErrorKind, Result};
use crate::name::ServiceName;

impl Planner<'_> {
    pub(super) fn service(&self, name: &ServiceName) -> Result<Arc<DesiredService>> {
        self.services.get(name).cloned().ok_or_else(|| {
            let text = format!("image of `{name}` was not resolved");
            Error::new(ErrorKind::Internal, text)
        })
    }

    /// The services that the plan brings to what is wanted.
    pub(super) fn selected(&self) -> Result<BTreeSet<ServiceName>> {
        let stack = &self.desired.stack;
        match &self.options.only {
            Scope::All => Ok(stack.services.keys().cloned().collect()),
            Scope::WithDependencies(names) => Ok(with_dependencies(names, stack)),
            Scope::Alone(names) | Scope::Declare(names) => Ok(names.iter().cloned().collect()),
            Scope::Change(names) => self.changed(names),
        }
    }

    /// These, and what does not run of what those of them need that are going to start.
    fn changed(&self, names: &[ServiceName]) -> Result<BTreeSet<ServiceName>> {
        let services = &self.desired.stack.services;
        let mut selected = BTreeSet::new();
        let mut queue = names.to_vec();
        while let Some(name) = queue.pop() {
            if !services.contains_key(&name) || !selected.insert(name.clone()) {
                continue;
            }
            if self.will_start(&*self.service(&name)?) {
                let needs = services[&name].depends_on.keys();
                queue.extend(needs.filter(|need| !self.runs(need)).cloned());
            }
        }
        Ok(selected)
    }

    /// True if a dependent finds what it needs: a copy that runs, or a job that ran.
    fn runs(&self, name: &ServiceName) -> bool {
        self.seen(name).iter().any(|replica| {
            let ran = replica.phase == Phase::Stopped
                && replica.exit.is_some_and(|exit| exit.code == 0)
                && self.is_job(name);
            let stays = replica.phase.is_alive() && replica.phase != Phase::Stopping;
            stays || ran
        })
    }

    /// True for a dependency that the plan leaves alone because it runs.
    pub(super) fn is_left_running(&self, name: &ServiceName) -> bool {
        let known = self.desired.stack.services.contains_key(name);
        known && matches!(self.options.only, Scope::Change(_))
    }

    /// The services whose names must resolve: the selected, and those that their links lead to.
    pub(super) fn declared(&self, selected: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
        let mut declared = selected.clone();
        if !self.platform_acts {
            let targets = link_targets(selected, &self.desired.stack);
            let missing = targets
                .into_iter()
                .filter(|name| !self.observed.services.contains_key(name));
            declared.extend(missing);
        }
        declared
    }

    /// Those of the selected services whose replicas may change. Where the platform acts, it is
    /// told of a link through the same action as of the replicas.
    pub(super) fn with_replicas(&self, selected: BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
        match self.options.only {
            Scope::Declare(_) if !self.platform_acts => BTreeSet::new(),
            _ => selected,
        }
    }
}
