//! Health checks, on the model's time.

use std::collections::BTreeMap;

use unmoor_core::backend::{HealthState, Phase};
use unmoor_core::name::ReplicaId;
use unmoor_core::spec::{Health, HealthTest, HealthWish, Protocol};

use super::{Event, Model, Replica};
use crate::bug::Bug;
use crate::probe::Start;

/// The check in force for a replica.
pub(crate) fn check_of(replica: &Replica) -> Option<&Health> {
    match &replica.service.spec.health {
        HealthWish::Disabled => None,
        HealthWish::Check(check) => Some(check),
        HealthWish::FromImage => replica.service.image.defaults.health.as_ref(),
    }
}

impl Model {
    /// Plans the next check of a replica that just started, or was just checked.
    pub(crate) fn plan_check(&mut self, id: &ReplicaId) {
        let Some(replica) = self.replica(id) else {
            return;
        };
        let Some(check) = check_of(replica) else {
            return;
        };
        let young = self.now < replica.since + check.start_period;
        let pause = if young && replica.health == HealthState::Starting {
            check.start_interval.min(check.interval)
        } else {
            check.interval
        };
        let event = Event::Health(id.clone(), replica.run);
        self.schedule(pause, event);
    }

    pub(super) fn health_due(&mut self, id: &ReplicaId, run: u64) {
        let Some(replica) = self.replica(id) else {
            return;
        };
        if replica.run != run || replica.phase != Phase::Running {
            return;
        }
        let Some(check) = check_of(replica).cloned() else {
            return;
        };
        let passed = self.bugs.has(Bug::AlwaysHealthy) || self.try_check(id, &check.test);
        let now = self.now;
        let sticks = self.bugs.has(Bug::HealthSticks);
        let Some(replica) = self.replica_mut(id) else {
            return;
        };
        let before = replica.health;
        if passed {
            replica.failed_checks = 0;
            replica.health = HealthState::Healthy;
        } else {
            let young = now < replica.since + check.start_period;
            if !(young && before == HealthState::Starting) {
                replica.failed_checks += 1;
            }
            if replica.failed_checks >= check.retries && !(sticks && before == HealthState::Healthy)
            {
                replica.health = HealthState::Unhealthy;
            }
        }
        if replica.health != before {
            self.touch();
        }
        self.plan_check(id);
    }

    fn try_check(&mut self, id: &ReplicaId, test: &HealthTest) -> bool {
        match test {
            HealthTest::Exec(words) => self.run_check(id, words.clone()),
            HealthTest::Shell(line) => {
                let words = ["/bin/sh", "-c", line.as_str()].map(str::to_owned);
                self.run_check(id, words.to_vec())
            }
            HealthTest::Tcp { port } => self.listener(id, Protocol::Tcp, *port).is_some(),
            HealthTest::Http { port, path } => {
                let Some(pid) = self.listener(id, Protocol::Tcp, *port) else {
                    return false;
                };
                let answer = self.answer(pid, &format!("GET {path} HTTP/1.1"));
                let code = answer
                    .split(' ')
                    .nth(1)
                    .and_then(|code| code.parse::<u16>().ok());
                code.is_some_and(|code| (200..400).contains(&code))
            }
            _ => false,
        }
    }

    /// True if the command ends at once with 0; one that lasts would exceed every time limit.
    fn run_check(&mut self, id: &ReplicaId, words: Vec<String>) -> bool {
        let start = Start {
            replica: id.clone(),
            main: false,
            argv: words,
            env: BTreeMap::new(),
            cwd: None,
            user: None,
            tty: false,
            stdin: false,
        };
        let pid = self.spawn(start);
        let passed = self
            .processes
            .get(&pid)
            .is_some_and(|process| process.exit == Some(0));
        self.processes.remove(&pid);
        passed
    }
}
