//! Following what replicas write until all of them have ended.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use unmoor::Client;
use unmoor::backend::{Feature, LogLine, LogOptions, ObservedReplica};
use unmoor::label::Selector;
use unmoor::name::ReplicaId;

use crate::app::App;
use crate::change::told;
use crate::exit::{Code, Failure};
use crate::interrupt::{Interrupts, Signal};
use crate::output::{LogStyle, Progress};
use crate::verbs::Outcome;
use crate::view;

/// Time between two looks at the replicas: short at first, because one-off commands often are.
const PACE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long the last lines are waited for after a stop.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Most lines printed at a time.
const BATCH: usize = 256;

/// True if the backend lets logs be followed; else says what that means.
pub(crate) fn is_possible(app: &App, client: &Client) -> bool {
    let possible = client.capabilities().has(Feature::LogsFollow);
    if !possible {
        let text = "this backend does not let logs be followed, so this ends once all is started";
        app.ui.warn(text);
    }
    possible
}

/// Stays with a stack that was started, until all of it has ended or a signal stops it.
pub(crate) async fn stay(
    app: &App,
    client: &Client,
    selector: Selector,
    (begun, look): (SystemTime, LogStyle),
    signals: &mut Interrupts,
) -> Outcome {
    let follow = Follow {
        app,
        client,
        selector,
        since: Some(begun),
        look,
        tell_ends: true,
    };
    let Some(signal) = follow.until_ended_or_stopped(signals).await? else {
        return Ok(Code::DONE);
    };
    let advice = "the stack is stopped; `unmoor start` or `up` starts it, `down` removes it";
    Err(Failure::Interrupted(signal, Some(advice.to_owned())))
}

/// Whose lines are followed, and how they look.
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    pub(crate) app: &'a App,
    pub(crate) client: &'a Client,
    pub(crate) selector: Selector,
    /// Only lines written from then on.
    pub(crate) since: Option<SystemTime>,
    pub(crate) look: LogStyle,
    /// Say how each replica ended.
    pub(crate) tell_ends: bool,
}

impl Follow<'_> {
    /// Prints lines until every selected replica has ended; returns the replicas as they are then.
    pub(crate) async fn until_ended(&self) -> Result<Vec<ObservedReplica>, Failure> {
        let mut printer = self.app.logs(self.look);
        let replicas = self.replicas().await?;
        printer.expect(replicas.iter().map(|replica| &replica.id));
        let options = LogOptions::new().since(self.since);
        let follow = options.clone().follow(true);
        let lines = self.client.logs(&self.selector, &follow).await?;
        let mut lines = lines.ready_chunks(BATCH);
        let mut open = true;
        let mut pace = PACE.0;
        let mut look = pin!(tokio::time::sleep(pace));
        let mut ends = BTreeMap::new();
        let replicas = loop {
            tokio::select! {
                batch = lines.next(), if open => match batch {
                    Some(batch) => {
                        printer.print_read(batch, self.app.ui)?;
                    }
                    None => open = false,
                },
                () = &mut look => {
                    let replicas = self.replicas().await?;
                    self.tell(&replicas, &mut ends);
                    if !replicas.iter().any(view::is_there) {
                        break replicas;
                    }
                    pace = (pace * 2).min(PACE.1);
                    look.as_mut().reset(tokio::time::Instant::now() + pace);
                }
            }
        };
        drop(lines);
        if !replicas.is_empty() {
            // The end may have been seen before the last lines were.
            let rest = self.client.logs(&self.selector, &options).await?;
            let rest: Vec<LogLine> = rest.filter_map(|line| async { line.ok() }).collect().await;
            printer.print_rest(&rest)?;
        }
        Ok(replicas)
    }

    /// As [`until_ended`](Self::until_ended); a signal stops the replicas, a second one kills them.
    pub(crate) async fn until_ended_or_stopped(
        &self,
        signals: &mut Interrupts,
    ) -> Result<Option<Signal>, Failure> {
        let mut following = pin!(self.until_ended());
        let first = tokio::select! {
            ended = &mut following => return ended.map(|_| None),
            signal = signals.next() => signal,
        };
        self.app.ui.status("stopping; the same again kills");
        // Log lines go on meanwhile: nothing may be drawn over them.
        let progress = Progress::new(self.app.ui.plain());
        let step = |step| progress.step(step);
        let mut grace = None;
        let mut followed = false;
        'stop: loop {
            let mut stopping = pin!(self.client.stop(&self.selector, grace, told(&step)));
            loop {
                tokio::select! {
                    outcome = &mut stopping => match outcome {
                        Err(error) if !error.is_not_found() => return Err(error.into()),
                        _ => break 'stop,
                    },
                    _ = &mut following, if !followed => followed = true,
                    signal = signals.next() => {
                        if grace.is_some() {
                            let advice = "some of it may still run; `unmoor stop` stops it";
                            return Err(Failure::Interrupted(signal, Some(advice.to_owned())));
                        }
                        grace = Some(Duration::ZERO);
                        self.app.ui.status("killing");
                        continue 'stop;
                    }
                }
            }
        }
        if !followed {
            // Everything has ended, so this ends too; a backend that is slow to say so is not waited for.
            let _ = tokio::time::timeout(LAST_WORDS, following).await;
        }
        Ok(Some(first))
    }

    async fn replicas(&self) -> Result<Vec<ObservedReplica>, Failure> {
        let observed = self.client.observe(&self.selector).await?;
        Ok(observed.replicas().cloned().collect())
    }

    fn tell(&self, replicas: &[ObservedReplica], ends: &mut BTreeMap<ReplicaId, bool>) {
        for replica in replicas {
            let ended = !view::is_there(replica);
            let before = ends.insert(replica.id.clone(), ended).unwrap_or(false);
            if !ended || before || !self.tell_ends {
                continue;
            }
            let id = &replica.id;
            let how = match replica.exit {
                Some(exit) => format!("exited with code {}", exit.code),
                None => format!("is {}", replica.phase.as_str()),
            };
            self.app
                .ui
                .status(&format!("{}-{} {how}", id.service, id.slot));
        }
    }
}
