//! Waiting until replicas have reached a condition, or cannot any more.

use std::sync::Arc;
use std::time::Duration;

use super::last_words::with_last_words;
use crate::backend::{Applied, Backend, HealthState, Notices, ObservedReplica, Phase, Until};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::label::Selector;
use crate::name::{ServiceName, StackName};

/// Time between two looks: short at first, because most waits are.
const PACE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// Whose replicas must reach what.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) stack: &'a StackName,
    pub(super) service: &'a ServiceName,
    pub(super) slots: &'a [u32],
    pub(super) until: Until,
}

/// Looks again and again until the condition holds.
pub(super) async fn until(
    backend: &Arc<dyn Backend>,
    clock: &Arc<dyn Clock>,
    wanted: &Wanted<'_>,
    deadline: Duration,
) -> Result<Applied> {
    let selector = Selector::service(wanted.stack.clone(), wanted.service.clone());
    let start = clock.monotonic();
    let mut pace = PACE.0;
    // Before the first look: what changes in between is told.
    let mut notices = backend.notices(&selector).await;
    loop {
        let observed = backend.observe(&selector).await?;
        // One that is left out may be the one that is not there yet.
        let whole = !observed.partial;
        let observed = observed.stack(wanted.stack);
        let replicas: Vec<&ObservedReplica> = observed
            .replicas_of(wanted.service)
            .filter(|replica| wanted.slots.is_empty() || wanted.slots.contains(&replica.id.slot))
            .collect();
        let mut hopeless = replicas
            .iter()
            .filter_map(|replica| Some((&replica.id, hopeless(replica, wanted.until)?)));
        if let Some((replica, error)) = hopeless.next() {
            return Err(with_last_words((backend, clock), replica, error).await);
        }
        let enough = replicas.len() >= wanted.slots.len().max(1);
        if whole && enough && replicas.iter().all(|replica| holds(replica, wanted.until)) {
            return Ok(Applied::Unchanged);
        }
        let waited = clock.monotonic().saturating_sub(start);
        if waited >= deadline {
            let error = late(wanted, &replicas, deadline);
            let behind = replicas.iter().find(|seen| !holds(seen, wanted.until));
            return Err(match behind {
                Some(behind) => with_last_words((backend, clock), &behind.id, error).await,
                None => error,
            });
        }
        match pause(&mut notices, clock, pace.min(deadline - waited)).await {
            Pause::Told => {}
            Pause::Over => pace = (pace * 2).min(PACE.1),
        }
    }
}

/// How a pause between two looks ended.
pub(super) enum Pause {
    Told,
    Over,
}

/// Waits until something may have changed, and no longer than `longest`.
pub(super) async fn pause(
    notices: &mut Option<Box<dyn Notices>>,
    clock: &Arc<dyn Clock>,
    longest: Duration,
) -> Pause {
    if let Some(armed) = notices {
        let told = tokio::select! {
            biased;
            told = armed.changed() => told,
            () = clock.sleep(longest) => return Pause::Over,
        };
        match told {
            Ok(()) => return Pause::Told,
            // Nothing more will be told; the clock is left.
            Err(_) => *notices = None,
        }
    }
    clock.sleep(longest).await;
    Pause::Over
}

fn holds(replica: &ObservedReplica, until: Until) -> bool {
    match until {
        Until::Running => {
            replica.phase == Phase::Running
                || (replica.phase == Phase::Stopped
                    && replica.exit.is_some_and(|exit| exit.code == 0))
        }
        Until::Ready => replica.is_ready(),
        Until::Completed => {
            replica.phase == Phase::Stopped && replica.exit.is_some_and(|exit| exit.code == 0)
        }
    }
}

/// The error for a replica that cannot reach the condition by itself any more.
fn hopeless(replica: &ObservedReplica, until: Until) -> Option<Error> {
    let code = replica.exit.map(|exit| exit.code);
    let text = match replica.phase {
        Phase::Failed => match (&replica.message, code) {
            (Some(message), _) => message.clone(),
            (None, Some(code)) => format!("it exited with code {code}"),
            (None, None) => "it failed".to_owned(),
        },
        Phase::Stopped if until == Until::Completed && code.is_none_or(|code| code != 0) => {
            "it was stopped before it completed".to_owned()
        }
        Phase::Stopped if until == Until::Ready => {
            format!(
                "it ended with code {} instead of serving",
                code.unwrap_or(0)
            )
        }
        Phase::Running if until == Until::Ready && replica.health == HealthState::Unhealthy => {
            "it is unhealthy".to_owned()
        }
        Phase::Paused => {
            let error = Error::new(ErrorKind::WrongPhase, "it is paused");
            let error = error.on(format!("replica {}", replica.id));
            return Some(error.hint(format!("`unmoor unpause {}`", replica.id.service)));
        }
        _ => return None,
    };
    Some(Error::new(ErrorKind::WrongPhase, text).on(format!("replica {}", replica.id)))
}

fn late(wanted: &Wanted<'_>, replicas: &[&ObservedReplica], deadline: Duration) -> Error {
    let what = match wanted.until {
        Until::Running => "running",
        Until::Ready => "ready",
        Until::Completed => "completed",
    };
    let seen: Vec<String> = replicas
        .iter()
        .map(|replica| format!("{} is {}", replica.id, replica.phase.as_str()))
        .collect();
    let seen = if seen.is_empty() {
        "it has no replica".to_owned()
    } else {
        seen.join(", ")
    };
    Error::new(
        ErrorKind::Timeout,
        format!("not {what} within {} s: {seen}", deadline.as_secs()),
    )
    .on(format!("service {}", wanted.service))
}
