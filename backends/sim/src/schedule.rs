//! Who goes on next: a runtime whose time passes when everybody waits, and a scheduler that decides
//! by a seed and lets callers die in the middle.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::clock::VirtualClock;
use crate::rng::Rng;

/// Set when its future can go on, cleared when it is polled.
#[derive(Debug)]
struct Awake {
    flag: AtomicBool,
    /// Told as well, where somebody else polls; set by who polls, read by who wakes.
    outer: Mutex<Option<Waker>>,
}

impl Awake {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flag: AtomicBool::new(true),
            outer: Mutex::new(None),
        })
    }

    fn is_set(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// A waker for the poll that begins now; `outer` is told with it.
    fn begin(self: &Arc<Self>, outer: Option<&Waker>) -> Waker {
        *self.outer.lock().unwrap_or_else(PoisonError::into_inner) = outer.cloned();
        self.flag.store(false, Ordering::SeqCst);
        Waker::from(Arc::clone(self))
    }
}

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.flag.store(true, Ordering::SeqCst);
        let outer = self.outer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outer) = &*outer {
            outer.wake_by_ref();
        }
    }
}

/// Runs a future on a runtime of this thread whose time passes exactly when nobody can go on.
///
/// The clock is a [`VirtualClock::manual`] one. A world that goes by it needs no rounds of waiting
/// to find out that everybody waits, so that an hour of virtual time costs next to nothing.
///
/// # Panics
/// If the operating system gives no runtime.
pub fn drive<F: Future>(clock: &VirtualClock, future: F) -> F::Output {
    let awake = Awake::new();
    let (clock, root) = (clock.clone(), Arc::clone(&awake));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || {
            // A future that was woken while the tasks ran is about to be polled.
            if !root.is_set() {
                clock.pass();
            }
        })
        .build()
        .expect("the operating system gives a runtime of one thread");
    let mut future = std::pin::pin!(future);
    runtime.block_on(std::future::poll_fn(|context| {
        let waker = awake.begin(Some(context.waker()));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    }))
}

/// One caller in a schedule: what it does, and when it dies.
pub struct Caller<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    /// How often it is polled before it is given up.
    polls: Option<u64>,
}

impl<T> fmt::Debug for Caller<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("polls", &self.polls)
            .finish_non_exhaustive()
    }
}

impl<'a, T> Caller<'a, T> {
    /// A caller that lives until the future has ended.
    pub fn new(future: impl Future<Output = T> + 'a) -> Self {
        Self {
            future: Box::pin(future),
            polls: None,
        }
    }

    /// It is gone, as a program that is killed, instead of being polled once more than this.
    #[must_use]
    pub fn dies_after(mut self, polls: Option<u64>) -> Self {
        self.polls = polls;
        self
    }
}

/// A caller at work.
struct Task<'a, T> {
    /// `None` once it has ended.
    caller: Option<Caller<'a, T>>,
    awake: Arc<Awake>,
    outcome: Option<T>,
}

/// Polls callers one at a time, in an order that a seed decides; time passes when all of them wait.
#[derive(Debug)]
pub struct Scheduler {
    clock: VirtualClock,
    rng: Rng,
}

impl Scheduler {
    /// A scheduler that moves this clock, which is a [`VirtualClock::manual`] one.
    #[must_use]
    pub fn new(clock: VirtualClock, seed: u64) -> Self {
        Self {
            clock,
            rng: Rng::new(seed),
        }
    }

    /// Runs callers side by side until each has ended or has died, which is `None`.
    ///
    /// `after_each` is called after every poll: between two of them nothing changes.
    ///
    /// # Panics
    /// If every caller waits for something that cannot come any more.
    pub fn run<T>(
        &mut self,
        callers: Vec<Caller<'_, T>>,
        mut after_each: impl FnMut(),
    ) -> Vec<Option<T>> {
        let mut tasks: Vec<Task<'_, T>> = callers
            .into_iter()
            .map(|caller| Task {
                caller: Some(caller),
                awake: Awake::new(),
                outcome: None,
            })
            .collect();
        loop {
            let waiting = tasks.iter().filter(|task| task.caller.is_some()).count();
            if waiting == 0 {
                return tasks.into_iter().map(|task| task.outcome).collect();
            }
            let can_go_on = |task: &&mut Task<'_, T>| task.caller.is_some() && task.awake.is_set();
            let mut ready: Vec<&mut Task<'_, T>> = tasks.iter_mut().filter(can_go_on).collect();
            if ready.is_empty() {
                assert!(
                    self.clock.pass(),
                    "{waiting} callers wait for what never comes"
                );
                continue;
            }
            let chosen = self.rng.below(ready.len());
            turn(ready[chosen]);
            after_each();
        }
    }

