//! Labels that we own, and selectors over stacks, services and replicas.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::{ReplicaId, ServiceName, StackName};

/// Label of a service that was spawned to run once, with the name of the service it is a copy of.
///
/// Once it has ended, no later plan starts it again.
pub const ONE_OFF: &str = "unmoor.one-off";

/// Key-value pairs, ordered by key.
pub type Labels = BTreeMap<String, String>;

/// Which stacks, services and replicas an operation is about.
///
/// An empty selector selects everything that the backend's owner has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Selector {
    /// Only this stack.
    pub stack: Option<StackName>,
    /// Only these services; empty means all.
    pub services: Vec<ServiceName>,
    /// Only this slot of the services.
    pub slot: Option<u32>,
    /// Only what carries all of these labels.
    pub labels: Labels,
}

impl Selector {
    /// Selects everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects one stack.
    #[must_use]
    pub fn stack(stack: StackName) -> Self {
        Self {
            stack: Some(stack),
            ..Self::default()
        }
    }

    /// Selects one service of a stack.
    #[must_use]
    pub fn service(stack: StackName, service: ServiceName) -> Self {
        Self {
            stack: Some(stack),
            services: vec![service],
            ..Self::default()
        }
    }

    /// Selects one replica.
    #[must_use]
    pub fn replica(id: &ReplicaId) -> Self {
        Self {
            slot: Some(id.slot),
            ..Self::service(id.stack.clone(), id.service.clone())
        }
    }

    /// Narrows to what carries this label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// True if a service of `stack` may be selected.
    #[must_use]
    pub fn matches_stack(&self, stack: &StackName) -> bool {
        self.stack.as_ref().is_none_or(|wanted| wanted == stack)
    }

    /// True if the service is selected.
    #[must_use]
    pub fn matches_service(
        &self,
        stack: &StackName,
        service: &ServiceName,
        labels: &Labels,
    ) -> bool {
        self.matches_stack(stack)
            && (self.services.is_empty() || self.services.contains(service))
            && self
                .labels
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    }

    /// True if the replica is selected.
    #[must_use]
    pub fn matches(&self, id: &ReplicaId, labels: &Labels) -> bool {
        self.matches_service(&id.stack, &id.service, labels)
            && self.slot.is_none_or(|slot| slot == id.slot)
    }
}
