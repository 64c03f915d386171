//! Seeing that replicas which serve go on to, for a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::last_words::with_last_words;
use super::wait::{Wanted, pause};
use crate::backend::{Applied, Backend, ObservedReplica};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::label::Selector;

/// Time between two looks.
const PACE: Duration = Duration::from_millis(200);

/// Which run of its program a replica is in.
type RunOf = (u32, Option<SystemTime>);

/// Looks again and again until the time is over; one that does not serve any more is an error.
pub(super) async fn stays_ready(
    backend: &Arc<dyn Backend>,
    clock: &Arc<dyn Clock>,
    wanted: &Wanted<'_>,
    time: Duration,
) -> Result<Applied> {
    let selector = Selector::service(wanted.stack.clone(), wanted.service.clone());
    let start = clock.monotonic();
    let mut runs: BTreeMap<u32, RunOf> = BTreeMap::new();
    let mut notices = backend.notices(&selector).await;
    loop {
        let observed = backend.observe(&selector).await?;
        let whole = !observed.partial;
        let observed = observed.stack(wanted.stack);
        for slot in wanted.slots {
            let mut replicas = observed.replicas_of(wanted.service);
            match replicas.find(|replica| replica.id.slot == *slot) {
                Some(replica) => {
                    let run = (replica.restarts, replica.started);
                    let same = *runs.entry(*slot).or_insert(run) == run;
                    if !(same && replica.is_ready()) {
                        let error = fell(replica, same, time);
                        return Err(with_last_words((backend, clock), &replica.id, error).await);
                    }
                }
                None if whole => return Err(lost(wanted, *slot, time)),
                None => {}
            }
        }
        let watched = clock.monotonic().saturating_sub(start);
        if watched >= time {
            return Ok(Applied::Unchanged);
        }
        pause(&mut notices, clock, PACE.min(time - watched)).await;
    }
}

fn fell(replica: &ObservedReplica, same: bool, time: Duration) -> Error {
    let seconds = time.as_secs_f64();
    let text = match same {
        false => format!("its program ended within {seconds} s of serving, and was started again"),
        true => format!("it did not go on to serve for {seconds} s"),
    };
    Error::new(ErrorKind::WrongPhase, text).on(format!("replica {}", replica.id))
}

fn lost(wanted: &Wanted<'_>, slot: u32, time: Duration) -> Error {
    let seconds = time.as_secs_f64();
    let text = format!("replica {slot} went within {seconds} s of serving");
    Error::new(ErrorKind::WrongPhase, text).on(format!("service {}", wanted.service))
}
