//! The changes a backend is asked to make, one at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::desired::GRACE;
use crate::backend::{Claim, DesiredService};
use crate::name::{NetworkName, ReplicaId, ServiceName, StackName, VolumeName};
use crate::spec::{BlobId, Network, SecretBytes, Volume};

/// One change.
///
/// Every action is idempotent: applied to a platform that is already in its target state it
/// succeeds and writes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Make a network, or check that it is as wanted; one of this name with other settings is
    /// `Conflict`.
    EnsureNetwork {
        /// Which.
        name: NetworkName,
        /// As wanted.
        spec: Network,
    },
    /// Remove a network; absent is success, in use is `WrongPhase`.
    RemoveNetwork {
        /// Which.
        name: NetworkName,
    },
    /// Make a volume, or check that it is there; its data is never touched. An external one that is
    /// not there is `NotFound`.
    EnsureVolume {
        /// Which.
        name: VolumeName,
        /// As wanted.
        spec: Volume,
    },
    /// Remove a volume **and its data**; absent is success, in use is `WrongPhase`.
    RemoveVolume {
        /// Which.
        name: VolumeName,
    },
    /// Store a secret or config; other content under the name is replaced.
    EnsureBlob {
        /// Which.
        id: BlobId,
        /// Its content.
        content: SecretBytes,
    },
    /// Forget a secret or config; absent is success.
    RemoveBlob {
        /// Which.
        id: BlobId,
    },
    /// Declare a service: its names and stable addresses resolve from now on.
    ///
    /// On backends whose [`Feature::RollingUpdate`](crate::backend::Feature::RollingUpdate) is the
    /// platform's, this also makes the replicas and updates them.
    EnsureService {
        /// The service.
        service: Arc<DesiredService>,
    },
    /// Withdraw a service that has no replicas left; absent is success.
    RemoveService {
        /// Which.
        name: ServiceName,
    },
    /// Make and start a replica, start the one that is there and stopped, or put the one that is
    /// there and was drained back into discovery: at once, or as soon as it is ready.
    ///
    /// A replica of this slot with another spec hash is `Conflict`; an image, network, secret or
    /// volume that is not there is `NotFound`. Returns when its process runs, healthy or not. A
    /// program that cannot be started is either an error that names it, or a replica that is
    /// `Failed` with exit code 127 or 126 and a message that names it.
    StartReplica {
        /// Which.
        replica: ReplicaId,
        /// What it is a copy of.
        service: Arc<DesiredService>,
    },
    /// Make a replica and do not start it; one that is there is left as it is.
    ///
    /// It is `Pending` until [`StartReplica`](Self::StartReplica). Its service is declared before.
    CreateReplica {
        /// Which.
        replica: ReplicaId,
        /// What it is a copy of.
        service: Arc<DesiredService>,
    },
    /// Freeze a replica's processes: it keeps what it has, gets no new connection and no health
    /// check. Frozen already is success; one that does not run is `WrongPhase`.
    PauseReplica {
        /// Which.
        replica: ReplicaId,
    },
    /// Let a frozen replica go on; one that is not frozen is success, absent is `NotFound`.
    ResumeReplica {
        /// Which.
        replica: ReplicaId,
    },
    /// Take a replica out of discovery: once this returns, no new connection reaches it. Open
    /// connections go on; a backend that sees them returns when no request on them waits for its
    /// answer any more, at the latest after the service's grace. Absent is success; one that does
    /// not serve yet stays out once it is ready, also after a restart by its policy, until it is
    /// started again. It is observed as [`drained`](crate::backend::ObservedReplica::drained).
    DrainReplica {
        /// Which.
        replica: ReplicaId,
    },
    /// Stop a replica and keep it; absent or stopped is success. Returns when its process has ended.
    /// Its restart policy does not start it again. Cancelled, the signal is sent and the replica
    /// ends within its grace.
    StopReplica {
        /// Which.
        replica: ReplicaId,
        /// Overrides the service's grace.
        grace: Option<Duration>,
    },
    /// Stop and start a replica again, with its writable layer; one that does not run is started.
    /// Absent is `NotFound`. The one action that is not idempotent: each call restarts.
    RestartReplica {
        /// Which.
        replica: ReplicaId,
        /// Overrides the service's grace.
        grace: Option<Duration>,
    },
    /// Remove a replica with its writable layer; absent is success, a running one is stopped
    /// first.
    RemoveReplica {
        /// Which.
        replica: ReplicaId,
    },
    /// Take over something that is not ours, as it is: nothing is stopped, started or moved.
    ///
    /// Ours already, in this very place, is success and writes nothing; ours elsewhere, or its place
    /// taken by something else, is `Conflict`; not there is `NotFound`; what has no words in a stack
    /// is `Unsupported`. A replica comes after its service, its networks and its volumes.
    Adopt {
        /// What the platform calls it, as [`Foreign`](crate::backend::Foreign) has it.
        from: String,
        /// What it becomes.
        claim: Claim,
    },
    /// Wait until a condition holds. Carried out by the executor through `observe`; a backend
    /// never sees it.
    Await {
        /// Whose replicas.
        service: ServiceName,
        /// These slots; empty means all of the service.
        slots: Vec<u32>,
        /// What must hold.
        until: Until,
        /// Longest wait.
        deadline: Duration,
    },
    /// See that replicas stay ready for a time: one that ends, restarts or fails its check is a
    /// failure. Carried out by the executor through `observe`.
    Monitor {
        /// Whose replicas.
        service: ServiceName,
        /// These slots.
        slots: Vec<u32>,
        /// How long.
        time: Duration,
    },
    /// Let time pass, so that clients see that an endpoint has gone. Carried out by the executor.
    Pause {
        /// How long.
        time: Duration,
    },
}

