//! Changes in the life of replicas, found by comparing what is observed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Exit, HealthState, ObservedReplica, Phase, Stream};
use crate::clock::Clock;
use crate::error::Result;
use crate::label::Selector;
use crate::name::ReplicaId;

/// Time between two looks of the polling stream.
const PACE: Duration = Duration::from_millis(250);

/// What happened to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Change {
    /// It was made.
    Created,
    /// Its program was started.
    Started,
    /// Its health check passed after it had not.
    Healthy,
    /// Its health check failed as often as allowed.
    Unhealthy,
    /// Its processes were frozen.
    Paused,
    /// Its processes go on.
    Resumed,
    /// Its program has ended, by itself or on request.
    Ended {
        /// How, where it is known.
        exit: Option<Exit>,
    },
    /// It is gone.
    Removed,
}

/// One change in the life of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaEvent {
    /// When it was noticed, or happened where that is known.
    pub time: SystemTime,
    /// Whose.
    pub replica: ReplicaId,
    /// Its image as written.
    pub image: String,
    /// What happened.
    #[serde(flatten)]
    pub change: Change,
}

/// The events that lead from one look to the next, in the order in which they must have happened.
#[must_use]
pub fn changes(
    before: &[ObservedReplica],
    after: &[ObservedReplica],
    now: SystemTime,
) -> Vec<ReplicaEvent> {
    let old: BTreeMap<&ReplicaId, &ObservedReplica> = before.iter().map(|r| (&r.id, r)).collect();
    let new: BTreeMap<&ReplicaId, &ObservedReplica> = after.iter().map(|r| (&r.id, r)).collect();
    let mut events = Vec::new();
    for (id, replica) in &old {
        let gone = new.get(id).is_none_or(|next| is_another(replica, next));
        if gone {
            if is_up(replica) {
                events.push(event(replica, now, Change::Ended { exit: None }));
            }
            events.push(event(replica, now, Change::Removed));
        }
    }
    for (id, replica) in &new {
        match old.get(id).filter(|former| !is_another(former, replica)) {
            Some(former) => lived(former, replica, now, &mut events),
            None => {
                let time = replica.created.unwrap_or(now);
                events.push(event(replica, time, Change::Created));
                began(replica, now, &mut events);
            }
        }
    }
    events
}

/// A replica made anew in the same slot.
fn is_another(former: &ObservedReplica, next: &ObservedReplica) -> bool {
    former.created != next.created
}

fn is_up(replica: &ObservedReplica) -> bool {
    replica.phase.is_alive()
}

fn event(replica: &ObservedReplica, time: SystemTime, change: Change) -> ReplicaEvent {
    ReplicaEvent {
        time,
        replica: replica.id.clone(),
        image: replica.image.clone(),
        change,
    }
}

/// What a replica that was not up before has done since.
fn began(replica: &ObservedReplica, now: SystemTime, events: &mut Vec<ReplicaEvent>) {
    let Some(started) = replica.started else {
        return;
    };
    events.push(event(replica, started, Change::Started));
    standing(None, replica, now, events);
}

/// What a replica has done between two looks.
fn lived(
    former: &ObservedReplica,
    replica: &ObservedReplica,
    now: SystemTime,
    events: &mut Vec<ReplicaEvent>,
) {
    let again = replica.started != former.started && replica.started.is_some();
    if again {
        if is_up(former) {
            // The end lies between two looks: how it ended is known only if it has not begun anew.
            let exit = replica.exit.filter(|_| !is_up(replica));
            events.push(event(replica, now, Change::Ended { exit }));
        }
        began(replica, now, events);
    } else {
        standing(Some(former), replica, now, events);
    }
}

/// Differences in how a replica stands during one run of its program.
fn standing(
    former: Option<&ObservedReplica>,
    replica: &ObservedReplica,
    now: SystemTime,
    events: &mut Vec<ReplicaEvent>,
) {
    let was_up = former.is_none_or(is_up);
    if was_up && !is_up(replica) {
        let exit = replica.exit;
        events.push(event(replica, now, Change::Ended { exit }));
        return;
    }
    let was_paused = former.is_some_and(|former| former.phase == Phase::Paused);
    match (was_paused, replica.phase == Phase::Paused) {
        (false, true) => events.push(event(replica, now, Change::Paused)),
        (true, false) => events.push(event(replica, now, Change::Resumed)),
        _ => {}
    }
    if former.map(|former| former.health) != Some(replica.health) {
        match replica.health {
            HealthState::Healthy => events.push(event(replica, now, Change::Healthy)),
            HealthState::Unhealthy => events.push(event(replica, now, Change::Unhealthy)),
            HealthState::None | HealthState::Starting => {}
        }
    }
}

