//! How much a thread has computed, which another program on the same machine does not change.

use std::time::{Duration, Instant};

/// Measures the processor time of the thread that makes it.
#[derive(Debug)]
pub struct Work {
    counted: Option<Duration>,
    started: Instant,
}

impl Work {
    /// Starts to measure.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a start has no default")]
    pub fn new() -> Self {
        Self {
            counted: counted(),
            started: Instant::now(),
        }
    }

    /// What this thread has computed since then; where the kernel does not tell, the time that
    /// has passed.
    #[must_use]
    pub fn done(&self) -> Duration {
        match (counted(), self.counted) {
            (Some(now), Some(then)) => now.saturating_sub(then),
            _ => self.started.elapsed(),
        }
    }
}

/// The first number of `/proc/thread-self/schedstat`, in nanoseconds (proc(5)).
fn counted() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computing_counts_and_waiting_does_not() {
        let work = Work::new();
        let waited = Duration::from_millis(200);
        std::thread::park_timeout(waited);
        if counted().is_none() {
            return crate::skipped("this kernel does not count the work of a thread");
        }
        assert!(work.done() < waited / 2, "{:?}", work.done());
        let begun = Instant::now();
        let mut sum = 0_u64;
        while work.done() < Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing counts");
        }
    }
}
