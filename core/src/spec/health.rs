//! How to tell that a replica is ready.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is tried to see whether a replica is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthTest {
    /// A command inside the replica; exit code 0 means healthy.
    Exec(Vec<String>),
    /// A command given to `/bin/sh -c` inside the replica.
    Shell(String),
    /// A TCP connection to this port of the replica.
    Tcp {
        /// Container port.
        port: u16,
    },
    /// An HTTP GET; 200 to 399 means healthy.
    Http {
        /// Container port.
        port: u16,
        /// Path with leading slash.
        path: String,
    },
}

/// A health check. Defaults are docker's: 30 s, 30 s, 0 s, 5 s, 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is tried.
    pub test: HealthTest,
    /// Time between two tries.
    pub interval: Duration,
    /// After this time a try has failed.
    pub timeout: Duration,
    /// Failures within this time after the start do not count.
    pub start_period: Duration,
    /// Time between two tries within `start_period`.
    pub start_interval: Duration,
    /// So many failures in a row mean unhealthy.
    pub retries: u32,
}

impl Health {
    /// A check with docker's default times.
    #[must_use]
    pub fn new(test: HealthTest) -> Self {
        Self {
            test,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            start_period: Duration::ZERO,
            start_interval: Duration::from_secs(5),
            retries: 3,
        }
    }

    /// Sets the time between two tries.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how many failures in a row mean unhealthy.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Sets the grace after the start, and the pace of tries within it.
    #[must_use]
    pub fn start(mut self, period: Duration, interval: Duration) -> Self {
        self.start_period = period;
        self.start_interval = interval;
        self
    }
}

/// What a service says about its health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthWish {
    /// Nothing: the image's own check, if it has one.
    #[default]
    FromImage,
    /// No check, even if the image has one.
    Disabled,
    /// This check.
    Check(Health),
}
