//! Faults put between the caller and the model: lost answers, delays, hangs, stale reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use unmoor_core::clock::Clock;
use unmoor_core::{Error, ErrorKind, Result};

use crate::rng::Rng;

/// Which calls a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// Every call.
    Any,
    /// `apply`.
    Apply,
    /// `observe`.
    Observe,
    /// `endpoints`.
    Endpoints,
    /// `exec`.
    Exec,
    /// `logs`.
    Logs,
    /// `images().resolve`.
    Resolve,
    /// Records of the state facet.
    State,
    /// The lock of a stack, and the list of stacks.
    Lock,
    /// `images()` but for `resolve`.
    Images,
    /// `watch` and `events`.
    Watch,
    /// What looks into replicas or steers what runs there: signals, statistics, processes, files.
    Inside,
    /// The next piece of a stream of log lines or of a file.
    Piece,
}

/// What a fault does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Effect {
    /// The call fails and has no effect.
    FailBefore(ErrorKind),
    /// The call has its effect, then the answer is lost: the caller sees this kind.
    FailAfter(ErrorKind),
    /// The call takes this much longer.
    Delay(Duration),
    /// The call hangs before its effect until the gate is opened.
    HangBefore(Gate),
    /// The call has its effect, then hangs until the gate is opened.
    HangAfter(Gate),
    /// `observe` answers what was there before the last change.
    Stale,
    /// `observe` and `endpoints` leave one replica out, and say so.
    Partial,
}

/// Where calls hang until they are released.
#[derive(Debug, Clone)]
pub struct Gate {
    state: Arc<(watch::Sender<u64>, watch::Sender<bool>)>,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::new((watch::Sender::new(0), watch::Sender::new(false))),
        }
    }

    /// Lets every call through, now and later.
    pub fn open(&self) {
        self.state.1.send_replace(true);
    }

    /// Returns once a call hangs here.
    pub async fn reached(&self) {
        let mut calls = self.state.0.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = calls.wait_for(|count| *count > 0).await;
    }

    async fn pass(&self) {
        self.state.0.send_modify(|count| *count += 1);
        let mut open = self.state.1.subscribe();
        let _ = open.wait_for(|open| *open).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// One fault: which calls, how many of them, what happens.
#[derive(Debug, Clone)]
pub struct Fault {
    call: Call,
    label: Option<String>,
    skip: u64,
    times: u64,
    effect: Effect,
}

impl Fault {
    /// Strikes the first such call.
    #[must_use]
    pub fn on(call: Call, effect: Effect) -> Self {
        Self {
            call,
            label: None,
            skip: 0,
            times: 1,
            effect,
        }
    }

    /// Strikes only calls whose text contains `part`, as `start replica shop-web-1`.
    #[must_use]
    pub fn matching(mut self, part: impl Into<String>) -> Self {
        self.label = Some(part.into());
        self
    }

    /// Strikes the `n`-th such call first; the first is 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// Strikes so many calls in a row.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn strikes(&mut self, call: Call, label: &str) -> bool {
        let concerned = (self.call == call || self.call == Call::Any)
            && self
                .label
                .as_ref()
                .is_none_or(|part| label.contains(part.as_str()));
        if !concerned || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

#[derive(Debug, Default)]
struct Rules {
    faults: Vec<Fault>,
    random: Option<(Rng, u32)>,
    slow: Option<(Rng, Duration)>,
    struck: u64,
}

/// The faults of one world. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Rules>>,
}

/// What is left to happen after the call had its effect.
#[derive(Debug, Default)]
pub(crate) struct Hit {
    pub(crate) stale: bool,
    pub(crate) partial: bool,
    after: Vec<Effect>,
}

impl Faults {
    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// From now on fails `per_mille` of all writes, of the state facet's too, before or after their
    /// effect, by this seed.
    pub fn random(&self, seed: u64, per_mille: u32) {
        self.lock().random = Some((Rng::new(seed), per_mille));
    }

    /// From now on every write takes longer, by up to `most`, by this seed.
    pub fn slow(&self, seed: u64, most: Duration) {
        self.lock().slow = Some((Rng::new(seed), most));
    }

    /// Takes all faults away.
    pub fn clear(&self) {
        let mut rules = self.lock();
        rules.faults.clear();
        rules.random = None;
        rules.slow = None;
    }

    /// How many faults have struck.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.lock().struck
    }

    /// True if a fault will ask for what was there before the last change.
    pub(crate) fn wants_history(&self) -> bool {
        let rules = self.lock();
        rules
            .faults
            .iter()
            .any(|fault| fault.times > 0 && matches!(fault.effect, Effect::Stale))
    }

    pub(crate) async fn before(&self, clock: &dyn Clock, call: Call, label: &str) -> Result<Hit> {
        // As any platform's calls, one of the model can be given up before and after its effect.
        tokio::task::yield_now().await;
        let effects = self.draw(call, label);
        let mut hit = Hit::default();
        for effect in effects {
            match effect {
                Effect::FailBefore(kind) => return Err(fault_error(kind, label, "had no effect")),
                Effect::Delay(time) => clock.sleep(time).await,
                Effect::HangBefore(gate) => gate.pass().await,
                Effect::Stale => hit.stale = true,
                Effect::Partial => hit.partial = true,
                Effect::FailAfter(_) | Effect::HangAfter(_) => hit.after.push(effect),
            }
        }
        Ok(hit)
    }

    fn draw(&self, call: Call, label: &str) -> Vec<Effect> {
        let mut rules = self.lock();
        let mut effects = Vec::new();
        for fault in &mut rules.faults {
            if fault.strikes(call, label) {
                effects.push(fault.effect.clone());
            }
        }
        let write = is_write(call, label);
        if write && let Some((rng, most)) = &mut rules.slow {
            let share = u32::try_from(rng.next() % 1000).expect("below 1000");
            effects.push(Effect::Delay(*most * share / 1000));
        }
        if write
            && let Some((rng, per_mille)) = &mut rules.random
            && rng.next() % 1000 < u64::from(*per_mille)
        {
            let after = rng.next() % 2 == 0;
            effects.push(if after {
                Effect::FailAfter(ErrorKind::Timeout)
            } else {
                Effect::FailBefore(ErrorKind::Unavailable)
            });
        }
        rules.struck += u64::try_from(effects.len()).expect("a few effects");
        effects
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hit {
    pub(crate) async fn after(self, label: &str) -> Result<()> {
        tokio::task::yield_now().await;
        for effect in self.after {
            match effect {
                Effect::FailAfter(kind) => {
                    return Err(fault_error(kind, label, "had its effect"));
                }
                Effect::HangAfter(gate) => gate.pass().await,
                _ => {}
            }
        }
        Ok(())
    }
}

/// True for a call that changes something.
fn is_write(call: Call, label: &str) -> bool {
    match call {
        Call::Apply => true,
        Call::State => !label.starts_with("load"),
        _ => false,
    }
}

fn fault_error(kind: ErrorKind, label: &str, what: &str) -> Error {
    Error::new(kind, format!("injected fault: {label} {what}"))
}
