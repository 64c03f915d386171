//! Which branches were taken how often, so that an input that takes a new one is kept.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::sys;

/// What was seen so far.
#[derive(Debug)]
pub(crate) struct Coverage {
    counters: &'static [AtomicU8],
    /// For each branch, the magnitudes that were seen, a bit for each.
    seen: Vec<u8>,
    features: usize,
}

impl Coverage {
    pub(crate) fn new() -> Self {
        let counters = sys::counters();
        Self {
            counters,
            seen: vec![0; counters.len()],
            features: 0,
        }
    }

    /// True if the program was built with counters.
    pub(crate) fn is_there(&self) -> bool {
        !self.counters.is_empty()
    }

    /// How many branches there are.
    pub(crate) fn branches(&self) -> usize {
        self.counters.len()
    }

    /// How many branches, by the magnitude of how often they were taken, were seen.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// Forgets what was counted.
    pub(crate) fn clear(&self) {
        for counter in self.counters {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Takes in what was counted; tells how much of it is new.
    pub(crate) fn take(&mut self) -> usize {
        let mut new = 0;
        for (counter, seen) in self.counters.iter().zip(&mut self.seen) {
            let bit = magnitude(counter.load(Ordering::Relaxed));
            if bit & !*seen != 0 {
                *seen |= bit;
                new += 1;
            }
        }
        self.features += new;
        new
    }
}

/// One bit for each magnitude of a count; none for zero.
fn magnitude(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        128.. => 128,
    }
}
