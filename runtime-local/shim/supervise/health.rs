//! When a health check is due and what its results mean; no I/O.

use crate::wire::plan::Health as Rules;
use crate::wire::status::HealthState;

/// The state of a replica's health check during one run of its program.
#[derive(Debug)]
pub(super) struct Health {
    begun_ms: u64,
    next_ms: u64,
    pub(super) state: HealthState,
    pub(super) streak: u32,
}

impl Health {
    /// A check of a program that has just begun.
    pub(super) fn begin(rules: &Rules, now_ms: u64) -> Self {
        let mut health = Self {
            begun_ms: now_ms,
            next_ms: 0,
            state: HealthState::Starting,
            streak: 0,
        };
        health.schedule(rules, now_ms);
        health
    }

    /// A check of a program that another shim has watched before; it is tried at once.
    pub(super) fn resume(now_ms: u64, (state, streak): (HealthState, u32)) -> Self {
        let state = if state == HealthState::None {
            HealthState::Starting
        } else {
            state
        };
        Self {
            begun_ms: now_ms,
            next_ms: now_ms,
            state,
            streak,
        }
    }

    /// When the next try is due.
    pub(super) fn due_ms(&self) -> u64 {
        self.next_ms
    }

    /// A try has ended.
    pub(super) fn finish(&mut self, rules: &Rules, success: bool, now_ms: u64) {
        if success {
            self.streak = 0;
            self.state = HealthState::Healthy;
        } else if !self.is_starting(rules, now_ms) {
            self.streak = self.streak.saturating_add(1);
            if self.streak >= rules.retries.max(1) {
                self.state = HealthState::Unhealthy;
            }
        }
        self.schedule(rules, now_ms);
    }

    fn is_starting(&self, rules: &Rules, now_ms: u64) -> bool {
        let within = now_ms < self.begun_ms.saturating_add(rules.start_period_ms);
        self.state == HealthState::Starting && within
    }

    fn schedule(&mut self, rules: &Rules, now_ms: u64) {
        let wait = if self.is_starting(rules, now_ms) && rules.start_interval_ms > 0 {
            rules.start_interval_ms
        } else {
            rules.interval_ms
        };
        // A wait of 0 would keep the shim busy with nothing else.
        self.next_ms = now_ms.saturating_add(wait.max(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::plan::HealthTest;

    fn rules() -> Rules {
        Rules {
            test: HealthTest::Tcp { port: 80 },
            interval_ms: 1000,
            timeout_ms: 500,
            start_period_ms: 3000,
            start_interval_ms: 100,
            retries: 2,
        }
    }

    #[test]
    fn failures_while_starting_do_not_count() {
        let rules = rules();
        let mut health = Health::begin(&rules, 0);
        assert_eq!(health.due_ms(), 100);
        for now in [100, 200, 2900] {
            health.finish(&rules, false, now);
            assert_eq!((health.state, health.streak), (HealthState::Starting, 0));
        }
        assert_eq!(health.due_ms(), 3000);
        health.finish(&rules, false, 3000);
        assert_eq!(health.state, HealthState::Starting);
        health.finish(&rules, false, 4000);
        assert_eq!(health.state, HealthState::Unhealthy);
    }

    #[test]
    fn a_success_ends_the_start_period_and_heals() {
        let rules = rules();
        let mut health = Health::begin(&rules, 0);
        health.finish(&rules, true, 100);
        assert_eq!(
            (health.state, health.due_ms()),
            (HealthState::Healthy, 1100)
        );
        health.finish(&rules, false, 1100);
        assert_eq!((health.state, health.streak), (HealthState::Healthy, 1));
        health.finish(&rules, false, 2100);
        assert_eq!(health.state, HealthState::Unhealthy);
        health.finish(&rules, true, 3100);
        assert_eq!((health.state, health.streak), (HealthState::Healthy, 0));
    }
}
