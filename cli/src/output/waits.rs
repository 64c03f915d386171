//! Which waits are told off a terminal: the same thing may be waited for on behalf of several.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use unmoor::apply::{self, Outcome};

/// A wait that was over at once, for what was waited for before, is no news.
const AT_ONCE: Duration = Duration::from_millis(100);

/// What is waited for, and what has been.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// What somebody waits for who was told of.
    open: BTreeMap<(String, &'static str), usize>,
    /// What was waited for with success.
    reached: BTreeSet<(String, &'static str)>,
    /// Entries that wait for what another one waits for.
    beside: BTreeSet<usize>,
}

impl Waits {
    /// True unless it is about a wait of which everything is told by another one.
    pub(super) fn are_worth_telling(&mut self, step: &apply::Progress) -> bool {
        if !step.verb.starts_with("wait") {
            return true;
        }
        let what = (step.subject.clone(), step.verb);
        match step.outcome {
            Outcome::Started if self.open.contains_key(&what) => {
                self.beside.insert(step.index);
                false
            }
            Outcome::Started => {
                self.open.insert(what.clone(), step.index);
                !self.reached.contains(&what)
            }
            Outcome::Failed => true,
            Outcome::Changed | Outcome::Unchanged | Outcome::Undone => {
                if self.beside.remove(&step.index) {
                    return false;
                }
                self.open.remove(&what);
                let is_news = self.reached.insert(what);
                is_news || step.elapsed.is_some_and(|time| time >= AT_ONCE)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(waits: &mut Waits, steps: &[(usize, Outcome, u64)]) -> Vec<bool> {
        let step = |(index, outcome, millis): &(usize, Outcome, u64)| apply::Progress {
            index: *index,
            total: 9,
            subject: "service db".to_owned(),
            verb: "wait until ready",
            outcome: *outcome,
            elapsed: Some(Duration::from_millis(*millis)),
        };
        steps
            .iter()
            .map(|one| waits.are_worth_telling(&step(one)))
            .collect()
    }

    #[test]
    fn one_thing_that_two_wait_for_is_told_once() {
        let both = [
            (1, Outcome::Started, 0),
            (2, Outcome::Started, 0),
            (1, Outcome::Unchanged, 900),
            (2, Outcome::Unchanged, 901),
        ];
        let wanted = [true, false, true, false];
        assert_eq!(told(&mut Waits::default(), &both), wanted);
    }

    #[test]
    fn what_was_reached_is_told_again_only_if_it_took_time() {
        let mut waits = Waits::default();
        let first = [(1, Outcome::Started, 0), (1, Outcome::Unchanged, 5)];
        assert_eq!(told(&mut waits, &first), [true, true]);
        let at_once = [(2, Outcome::Started, 0), (2, Outcome::Unchanged, 5)];
        assert_eq!(told(&mut waits, &at_once), [false, false]);
        let long = [(3, Outcome::Started, 0), (3, Outcome::Unchanged, 5000)];
        assert_eq!(told(&mut waits, &long), [false, true]);
    }

    #[test]
    fn every_failure_is_told() {
        let both = [
            (1, Outcome::Started, 0),
            (2, Outcome::Started, 0),
            (2, Outcome::Failed, 900),
            (1, Outcome::Failed, 901),
        ];
        let wanted = [true, false, true, true];
        assert_eq!(told(&mut Waits::default(), &both), wanted);
    }
}
