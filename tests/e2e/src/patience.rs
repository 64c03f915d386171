//! Waiting for what must become true, and no longer than it may take.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Time between two looks at something that cannot be waited for.
const PACE: Duration = Duration::from_millis(50);

/// Looks until there is an answer; panics with what was seen last when the time is up.
///
/// # Panics
/// When the time is up.
pub fn until<T, E: std::fmt::Display>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(answer) => return answer,
            Err(seen) => assert!(
                start.elapsed() < within,
                "not within {} s: {what}; seen last: {seen}",
                within.as_secs()
            ),
        }
        pause(PACE);
    }
}

/// Lets time pass between two looks; never in place of one.
fn pause(time: Duration) {
    let (_keep, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(time);
}
