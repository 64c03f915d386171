//! What is not ours and stands where a plan would make something.

use std::fmt::Write as _;

use super::Plan;
use crate::backend::{Action, Foreign, StackPlace};
use crate::error::{Error, ErrorKind, Result};

/// Most things that a message names.
const NAMED: usize = 5;

/// The place where an action would make something.
fn made_at(action: &Action, plan: &Plan) -> Option<StackPlace> {
    let stack = plan.stack.clone();
    match action {
        Action::EnsureNetwork { name, .. } => Some(StackPlace::Network {
            stack,
            name: name.clone(),
        }),
        Action::EnsureVolume { name, spec } if spec.external.is_none() => {
            Some(StackPlace::Volume {
                stack,
                name: name.clone(),
            })
        }
        Action::StartReplica { replica, .. } | Action::CreateReplica { replica, .. } => {
            Some(StackPlace::Replica {
                id: replica.clone(),
            })
        }
        _ => None,
    }
}

impl Plan {
    /// True if it makes something that could stand there already.
    pub(crate) fn makes_something(&self) -> bool {
        let entries = self.entries.iter();
        entries
            .map(|entry| made_at(&entry.action, self))
            .any(|place| place.is_some())
    }

    /// Refuses the plan if something that is not ours stands where it would make something.
    pub(crate) fn refuse_over(&self, foreign: &[Foreign]) -> Result<()> {
        let places = self.entries.iter();
        let places: Vec<StackPlace> = places
            .filter_map(|entry| made_at(&entry.action, self))
            .collect();
        let stands = |found: &&Foreign| {
            let place = found.place.as_ref();
            place.is_some_and(|place| places.contains(place))
        };
        let found: Vec<&Foreign> = foreign.iter().filter(stands).collect();
        let Some(first) = found.first() else {
            return Ok(());
        };
        let mut text = String::new();
        for item in found.iter().take(NAMED) {
            let place = item.place.as_ref().map(ToString::to_string);
            let comma = if text.is_empty() { "" } else { ", " };
            let place = place.unwrap_or_default();
            let _ = write!(text, "{comma}{place} ({})", item.maker);
        }
        if found.len() > NAMED {
            let _ = write!(text, " and {} more", found.len() - NAMED);
        }
        let text = format!("what is not ours stands where this would be made: {text}");
        let hint = match found.iter().find_map(|item| item.closed()) {
            None => {
                "`unmoor adopt` takes it over as it runs; `unmoor ls --all` shows it".to_owned()
            }
            Some(why) => {
                format!("it cannot be adopted as it is ({why}); remove it or take another name")
            }
        };
        let error = Error::new(ErrorKind::Conflict, text).hint(hint);
        Err(match &first.place {
            Some(place) => error.on(place.stack()),
            None => error,
        })
    }
}
