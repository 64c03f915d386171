//! Following what replicas write until all of them have ended.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use tokio::sync::oneshot;
use unmoor::backend::{Feature, LogLine, LogOptions, ObservedReplica};
use unmoor::label::Selector;
use unmoor::name::{ReplicaId, ServiceName};
use unmoor::{Client, Error, ErrorKind};

use crate::app::App;
use crate::args::Ansi;
use crate::change::told;
use crate::exit::{Code, Failure};
use crate::interrupt::{Interrupts, Signal};
use crate::output::{LogStyle, Progress};
use crate::verbs::Outcome;
use crate::{select, view};

/// Time between two looks at the replicas: short at first, because one-off commands often are.
const PACE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long the last lines are waited for after a stop.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Most lines printed at a time.
const BATCH: usize = 256;
/// The code of what could not even start.
const FAILED: i32 = 1;

/// True if the backend lets logs be followed; else says what that means.
pub(crate) fn is_possible(app: &App, client: &Client) -> bool {
    let possible = client.capabilities().has(Feature::LogsFollow);
    if !possible {
        let text = "this backend does not let logs be followed, so this ends once all is started";
        app.ui.warn(text);
    }
    possible
}

/// Stays with a stack that was started, until all of it has ended or something stops it.
///
/// The exit code is that of what ended all, or of the service that is named.
pub(crate) async fn stay(
    follow: &Follow<'_>,
    code_from: Option<&ServiceName>,
    signals: &mut Interrupts,
) -> Outcome {
    match (follow.to_the_end(signals).await?, code_from) {
        (Over::Signal(signal), _) => {
            let advice =
                "the stack is stopped; `unmoor start` or `up` starts it, `down` removes it";
            Err(Failure::Interrupted(signal, Some(advice.to_owned())))
        }
        (_, Some(service)) => follow.code_of(service).await,
        (Over::Ended, None) => Ok(Code::DONE),
        (Over::Aborted { code, .. }, None) => Ok(Code::of_child(code)),
    }
}

/// Whether the end of one replica ends all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Abort {
    /// All go on.
    #[default]
    Never,
    /// Any end does.
    OnEnd,
    /// An end with another code than 0 does.
    OnFailure,
}

/// Whose lines are printed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    /// Only these services'; empty is all.
    pub(crate) only: Vec<ServiceName>,
    /// Not these.
    pub(crate) not: Vec<ServiceName>,
}

impl Shown {
    fn shows(&self, id: &ReplicaId) -> bool {
        let wanted = self.only.is_empty() || self.only.contains(&id.service);
        wanted && !self.not.contains(&id.service)
    }
}

/// How following came to an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Over {
    /// Every replica has ended.
    Ended,
    /// This one has ended first, so the others were stopped.
    Aborted { first: ReplicaId, code: i32 },
    /// A signal came, and they were stopped.
    Signal(Signal),
}

/// Whose lines are followed, how they look, and what ends it.
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    pub(crate) app: &'a App,
    pub(crate) client: &'a Client,
    pub(crate) selector: Selector,
    pub(crate) shown: Shown,
    /// Only lines written from then on, and only ends of what has started since.
    pub(crate) since: Option<SystemTime>,
    pub(crate) ansi: Ansi,
    pub(crate) look: LogStyle,
    /// Say how each replica ended.
    pub(crate) tell_ends: bool,
    pub(crate) abort: Abort,
    /// Time between stop signal and kill, over what the services say.
    pub(crate) grace: Option<Duration>,
}

impl<'a> Follow<'a> {
    /// Follows everything that is selected, with names before lines.
    pub(crate) fn new(app: &'a App, client: &'a Client, selector: Selector) -> Self {
        Self {
            app,
            client,
            selector,
            shown: Shown::default(),
            since: None,
            ansi: app.globals.ansi,
            look: LogStyle::named(),
            tell_ends: true,
            abort: Abort::Never,
            grace: None,
        }
    }

