//! How the suite gets something onto a platform that is not ours.

use std::fmt::Debug;

use async_trait::async_trait;
use unmoor_core::Error;
use unmoor_core::backend::Maker;
use unmoor_core::name::StackName;

/// A way past the backend, which makes what it holds somebody else's.
#[async_trait]
pub trait Disown: Send + Sync + Debug {
    /// Makes all that a stack has somebody else's; it goes on as it is. Says whose.
    ///
    /// # Errors
    /// What keeps it from that.
    async fn disown(&self, stack: &StackName) -> Result<Maker, Error>;
}
