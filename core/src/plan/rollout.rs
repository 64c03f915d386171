//! Which entries of a plan replace the replicas of a service, so that one batch can fail alone.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::name::ServiceName;
use crate::spec::FailureAction;

/// Whether a plan leads to a new specification or back to a former one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Updates go by `update`.
    #[default]
    Forward,
    /// They go by `rollback`, where the service has one.
    Back,
}

/// The replacement of one service's replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Whose replicas.
    pub service: ServiceName,
    /// What follows when one batch more fails than is tolerated.
    pub on_failure: FailureAction,
    /// How many batches may fail before that.
    pub tolerated: usize,
    /// The entries of each batch, in order.
    pub batches: Vec<Range<usize>>,
}

impl Rollout {
    /// The batch that an entry is part of.
    pub(crate) fn batch_of(&self, entry: usize) -> Option<usize> {
        self.batches.iter().position(|batch| batch.contains(&entry))
    }
}
