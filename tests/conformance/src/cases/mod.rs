//! Every claim, one file for each operation.

mod across;
mod adopt;
mod ask;
mod attach;
mod blobs;
mod changes;
mod copy;
mod depend;
mod discover;
mod drift;
mod exec;
mod faults;
mod images;
mod inside;
mod life;
mod limits;
mod link;
mod logs;
mod names;
mod network;
mod plan;
mod publish;
mod remove;
mod rest;
mod rollout;
mod scale;
mod scope;
mod spawn;
mod state;
mod stored;
mod update;
mod volumes;
mod watch;

use crate::case::Case;

/// Every case, in the order in which they are run.
pub(crate) fn all() -> Vec<Case> {
    [
        spawn::cases(),
        life::cases(),
        depend::cases(),
        link::cases(),
        across::cases(),
        network::cases(),
        publish::cases(),
        discover::cases(),
        watch::cases(),
        ask::cases(),
        logs::cases(),
        exec::cases(),
        inside::cases(),
        attach::cases(),
        copy::cases(),
        scale::cases(),
        scope::cases(),
        update::cases(),
        rollout::cases(),
        rest::cases(),
        volumes::cases(),
        blobs::cases(),
        limits::cases(),
        images::cases(),
        plan::cases(),
        stored::cases(),
        drift::cases(),
        adopt::cases(),
        remove::cases(),
        names::cases(),
        state::cases(),
        faults::cases(),
        changes::cases(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use unmoor_core::backend::Feature;

    use super::all;

    #[test]
    fn names_are_unique_and_claims_are_sentences() {
        let mut names = BTreeSet::new();
        for case in all() {
            assert!(names.insert(case.name), "{} twice", case.name);
            assert!(case.claim.ends_with('.'), "{}: {}", case.name, case.claim);
        }
    }

    #[test]
    fn every_feature_has_a_case() {
        let tried: BTreeSet<Feature> = all().iter().flat_map(|case| case.needs.to_vec()).collect();
        let untried: Vec<_> = Feature::ALL.iter().filter(|f| !tried.contains(f)).collect();
        assert!(untried.is_empty(), "no case needs {untried:?}");
    }
}