    /// Runs one caller to its end.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_one<T>(&mut self, future: impl Future<Output = T>) -> T {
        let outcome = self.run(vec![Caller::new(future)], || {}).pop().flatten();
        outcome.expect("a caller that does not die ends")
    }
}

/// Polls a caller once, or lets it die.
fn turn<T>(task: &mut Task<'_, T>) {
    let waker = task.awake.begin(None);
    let Some(caller) = &mut task.caller else {
        return;
    };
    if caller.polls == Some(0) {
        task.caller = None;
        return;
    }
    caller.polls = caller.polls.map(|left| left - 1);
    if let Poll::Ready(outcome) = caller
        .future
        .as_mut()
        .poll(&mut Context::from_waker(&waker))
    {
        task.outcome = Some(outcome);
        task.caller = None;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use unmoor_core::clock::Clock;

    use super::*;

    #[test]
    fn a_driven_future_and_its_tasks_share_one_time() {
        let clock = VirtualClock::manual();
        let other = clock.clone();
        drive(&clock, async {
            let task = tokio::spawn(async move {
                for _ in 0..100 {
                    assert_eq!(other.monotonic(), Duration::ZERO);
                    tokio::task::yield_now().await;
                }
                other.sleep(Duration::from_secs(3600)).await;
                other.monotonic()
            });
            clock.sleep(Duration::from_secs(60)).await;
            assert_eq!(clock.monotonic(), Duration::from_secs(60));
            let end = task.await.expect("the task does not panic");
            assert_eq!(end, Duration::from_secs(3600));
        });
    }

    #[test]
    fn no_time_passes_between_a_task_and_who_waits_for_it() {
        let clock = VirtualClock::manual();
        drive(&clock, async {
            let early = clock.sleep(Duration::from_secs(1));
            let told = async {
                let (send, receive) = tokio::sync::oneshot::channel();
                let task = tokio::spawn(async move { send.send(()) });
                receive.await.expect("it is told");
                assert_eq!(clock.monotonic(), Duration::ZERO);
                task.await.expect("no panic").expect("somebody listened");
            };
            tokio::join!(early, told);
        });
    }

    /// In which order three calls of two turns each get their turns.
    fn order(seed: u64) -> Vec<usize> {
        let order = RefCell::new(Vec::new());
        let calls = (0..3).map(|number| {
            let order = &order;
            Caller::new(async move {
                for _ in 0..2 {
                    order.borrow_mut().push(number);
                    tokio::task::yield_now().await;
                }
            })
        });
        let mut scheduler = Scheduler::new(VirtualClock::manual(), seed);
        scheduler.run(calls.collect(), || {});
        order.into_inner()
    }

    #[test]
    fn the_seed_alone_decides_the_order() {
        assert_eq!(order(7), order(7));
        assert!((0..20).any(|seed| order(seed) != order(7)));
    }

    #[test]
    fn a_caller_dies_at_the_await_that_was_asked_for() {
        let clock = VirtualClock::manual();
        let done = RefCell::new(0);
        let mut scheduler = Scheduler::new(clock.clone(), 1);
        for polls in 0..4 {
            done.replace(0);
            let caller = Caller::new(async {
                for _ in 0..2 {
                    clock.sleep(Duration::from_secs(1)).await;
                    done.replace_with(|before| *before + 1);
                }
            });
            let ended = scheduler.run(vec![caller.dies_after(Some(polls))], || {});
            assert_eq!(ended[0].is_some(), polls >= 3, "after {polls} polls");
            assert_eq!(*done.borrow(), polls.saturating_sub(1));
        }
    }
}
