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
}

impl Default for UpdatePolicy {
    fn default() -> Self {
        Self {
            order: None,
            parallelism: 1,
            drain: Duration::ZERO,
            deadline: Duration::from_secs(300),
        }
    }
}
