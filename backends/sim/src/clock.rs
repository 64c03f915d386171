//! A clock whose time passes only when nobody has anything else to do.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use unmoor_core::clock::Clock;

/// 2026-01-01T00:00:00Z: wall-clock time when the clock's own time is zero.
const START: Duration = Duration::from_secs(1_767_225_600);

/// So many rounds without any sign of life mean that everybody waits for time to pass. A runtime
/// with one thread looks at its first task only once in 61 rounds, hence several times that.
const CALM: u32 = 400;

/// Virtual time: a sleep ends at once when every other task waits too.
///
/// The earliest sleeper yields to all other tasks again and again; if none of them asks for the
/// time or begins to sleep meanwhile, time jumps to the sleeper's end. On a runtime with one
/// thread this makes every run the same; with more threads time may pass while somebody computes.
#[derive(Debug, Clone)]
pub struct VirtualClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    now: Duration,
    sleepers: BTreeMap<(Duration, u64), Waker>,
    next: u64,
    /// Counts every sign of life; written by all callers, read by the earliest sleeper.
    activity: u64,
    automatic: bool,
}

impl VirtualClock {
    /// A clock that goes on by itself when everybody waits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_mode(true)
    }

    /// A clock that goes on only by [`advance`](Self::advance) and [`pass`](Self::pass), or by who
    /// calls them: [`drive`](crate::drive), a [`Scheduler`](crate::Scheduler).
    #[must_use]
    pub fn manual() -> Self {
        Self::with_mode(false)
    }

    fn with_mode(automatic: bool) -> Self {
        let state = State {
            now: Duration::ZERO,
            sleepers: BTreeMap::new(),
            next: 0,
            activity: 0,
            automatic,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Lets `time` pass at once; sleeps that end within it end in order.
    pub fn advance(&self, time: Duration) {
        let mut state = self.lock();
        let target = state.now + time;
        state.jump(target);
    }

    /// Lets time pass until the earliest sleep ends; false if nobody sleeps.
    pub fn pass(&self) -> bool {
        let mut state = self.lock();
        let Some((deadline, _)) = state.sleepers.keys().next().copied() else {
            return false;
        };
        state.jump(deadline);
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn jump(&mut self, target: Duration) {
        self.now = self.now.max(target);
        self.activity += 1;
        let later = self
            .sleepers
            .split_off(&(self.now + Duration::from_nanos(1), 0));
        for waker in std::mem::replace(&mut self.sleepers, later).into_values() {
            waker.wake();
        }
        self.wake_first();
    }

    /// The earliest sleeper looks after time by itself; where it must not, it needs no turn.
    fn wake_first(&self) {
        if self.automatic
            && let Some(waker) = self.sleepers.values().next()
        {
            waker.wake_by_ref();
        }
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + START + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        let mut state = self.lock();
        state.activity += 1;
        state.now
    }

    async fn sleep(&self, time: Duration) {
        let deadline = {
            let mut state = self.lock();
            state.activity += 1;
            state.now + time
        };
        Sleep {
            clock: self.clone(),
            deadline,
            key: None,
            seen: 0,
            calm: 0,
        }
        .await;
    }
}

struct Sleep {
    clock: VirtualClock,
    deadline: Duration,
    key: Option<(Duration, u64)>,
    seen: u64,
    calm: u32,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.clock.lock();
        if state.now >= this.deadline {
            return Poll::Ready(());
        }
        let key = *this.key.get_or_insert_with(|| {
            state.next += 1;
            (this.deadline, state.next)
        });
        state.sleepers.insert(key, context.waker().clone());
        let first = state.sleepers.keys().next() == Some(&key);
        if !first || !state.automatic {
            return Poll::Pending;
        }
        if this.seen != state.activity {
            this.seen = state.activity;
            this.calm = 0;
        }
        this.calm += 1;
        if this.calm > CALM {
            state.jump(this.deadline);
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut state = self.clock.lock();
        let first = state.sleepers.keys().next() == Some(&key);
        state.sleepers.remove(&key);
        if first {
            state.wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_hour_passes_at_once_and_in_order() {
        let clock = VirtualClock::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let wait = |seconds: u64| {
            let (clock, order) = (clock.clone(), Arc::clone(&order));
            async move {
                clock.sleep(Duration::from_secs(seconds)).await;
                order
                    .lock()
                    .expect("no panic")
                    .push(clock.monotonic().as_secs());
            }
        };
        tokio::join!(wait(3600), wait(1), wait(60));
        assert_eq!(*order.lock().expect("no panic"), [1, 60, 3600]);
    }

    #[tokio::test]
    async fn a_dropped_sleep_holds_nobody_up() {
        let clock = VirtualClock::new();
        tokio::select! {
            () = clock.sleep(Duration::from_secs(1)) => {}
            () = clock.sleep(Duration::from_secs(100)) => panic!("the later one came first"),
        }
        clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(clock.monotonic(), Duration::from_secs(6));
    }

    #[tokio::test]
    async fn time_waits_for_a_busy_task() {
        let clock = VirtualClock::new();
        let other = clock.clone();
        let busy = tokio::spawn(async move {
            for _ in 0..200 {
                assert_eq!(other.monotonic(), Duration::ZERO);
                tokio::task::yield_now().await;
            }
        });
        let sleeper = clock.sleep(Duration::from_secs(1));
        let (busy, ()) = tokio::join!(busy, sleeper);
        busy.expect("time stood still while the task was busy");
    }

    #[tokio::test]
    async fn a_manual_clock_stands_until_it_is_moved() {
        let clock = VirtualClock::manual();
        let other = clock.clone();
        let sleeper = tokio::spawn(async move { other.sleep(Duration::from_secs(2)).await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(2));
        sleeper.await.expect("the sleep ends");
    }
}