/// What [`Action::Await`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The replicas run.
    Running,
    /// The replicas run and are healthy, or have no health check.
    Ready,
    /// The replicas ended with exit code 0.
    Completed,
}

impl Action {
    /// The resource the action is about, as progress lines name it.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::EnsureNetwork { name, .. } | Self::RemoveNetwork { name } => {
                format!("network {name}")
            }
            Self::EnsureVolume { name, .. } | Self::RemoveVolume { name } => {
                format!("volume {name}")
            }
            Self::EnsureBlob { id, .. } | Self::RemoveBlob { id } => {
                format!("{} {}", id.kind.as_str(), id.name)
            }
            Self::EnsureService { service } => format!("service {}", service.name),
            Self::RemoveService { name } => format!("service {name}"),
            Self::StartReplica { replica, .. }
            | Self::CreateReplica { replica, .. }
            | Self::PauseReplica { replica }
            | Self::ResumeReplica { replica }
            | Self::DrainReplica { replica }
            | Self::StopReplica { replica, .. }
            | Self::RestartReplica { replica, .. }
            | Self::RemoveReplica { replica } => format!("replica {replica}"),
            Self::Await { service, .. } | Self::Monitor { service, .. } => {
                format!("service {service}")
            }
            Self::Adopt { claim, .. } => match claim {
                Claim::Network { name, .. } => format!("network {name}"),
                Claim::Volume { name } => format!("volume {name}"),
                Claim::Replica { replica, .. } => format!("replica {replica}"),
            },
            Self::Pause { .. } => "clients".to_owned(),
        }
    }

    /// What is done, as a verb.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::EnsureNetwork { .. }
            | Self::EnsureVolume { .. }
            | Self::EnsureBlob { .. }
            | Self::CreateReplica { .. } => "create",
            Self::PauseReplica { .. } => "pause",
            Self::ResumeReplica { .. } => "resume",
            Self::EnsureService { .. } => "declare",
            Self::Adopt { .. } => "adopt",
            Self::RemoveNetwork { .. }
            | Self::RemoveVolume { .. }
            | Self::RemoveBlob { .. }
            | Self::RemoveService { .. }
            | Self::RemoveReplica { .. } => "remove",
            Self::StartReplica { .. } => "start",
            Self::DrainReplica { .. } => "drain",
            Self::StopReplica { .. } => "stop",
            Self::RestartReplica { .. } => "restart",
            Self::Await {
                until: Until::Running,
                ..
            } => "wait until running",
            Self::Await {
                until: Until::Ready,
                ..
            } => "wait until ready",
            Self::Await {
                until: Until::Completed,
                ..
            } => "wait until completed",
            Self::Monitor { .. } => "watch",
            Self::Pause { .. } => "wait for",
        }
    }

    /// What its programs may take to end, where they are asked to: the grace that it says, that of
    /// the replica, or what is usual.
    #[must_use]
    pub fn grace(&self, of_replica: Option<Duration>) -> Duration {
        let usual = || of_replica.unwrap_or(GRACE);
        match self {
            Self::StopReplica { grace, .. } | Self::RestartReplica { grace, .. } => {
                grace.unwrap_or_else(usual)
            }
            Self::RemoveReplica { .. } | Self::DrainReplica { .. } => usual(),
            _ => Duration::ZERO,
        }
    }

    /// True if the executor carries it out itself, without a write.
    #[must_use]
    pub fn is_wait(&self) -> bool {
        matches!(
            self,
            Self::Await { .. } | Self::Monitor { .. } | Self::Pause { .. }
        )
    }

    /// True if most of its time goes by in waiting: for a condition, or for a program to end,
    /// which has a grace to do so.
    #[must_use]
    pub fn mostly_waits(&self) -> bool {
        self.is_wait()
            || matches!(
                self,
                Self::DrainReplica { .. }
                    | Self::StopReplica { .. }
                    | Self::RestartReplica { .. }
                    | Self::RemoveReplica { .. }
            )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb(), self.subject())
    }
}

/// The circumstances of one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The stack that is changed.
    pub stack: StackName,
    /// The plan the action belongs to.
    pub plan: String,
    /// Its place in the plan.
    pub index: usize,
    /// Longest time the backend may take.
    pub deadline: Duration,
    /// When what it writes must survive a loss of power.
    #[serde(default)]
    pub commit: Commit,
}

/// When what a step has written must survive a loss of power; the death of any process it
/// survives in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Commit {
    /// When the step returns.
    #[default]
    Now,
    /// When the stack's record is next stored or removed: the caller acknowledges nothing before
    /// that ([`State::store`](super::State::store)).
    WithRecord,
}

/// What an action did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Applied {
    /// It was so already; nothing was written.
    Unchanged,
    /// It was done.
    Changed,
}
