//! Judgements on what is observed: which replicas stay, what is reached, why something changes.

use super::{PlanOptions, Recreate};
use crate::backend::{DesiredService, ObservedReplica, Phase, Until};
use crate::spec::Network;

/// Which of the current replicas stay: those that run first, then low slots.
pub(super) fn choose<'a>(
    current: &[&'a ObservedReplica],
    wanted: usize,
) -> (Vec<&'a ObservedReplica>, Vec<&'a ObservedReplica>) {
    let mut ranked = current.to_vec();
    ranked.sort_by_key(|replica| {
        (
            !replica.is_ready(),
            !replica.in_discovery,
            replica.drained,
            !replica.phase.is_alive(),
            replica.id.slot,
        )
    });
    let surplus = ranked.split_off(wanted.min(ranked.len()));
    (ranked, surplus)
}

/// Outdated replicas, those that are replaced first and by slot, then those that go without a
/// replacement: the ones that serve least. A replacement may fail, and then what it replaces stays.
pub(super) fn least_serving_last<'a>(
    outdated: &[&'a ObservedReplica],
    replaced: usize,
) -> Vec<&'a ObservedReplica> {
    let mut ranked = outdated.to_vec();
    if replaced < ranked.len() {
        ranked.sort_by_key(|replica| (!replica.is_ready(), !replica.in_discovery));
        let mut extra = ranked.split_off(replaced);
        ranked.sort_by_key(|replica| replica.id.slot);
        extra.sort_by_key(|replica| replica.id.slot);
        ranked.extend(extra);
    }
    ranked
}

pub(super) fn reached(replica: &ObservedReplica, until: Until) -> bool {
    match until {
        Until::Running => replica.phase == Phase::Running,
        Until::Ready => replica.is_ready(),
        Until::Completed => {
            replica.phase == Phase::Stopped && replica.exit.is_some_and(|exit| exit.code == 0)
        }
    }
}

pub(super) fn change_reason(
    old: &ObservedReplica,
    new: &DesiredService,
    options: &PlanOptions,
) -> String {
    let on_request = options.recreate == Recreate::Always || options.recreate_dependencies;
    if on_request && old.spec_hash == new.spec_hash {
        return "recreated on request".to_owned();
    }
    if old.image_digest != new.image.digest.to_string() {
        return format!("its image changed to {}", new.image.digest);
    }
    "its specification changed".to_owned()
}

pub(super) fn same_network(there: &Network, wanted: &Network) -> bool {
    there.internal == wanted.internal && (wanted.subnet.is_none() || there.subnet == wanted.subnet)
}
