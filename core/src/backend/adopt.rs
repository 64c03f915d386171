//! What is on a platform and is not ours: shown as such, and taken over on request.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::backend::{DesiredService, Phase};
use crate::error::Result;
use crate::name::{NetworkName, ReplicaId, StackName, VolumeName};
use crate::spec::Network;

/// Who made something that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "maker", content = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Maker {
    /// Nobody has written on it who did.
    Unlabelled,
    /// A Compose project of this name.
    Compose(String),
    /// Another tool, or an unmoor that keeps its own record, in words.
    Other(String),
    /// This very installation, whose record of it was lost.
    Stray,
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlabelled => f.pad("unlabelled"),
            Self::Compose(project) => f.pad(&format!("compose project {project}")),
            Self::Other(words) => f.pad(words),
            Self::Stray => f.pad("stray"),
        }
    }
}

/// The place that one resource has in a stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StackPlace {
    /// A network of a stack.
    Network {
        /// The stack.
        stack: StackName,
        /// Its name there.
        name: NetworkName,
    },
    /// A volume of a stack.
    Volume {
        /// The stack.
        stack: StackName,
        /// Its name there.
        name: VolumeName,
    },
    /// A replica.
    Replica {
        /// Which.
        id: ReplicaId,
    },
}

impl StackPlace {
    /// The stack.
    #[must_use]
    pub fn stack(&self) -> &StackName {
        match self {
            Self::Network { stack, .. } | Self::Volume { stack, .. } => stack,
            Self::Replica { id } => &id.stack,
        }
    }
}

impl fmt::Display for StackPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { name, .. } => write!(f, "network {name}"),
            Self::Volume { name, .. } => write!(f, "volume {name}"),
            Self::Replica { id } => write!(f, "replica {id}"),
        }
    }
}

/// What something is, in the words of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// A network of these settings.
    Network(Network),
    /// A volume.
    Volume,
    /// A replica of this service; the hash may be empty where nobody has written one.
    Replica(Arc<DesiredService>),
    /// It has settings that a stack has no words for, or something of it is lost; the text says
    /// what. It cannot be taken over.
    Closed(String),
}

/// One thing that is there and is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// What the platform calls it.
    pub id: String,
    /// Who made it.
    pub maker: Maker,
    /// The place in a stack that it takes up, by its labels or its name, if it takes up one.
    pub place: Option<StackPlace>,
    /// What it is.
    pub form: Form,
    /// Where a replica stands in its life.
    pub phase: Option<Phase>,
}

impl Foreign {
    /// Network, volume or replica; what cannot be told is a resource.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (&self.form, &self.place) {
            (Form::Network(_), _) | (_, Some(StackPlace::Network { .. })) => "network",
            (Form::Volume, _) | (_, Some(StackPlace::Volume { .. })) => "volume",
            (Form::Replica(_), _) | (_, Some(StackPlace::Replica { .. })) => "replica",
            (Form::Closed(_), None) if self.phase.is_some() => "replica",
            (Form::Closed(_), None) => "resource",
        }
    }

    /// Why it cannot be taken over, if it cannot.
    #[must_use]
    pub fn closed(&self) -> Option<&str> {
        match (&self.form, &self.place) {
            (Form::Closed(why), _) => Some(why),
            (_, None) => Some("its name is no name of a stack's"),
            _ => None,
        }
    }
}

/// What of something that is not ours becomes a part of the stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "as", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Claim {
    /// A network with these settings.
    Network {
        /// Its name in the stack.
        name: NetworkName,
        /// As it is.
        spec: Network,
    },
    /// A volume, with its data.
    Volume {
        /// Its name in the stack.
        name: VolumeName,
    },
    /// A replica.
    Replica {
        /// Which.
        replica: ReplicaId,
        /// What it is a copy of, with the hash that is to be observed of it from now on.
        service: Arc<DesiredService>,
    },
}

impl Claim {
    /// The place in a stack.
    #[must_use]
    pub fn place(&self, stack: &StackName) -> StackPlace {
        let stack = stack.clone();
        match self {
            Self::Network { name, .. } => StackPlace::Network {
                stack,
                name: name.clone(),
            },
            Self::Volume { name } => StackPlace::Volume {
                stack,
                name: name.clone(),
            },
            Self::Replica { replica, .. } => StackPlace::Replica {
                id: replica.clone(),
            },
        }
    }
}

/// Sight of what is not ours; [`Action::Adopt`](super::Action::Adopt) takes it over.
#[async_trait]
pub trait Adoption: Send + Sync + fmt::Debug {
    /// What is there and is not ours: all of it, or what takes up places of one stack.
    ///
    /// A read. What is ours is never in it. Nothing that is in it is in an answer of `observe`,
    /// `endpoints` or any facet, and no action but `Adopt` touches it: making something in its
    /// place is `AlreadyExists`, and to remove, stop or drain what has its place finds nothing.
    /// *Cancelled*: nothing.
    ///
    /// # Errors
    /// As [`observe`](super::Backend::observe).
    async fn foreign(&self, stack: Option<&StackName>) -> Result<Vec<Foreign>>;
}
