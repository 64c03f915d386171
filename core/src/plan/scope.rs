//! Which services a plan is about; what it is not about is left as it is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::PlanOptions;
use crate::name::ServiceName;
use crate::spec::Stack;

/// Which services a plan is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// All of the stack.
    #[default]
    All,
    /// These services, and everything they depend on.
    WithDependencies(Vec<ServiceName>),
    /// These services. What they depend on is started where it does not run and one of them is
    /// going to start; what runs of it is left as it is.
    Change(Vec<ServiceName>),
    /// These services. What they depend on is neither started nor waited for.
    Alone(Vec<ServiceName>),
    /// The names and links of these services. Their replicas are left as they are.
    Declare(Vec<ServiceName>),
}

impl Scope {
    /// These services with everything they depend on; all services if none is named.
    #[must_use]
    pub fn services(names: impl Into<Vec<ServiceName>>) -> Self {
        let names = names.into();
        if names.is_empty() {
            Self::All
        } else {
            Self::WithDependencies(names)
        }
    }

    /// The services that are named, or `None` for all of the stack.
    #[must_use]
    pub fn names(&self) -> Option<&[ServiceName]> {
        match self {
            Self::All => None,
            Self::WithDependencies(names)
            | Self::Change(names)
            | Self::Alone(names)
            | Self::Declare(names) => Some(names),
        }
    }

    /// True if the service is meant by itself, not for the sake of another.
    pub(crate) fn is_about(&self, name: &ServiceName) -> bool {
        self.names().is_none_or(|names| names.contains(name))
    }

    /// Every service that a plan may touch, at most; what is outside is not even looked up.
    #[must_use]
    pub fn reach(&self, stack: &Stack) -> BTreeSet<ServiceName> {
        let reached = match self {
            Self::Declare(names) => known(names, stack),
            _ => self.runs(stack),
        };
        let targets = link_targets(&reached, stack);
        reached.into_iter().chain(targets).collect()
    }

    /// Every service of which a plan may make or start replicas, at most.
    #[must_use]
    pub fn runs(&self, stack: &Stack) -> BTreeSet<ServiceName> {
        match self {
            Self::All => stack.services.keys().cloned().collect(),
            Self::WithDependencies(names) | Self::Change(names) => with_dependencies(names, stack),
            Self::Alone(names) => known(names, stack),
            Self::Declare(_) => BTreeSet::new(),
        }
    }
}

fn known(names: &[ServiceName], stack: &Stack) -> BTreeSet<ServiceName> {
    let names = names
        .iter()
        .filter(|name| stack.services.contains_key(*name));
    names.cloned().collect()
}

/// These services and everything they depend on, directly or not.
pub(super) fn with_dependencies(names: &[ServiceName], stack: &Stack) -> BTreeSet<ServiceName> {
    let mut reached = BTreeSet::new();
    let mut queue = names.to_vec();
    while let Some(name) = queue.pop() {
        if let Some(service) = stack.services.get(&name)
            && reached.insert(name)
        {
            queue.extend(service.depends_on.keys().cloned());
        }
    }
    reached
}

/// Services of the stack that links of these lead to.
pub(super) fn link_targets(
    services: &BTreeSet<ServiceName>,
    stack: &Stack,
) -> BTreeSet<ServiceName> {
    let links = services.iter().flat_map(|name| &stack.services[name].links);
    let own = links.filter(|link| {
        let other = link.target.stack.as_ref();
        other.is_none_or(|other| *other == stack.name)
    });
    let targets = own.map(|link| &link.target.service);
    targets
        .filter(|name| stack.services.contains_key(*name))
        .cloned()
        .collect()
}

/// What becomes of services that are there and that the stack does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Orphans {
    /// They stay, and the plan tells of them.
    #[default]
    Keep,
    /// They stay, and nothing is told of them.
    Ignore,
    /// They go.
    Remove,
    /// These go, the others stay.
    RemoveThese(Vec<ServiceName>),
}

impl Orphans {
    pub(super) fn goes(&self, name: &ServiceName) -> bool {
        match self {
            Self::Keep | Self::Ignore => false,
            Self::Remove => true,
            Self::RemoveThese(names) => names.contains(name),
        }
    }
}

impl PlanOptions {
    /// Limits the plan to some services.
    #[must_use]
    pub fn only(mut self, scope: Scope) -> Self {
        self.only = scope;
        self
    }
}
