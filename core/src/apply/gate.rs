//! Whether a rollout may go on: somebody may have paused it since it began.

use std::fmt;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::name::ServiceName;

/// Asked before each batch of a rollout begins.
#[async_trait]
pub(crate) trait Gate: Send + Sync + fmt::Debug {
    /// True if the next batch of this service's rollout may begin.
    async fn is_open(&self, service: &ServiceName) -> Result<bool>;
}

/// The end of a run whose rollouts were paused meanwhile.
pub(super) fn was_paused(service: &ServiceName) -> Error {
    let text = "its rollout was paused; old and new replicas serve side by side";
    Error::new(ErrorKind::WrongPhase, text)
        .on(format!("service {service}"))
        .hint(format!(
            "`unmoor rollout resume {service}` goes on, `unmoor rollout undo {service}` goes back"
        ))
}
