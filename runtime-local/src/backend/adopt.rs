//! Sight of what is not on record, and its way back onto it.

use async_trait::async_trait;
use unmoor_core::Result;
use unmoor_core::backend::{Adoption, Applied, Claim, Foreign};
use unmoor_core::name::{ReplicaId, StackName};

use super::{LocalBackend, on_replica};
use crate::engine::Runtime;
use crate::error::LocalError;

#[async_trait]
impl Adoption for LocalBackend {
    async fn foreign(&self, stack: Option<&StackName>) -> Result<Vec<Foreign>> {
        let stack = stack.cloned();
        let look = move |runtime: &Runtime| runtime.foreign(stack.as_ref());
        match self.place.there().await? {
            Some(runtime) => Ok(runtime.block("lists what is not on record", look).await?),
            None => Ok(Vec::new()),
        }
    }
}

/// Takes something over.
pub(super) async fn adopt(
    runtime: &Runtime,
    stack: &StackName,
    from: String,
    claim: Claim,
) -> Result<Applied, LocalError> {
    let stack = stack.clone();
    match claim {
        Claim::Network { name, .. } => {
            let subject = runtime.subject("network", &stack, name.as_str());
            let work = move |r: &Runtime| r.adopt_network(&stack, &from, &name);
            runtime.work(subject, "adopts a network", work).await
        }
        Claim::Volume { name } => {
            let subject = runtime.subject("volume", &stack, name.as_str());
            let work = move |r: &Runtime| r.adopt_volume(&stack, &from, &name);
            runtime.work(subject, "adopts a volume", work).await
        }
        Claim::Replica { replica, service } => {
            let work = move |r: &Runtime, id: &ReplicaId| r.adopt_replica(&from, id, &service);
            on_replica(runtime, "adopts a replica", replica, work).await
        }
        other => Err(LocalError::Unsupported {
            what: format!("adopt {from} as {other:?}"),
            hint: "this unmoor is older than whoever asks".to_owned(),
        }),
    }
}
