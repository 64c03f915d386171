//! How one replica goes: out of discovery, a pause for its clients, an end.

use std::time::Duration;

use super::Plan;
use crate::backend::{Action, ObservedReplica, Phase};

/// How a replica is retired.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retirement<'a> {
    /// The backend can take it out of discovery before it stops.
    pub(super) drains: bool,
    /// Time that its clients get.
    pub(super) drain: Duration,
    /// Time between stop signal and kill, over what its service says.
    pub(super) grace: Option<Duration>,
    /// Why it goes.
    pub(super) reason: &'a str,
}

/// Drain, wait, remove; returns the entry of the removal.
pub(super) fn retire(
    plan: &mut Plan,
    replica: &ObservedReplica,
    way: Retirement<'_>,
    after: &[usize],
) -> usize {
    let id = || replica.id.clone();
    let mut before = after.to_vec();
    if way.drains && (replica.in_discovery || may_serve_yet(replica)) {
        let action = Action::DrainReplica { replica: id() };
        before = vec![plan.push_on(replica, action, way.reason, &before)];
        if replica.in_discovery && !way.drain.is_zero() {
            let action = Action::Pause { time: way.drain };
            before = vec![plan.push(action, "connections end by themselves", &before)];
        }
    }
    if way.grace.is_some() && replica.phase.is_alive() {
        let action = Action::StopReplica {
            replica: id(),
            grace: way.grace,
        };
        before = vec![plan.push_on(replica, action, way.reason, &before)];
    }
    let action = Action::RemoveReplica { replica: id() };
    plan.push_on(replica, action, way.reason, &before)
}

/// True for a replica that is not ready now and may be so, with clients, when its turn comes.
fn may_serve_yet(replica: &ObservedReplica) -> bool {
    let lives = matches!(
        replica.phase,
        Phase::Pending | Phase::Starting | Phase::Running
    );
    lives && !replica.is_ready()
}
