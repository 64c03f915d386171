//! Whether and when a program that has ended is started again; no I/O.

use crate::wire::plan::{RESTART_DELAY_FIRST_MS, RESTART_DELAY_MAX_MS, RESTART_RESET_MS, Restart};

/// The wait before the next restart.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct BackOff {
    last_ms: u64,
}

impl BackOff {
    /// The next wait after a run of `uptime_ms`.
    pub(super) fn next(&mut self, uptime_ms: u64) -> u64 {
        self.last_ms = if self.last_ms == 0 || uptime_ms >= RESTART_RESET_MS {
            RESTART_DELAY_FIRST_MS
        } else {
            (self.last_ms * 2).min(RESTART_DELAY_MAX_MS)
        };
        self.last_ms
    }

    /// The state after so many restarts in a row, for a shim that adopts a replica.
    pub(super) fn after(restarts: u32) -> Self {
        let mut back_off = Self::default();
        for _ in 0..restarts.min(16) {
            back_off.next(0);
        }
        back_off
    }
}

/// Whether a program that ended by itself is started again; `code` is `None` when unknown,
/// which counts as a failure.
pub(super) fn is_wanted(policy: Restart, code: Option<i32>, restarts: u32) -> bool {
    match policy {
        Restart::No => false,
        Restart::Always | Restart::UnlessStopped => true,
        Restart::OnFailure { max } => code != Some(0) && (max == 0 || restarts < max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let mut back_off = BackOff::default();
        let waits: Vec<u64> = (0..12).map(|_| back_off.next(0)).collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[11], 60_000);
        assert_eq!(back_off.next(10_000), 100);
        assert_eq!(BackOff::after(3).next(0), 800);
    }

    #[test]
    fn a_failure_is_tried_again_as_often_as_allowed() {
        let policy = Restart::OnFailure { max: 2 };
        assert!(is_wanted(policy, Some(1), 0));
        assert!(is_wanted(policy, None, 1));
        assert!(!is_wanted(policy, Some(1), 2));
        assert!(!is_wanted(policy, Some(0), 0));
        assert!(is_wanted(Restart::OnFailure { max: 0 }, Some(1), 99));
        assert!(is_wanted(Restart::Always, Some(0), 99));
        assert!(!is_wanted(Restart::No, Some(1), 0));
    }
}
