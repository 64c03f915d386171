//! A drain: out of discovery first, then the time for the answers that are owed.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use unmoor_core::backend::Applied;
use unmoor_core::name::ReplicaId;

use super::on_replica;
use crate::engine::Runtime;
use crate::error::LocalError;

/// Time between two looks at the connections, at first and at most: the kernel tells nobody when
/// the last answer has gone out.
const LOOKS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// A packet that was sent before the last address map changed may be this long on its way on a busy
/// machine, so one look is not enough.
const ON_ITS_WAY: Duration = Duration::from_millis(15);

/// Takes a replica out of discovery, and returns when it owes nobody an answer, or when its grace
/// is over. *Cancelled*: it stays out of discovery.
pub(super) async fn drain(runtime: &Runtime, replica: ReplicaId) -> Result<Applied, LocalError> {
    let id = replica.clone();
    let applied = on_replica(runtime, "drains a replica", id, Runtime::drain_replica).await?;
    let id = replica.clone();
    let seen = runtime.block("looks at connections", move |runtime| {
        runtime.exchanges(&id)
    });
    let Some((exchanges, limit)) = seen.await? else {
        return Ok(applied);
    };
    let (begun, mut pause) = (Instant::now(), LOOKS.0);
    let mut quiet_since = None;
    loop {
        let now = Instant::now();
        match exchanges.under_way() {
            Ok(0) if *quiet_since.get_or_insert(now) + ON_ITS_WAY <= now => return Ok(applied),
            Ok(0) => {}
            Ok(left) if begun.elapsed() >= limit => {
                tracing::warn!(%replica, left, "its grace is over, and requests wait for answers");
                return Ok(applied);
            }
            Ok(_) => quiet_since = None,
            Err(error) => {
                tracing::warn!(%replica, %error, "its connections cannot be seen");
                return Ok(applied);
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LOOKS.1);
    }
}
