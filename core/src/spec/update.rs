//! How a service is restarted and updated.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whether a replica that ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// After a failure, at most `max` times; `None` is without limit.
    OnFailure {
        /// Most restarts in a row.
        max: Option<u32>,
    },
    /// Always, also after a reboot of the node.
    Always,
    /// As `Always`, unless it was stopped on purpose.
    UnlessStopped,
}

/// Which copy goes first in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// The new copy is ready before the old one stops.
    StartFirst,
    /// The old copy is gone before the new one starts.
    StopFirst,
}

/// What follows when a replacement does not come up, or does not stay up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureAction {
    /// The update stops where it is; what serves goes on serving.
    #[default]
    Pause,
    /// The others are replaced all the same; the failure is told in the end.
    Continue,
    /// The replicas replaced so far go back to the former specification.
    Rollback,
}

/// What becomes of what somebody changed on the platform, past its stack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftPolicy {
    /// The next `up` puts it right.
    #[default]
    Reconcile,
    /// It is told of and left, until what is wanted changes.
    Report,
    /// It is left and not told of, until what is wanted changes.
    Ignore,
}

impl DriftPolicy {
    /// True for the policy of a service that says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a changed service replaces its replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatePolicy {
    /// `None`: start first unless the service holds data or a fixed place (see
    /// [`Service::update_order`](crate::spec::Service::update_order)).
    pub order: Option<UpdateOrder>,
    /// How many at a time; 0 is all.
    pub parallelism: u32,
    /// Time between leaving discovery and the stop signal.
    pub drain: Duration,
    /// A replacement must be ready within this time.
    pub deadline: Duration,
    /// Most replicas beyond the wanted number, in the place of order and parallelism.
    #[serde(default)]
    pub max_surge: Option<u32>,
    /// Most replicas below the wanted number, in the place of order and parallelism.
    #[serde(default)]
    pub max_unavailable: Option<u32>,
    /// So many replicas are replaced first; the others wait until that is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<u32>,
    /// Pause between two batches.
    #[serde(default)]
    pub delay: Duration,
    /// A replacement must stay ready for this time before the next batch begins.
    #[serde(default)]
    pub monitor: Duration,
    /// What follows when a replacement fails.
    #[serde(default)]
    pub on_failure: FailureAction,
    /// So many of a thousand replacements may fail before that follows.
    #[serde(default)]
    pub failures_per_mille: u32,
}

impl Default for UpdatePolicy {
    fn default() -> Self {
        Self {
            order: None,
            parallelism: 1,
            drain: Duration::ZERO,
            deadline: Duration::from_secs(300),
            max_surge: None,
            max_unavailable: None,
            canary: None,
            delay: Duration::ZERO,
            monitor: Duration::ZERO,
            on_failure: FailureAction::default(),
            failures_per_mille: 0,
        }
    }
}

/// How many replicas one batch of an update takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// So many are started before those they replace go.
    pub surge: usize,
    /// So many go before those that replace them are started.
    pub unavailable: usize,
}

impl UpdatePolicy {
    /// The size of a batch where `pairs` replicas are to be replaced, by this order.
    #[must_use]
    pub fn pace(&self, order: UpdateOrder, pairs: usize) -> Pace {
        if self.max_surge.is_some() || self.max_unavailable.is_some() {
            let pace = Pace {
                surge: self.max_surge.unwrap_or(0) as usize,
                unavailable: self.max_unavailable.unwrap_or(0) as usize,
            };
            // Neither more nor less than wanted leaves no way to replace one.
            let stuck = pace.surge + pace.unavailable == 0;
            return Pace {
                surge: if stuck { 1 } else { pace.surge },
                ..pace
            };
        }
        let batch = match self.parallelism as usize {
            0 => pairs.max(1),
            batch => batch,
        };
        let (surge, unavailable) = match order {
            UpdateOrder::StartFirst => (batch, 0),
            UpdateOrder::StopFirst => (0, batch),
        };
        Pace { surge, unavailable }
    }

    /// So many of `pairs` replacements may fail before the failure's action follows.
    #[must_use]
    pub fn tolerated(&self, pairs: usize) -> usize {
        pairs * self.failures_per_mille as usize / 1000
    }
}