    /// Prints lines until every selected replica has ended; tells of the first end that aborts.
    async fn until_ended(&self, told: oneshot::Sender<Over>) -> Result<(), Failure> {
        let mut told = Some(told);
        let mut printer = self.app.logs_in(self.ansi, self.look);
        if let Some(stack) = self.selector.stack.as_ref().filter(|_| self.look.prefix) {
            printer.colour(select::known(self.client, stack).await?);
        }
        let replicas = self.replicas().await?;
        let ids = replicas.iter().map(|replica| &replica.id);
        printer.expect(ids.filter(|id| self.shown.shows(id)));
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
                        printer.print_read(self.of_shown(batch), self.app.ui)?;
                    }
                    None => open = false,
                },
                () = &mut look => {
                    let replicas = self.replicas().await?;
                    if let Some(first) = self.tell(&replicas, &mut ends)
                        && let Some(told) = told.take()
                    {
                        // Whoever listens no longer needs to be told.
                        let _ = told.send(first);
                    }
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
            let rest: Vec<unmoor::Result<LogLine>> = rest.collect().await;
            let rest: Vec<LogLine> = self.of_shown(rest).into_iter().flatten().collect();
            printer.print_rest(&rest)?;
        }
        Ok(())
    }

    fn of_shown(&self, mut batch: Vec<unmoor::Result<LogLine>>) -> Vec<unmoor::Result<LogLine>> {
        batch.retain(|line| match line {
            Ok(line) => self.shown.shows(&line.replica),
            Err(_) => true,
        });
        batch
    }

    /// Prints lines until all have ended. A signal, or an end that aborts, stops the replicas; a
    /// further signal kills them.
    pub(crate) async fn to_the_end(&self, signals: &mut Interrupts) -> Result<Over, Failure> {
        let (sender, mut told) = oneshot::channel();
        let mut following = pin!(self.until_ended(sender));
        let over = tokio::select! {
            ended = &mut following => {
                ended?;
                return Ok(told.try_recv().unwrap_or(Over::Ended));
            }
            Ok(first) = &mut told => first,
            signal = signals.next() => Over::Signal(signal),
        };
        self.app.ui.status(&match &over {
            Over::Aborted { first, .. } => format!("stopping because {first} has ended"),
            _ => "stopping; the same again kills".to_owned(),
        });
        self.stop(following, signals).await?;
        Ok(over)
    }

    /// Stops the replicas while their last lines are printed; a signal kills them.
    async fn stop(
        &self,
        mut following: Pin<&mut impl Future<Output = Result<(), Failure>>>,
        signals: &mut Interrupts,
    ) -> Result<(), Failure> {
        // Log lines go on meanwhile: nothing may be drawn over them.
        let progress = Progress::new(self.app.ui.plain());
        let step = |step| progress.step(step);
        let mut stopping = pin!(self.client.stop(&self.selector, self.grace, told(&step)));
        let mut kills = false;
        let mut followed = false;
        loop {
            tokio::select! {
                outcome = &mut stopping => match outcome {
                    Err(error) if !error.is_not_found() => return Err(error.into()),
                    _ => break,
                },
                _ = &mut following, if !followed => followed = true,
                signal = signals.next() => {
                    if kills {
                        let advice = "some of it may still run; `unmoor stop` stops it";
                        return Err(Failure::Interrupted(signal, Some(advice.to_owned())));
                    }
                    kills = true;
                    self.app.ui.status("killing");
                    // The stop goes on beside it, and ends with what is killed.
                    signals.guard(self.kill()).await?;
                }
            }
        }
        if !followed {
            // Everything has ended, so this ends too; a backend that is slow to say so is not waited for.
            let _ = tokio::time::timeout(LAST_WORDS, following).await;
        }
        Ok(())
    }

    /// Kills the replicas, also those that somebody else is stopping just now.
    async fn kill(&self) -> Result<(), Failure> {
        let run = told(&|_| {});
        let killed = match self.client.capabilities().has(Feature::Signal) {
            true => {
                self.client
                    .signal(&self.selector, unmoor::signal::Signal::KILL, run)
                    .await
            }
            false => {
                let at_once = Some(Duration::ZERO);
                self.client.stop(&self.selector, at_once, run).await
            }
        };
        match killed {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The exit code of a service: that of its first replica that did not end with 0.
    async fn code_of(&self, service: &ServiceName) -> Outcome {
        let mut selector = self.selector.clone();
        selector.services = vec![service.clone()];
        let observed = self.client.observe(&selector).await?;
        let exits: Vec<i32> = observed
            .replicas()
            .filter_map(|replica| replica.exit.map(|exit| exit.code))
            .collect();
        if exits.is_empty() {
            let text = format!("no replica of `{service}` has ended with a code");
            return Err(Error::new(ErrorKind::NotFound, text).into());
        }
        let first = exits.iter().find(|code| **code != 0);
        Ok(first.map_or(Code::DONE, |code| Code::of_child(*code)))
    }

    async fn replicas(&self) -> Result<Vec<ObservedReplica>, Failure> {
        let observed = self.client.observe(&self.selector).await?;
        Ok(observed.replicas().cloned().collect())
    }

    /// Says how replicas have ended that ran at the last look; gives the first end that aborts.
    fn tell(
        &self,
        replicas: &[ObservedReplica],
        ends: &mut BTreeMap<ReplicaId, bool>,
    ) -> Option<Over> {
        let mut first = None;
        for replica in replicas {
            let ended = !view::is_there(replica);
            let before = ends.insert(replica.id.clone(), ended).unwrap_or(false);
            if !ended || before {
                continue;
            }
            let id = &replica.id;
            if self.tell_ends {
                let how = match replica.exit {
                    Some(exit) => format!("exited with code {}", exit.code),
                    None => format!("is {}", replica.phase.as_str()),
                };
                let told = format!("{}-{} {how}", id.service, id.slot);
                self.app.ui.status(&told);
            }
            if first.is_none() && self.aborts(replica) {
                let code = replica.exit.map_or(FAILED, |exit| exit.code);
                first = Some(Over::Aborted {
                    first: id.clone(),
                    code,
                });
            }
        }
        first
    }

    /// True if the end of this replica is one that ends all. What ended long ago is not.
    fn aborts(&self, replica: &ObservedReplica) -> bool {
        let since = |begun| replica.started.is_none_or(|started| started >= begun);
        let failed = replica.exit.is_none_or(|exit| exit.code != 0);
        self.since.is_none_or(since)
            && match self.abort {
                Abort::Never => false,
                Abort::OnEnd => true,
                Abort::OnFailure => failed,
            }
    }
}
