//! Named volumes of a stack.

use serde::{Deserialize, Serialize};

use crate::label::Labels;

/// A volume whose data outlives the replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Exists already under this name and is never removed by us.
    pub external: Option<String>,
    /// Labels.
    pub labels: Labels,
}