struct Poll<B: ?Sized> {
    backend: Arc<B>,
    selector: Selector,
    clock: Arc<dyn Clock>,
    known: Vec<ObservedReplica>,
    queue: VecDeque<ReplicaEvent>,
}

/// Events of a backend that can only be asked, again and again.
///
/// # Errors
/// What `observe` gives at first; later faults are error items, after which the stream goes on.
pub async fn poll_events<B: Backend + ?Sized + 'static>(
    backend: Arc<B>,
    selector: Selector,
    clock: Arc<dyn Clock>,
) -> Result<Stream<ReplicaEvent>> {
    let known = backend.observe(&selector).await?;
    let state = Poll {
        backend,
        selector,
        clock,
        known: known.replicas().cloned().collect(),
        queue: VecDeque::new(),
    };
    Ok(futures_util::stream::unfold(state, |mut poll| async move {
        loop {
            if let Some(event) = poll.queue.pop_front() {
                return Some((Ok(event), poll));
            }
            poll.clock.sleep(PACE).await;
            let observed = match poll.backend.observe(&poll.selector).await {
                Ok(observed) => observed,
                Err(error) => return Some((Err(error), poll)),
            };
            // What is missing from a partial list is not gone.
            if observed.partial {
                continue;
            }
            let now: Vec<_> = observed.replicas().cloned().collect();
            poll.queue
                .extend(changes(&poll.known, &now, poll.clock.now()));
            poll.known = now;
        }
    })
    .boxed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{ServiceName, StackName};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn replica(created: u64, started: Option<u64>, phase: Phase) -> ObservedReplica {
        let stack = StackName::parse("shop").expect("a name");
        let service = ServiceName::parse("web").expect("a name");
        ObservedReplica {
            id: ReplicaId::new(stack, service, 1),
            spec_hash: String::new(),
            image: "x:1".to_owned(),
            image_digest: String::new(),
            command: Vec::new(),
            phase,
            health: HealthState::None,
            in_discovery: false,
            drained: false,
            stop_grace: None,
            exit: (!phase.is_alive()).then_some(Exit {
                code: 3,
                out_of_memory: false,
            }),
            message: None,
            created: Some(at(created)),
            started: started.map(at),
            ended: None,
            restarts: 0,
            addresses: BTreeMap::new(),
            ports: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    fn told(before: &[ObservedReplica], after: &[ObservedReplica]) -> Vec<Change> {
        let events = changes(before, after, at(100));
        events.into_iter().map(|event| event.change).collect()
    }

    #[test]
    fn a_life_is_told_from_beginning_to_end() {
        let exit = Some(Exit {
            code: 3,
            out_of_memory: false,
        });
        let pending = replica(1, None, Phase::Pending);
        let running = replica(1, Some(2), Phase::Running);
        let paused = replica(1, Some(2), Phase::Paused);
        let failed = replica(1, Some(2), Phase::Failed);
        assert_eq!(told(&[], std::slice::from_ref(&pending)), [Change::Created]);
        assert_eq!(
            told(&[pending], std::slice::from_ref(&running)),
            [Change::Started]
        );
        assert_eq!(
            told(
                std::slice::from_ref(&running),
                std::slice::from_ref(&paused)
            ),
            [Change::Paused]
        );
        assert_eq!(
            told(&[paused], std::slice::from_ref(&running)),
            [Change::Resumed]
        );
        assert_eq!(
            told(
                std::slice::from_ref(&running),
                std::slice::from_ref(&failed)
            ),
            [Change::Ended { exit }]
        );
        assert_eq!(told(std::slice::from_ref(&failed), &[]), [Change::Removed]);
        assert_eq!(
            told(&[], &[failed]),
            [Change::Created, Change::Started, Change::Ended { exit }]
        );
        assert_eq!(
            told(&[running], &[]),
            [Change::Ended { exit: None }, Change::Removed]
        );
    }

    #[test]
    fn what_happens_between_two_looks_is_told_too() {
        let running = replica(1, Some(2), Phase::Running);
        let restarted = replica(1, Some(5), Phase::Running);
        assert_eq!(
            told(std::slice::from_ref(&running), &[restarted]),
            [Change::Ended { exit: None }, Change::Started]
        );
        let anew = replica(7, Some(8), Phase::Running);
        assert_eq!(
            told(&[running], &[anew]),
            [
                Change::Ended { exit: None },
                Change::Removed,
                Change::Created,
                Change::Started
            ]
        );
    }

    #[test]
    fn health_is_told_when_it_turns() {
        let mut running = replica(1, Some(2), Phase::Running);
        let before = running.clone();
        running.health = HealthState::Healthy;
        assert_eq!(
            told(&[before], std::slice::from_ref(&running)),
            [Change::Healthy]
        );
        let healthy = running.clone();
        running.health = HealthState::Unhealthy;
        assert_eq!(told(&[healthy], &[running]), [Change::Unhealthy]);
    }
}
