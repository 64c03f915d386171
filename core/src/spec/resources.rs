//! Limits on what a replica may use.

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, MilliCpu};

/// Limits of one replica; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time.
    pub cpu: Option<MilliCpu>,
    /// Memory.
    pub memory: Option<Bytes>,
    /// Memory that stays reserved under pressure.
    pub memory_reservation: Option<Bytes>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Weight where processors are short, 2 to 262,144; what says nothing has 1,024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u32>,
}
