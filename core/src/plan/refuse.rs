//! What a plan is refused for whatever the backend: keys of its file that nothing here honours, and
//! services that cannot run beside each other.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{PlanOptions, Start};
use crate::backend::ObservedStack;
use crate::error::{Error, ErrorKind};
use crate::name::ServiceName;
use crate::spec::{Stack, Unhonoured};

/// The first two services that would run at one time and cannot.
pub(super) fn clash(
    stack: &Stack,
    observed: &ObservedStack,
    options: &PlanOptions,
) -> Option<Error> {
    if options.start == Start::Later {
        return None;
    }
    let start = options.only.runs(stack);
    let running = observed.replicas.iter();
    let running = running.filter(|replica| replica.phase.is_alive());
    let running: BTreeSet<ServiceName> = running.map(|one| one.id.service.clone()).collect();
    stack.clashes(&start, &running).into_iter().next()
}

/// What of the services that would run is not honoured.
pub(super) fn unhonoured(stack: &Stack, options: &PlanOptions) -> Option<Error> {
    let is_clean = stack.services.values().all(|one| one.unhonoured.is_empty());
    if is_clean || options.allow_gaps {
        return None;
    }
    let runs = options.only.runs(stack);
    let services = stack
        .services
        .iter()
        .filter(|(name, _)| runs.contains(*name));
    let all: Vec<&Unhonoured> = services.flat_map(|(_, one)| &one.unhonoured).collect();
    let error = match all.as_slice() {
        [] => return None,
        [only] => Error::new(ErrorKind::Unsupported, &only.consequence).on(&only.field),
        all => Error::new(ErrorKind::Unsupported, listed(all)),
    };
    let first = all[0];
    let error = match stack.places.of(&first.field) {
        Some(place) => error.at(place.clone()),
        None => error,
    };
    Some(match (all.len(), first.instead.as_str()) {
        (1, instead) if !instead.is_empty() => error.hint(instead),
        _ => error,
    })
}

fn listed(all: &[&Unhonoured]) -> String {
    let mut text = format!("{} of the things asked for cannot be done", all.len());
    for one in all {
        let _ = write!(text, "\n{}: {}", one.field, one.consequence);
        if !one.instead.is_empty() {
            let _ = write!(text, " ({})", one.instead);
        }
    }
    text
}
