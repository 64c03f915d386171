//! The facet for what replicas wrote: history merged by time, then what is added.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::StreamExt;
use unmoor_core::backend::{LogLine, LogOptions, Logs, Stream};
use unmoor_core::label::Selector;
use unmoor_core::{Error, ErrorKind, Result};

use super::LocalBackend;
use super::watch::Watcher;
use crate::engine::Runtime;
use crate::error::LocalError;
use crate::logs::{Source, Wanted};

/// Lines that are read ahead.
const BATCH: usize = 256;

struct Reading {
    runtime: Runtime,
    selector: Selector,
    notices: Option<Watcher>,
    sources: BTreeMap<String, Source>,
    lines: std::collections::VecDeque<LogLine>,
    /// What is new to a reader that has read everything once.
    later: Wanted,
}

fn none_selected() -> Error {
    Error::new(ErrorKind::NotFound, "read logs: no replica is selected")
}

#[async_trait]
impl Logs for LocalBackend {
    async fn logs(&self, selector: &Selector, options: &LogOptions) -> Result<Stream<LogLine>> {
        let wanted = Wanted {
            tail: options.tail,
            since: options.since,
        };
        let runtime = match self.place.there().await? {
            Some(runtime) => runtime,
            None if options.follow => self.place.made().await?,
            None => return Err(none_selected()),
        };
        let notices = if options.follow {
            Some(Watcher::open()?)
        } else {
            None
        };
        let mut reading = Reading {
            runtime: runtime.clone(),
            selector: selector.clone(),
            notices,
            sources: BTreeMap::new(),
            lines: std::collections::VecDeque::new(),
            later: Wanted {
                tail: None,
                since: options.since,
            },
        };
        reading.find(wanted).await?;
        if reading.sources.is_empty() && reading.notices.is_none() {
            return Err(none_selected());
        }
        Ok(
            futures_util::stream::unfold(Some(reading), |reading| async move {
                let mut reading = reading?;
                match reading.next().await {
                    Ok(Some(line)) => Some((Ok(line), Some(reading))),
                    Ok(None) => None,
                    Err(error) => Some((Err(error.into()), Some(reading))),
                }
            })
            .boxed(),
        )
    }
}

impl Reading {
    async fn next(&mut self) -> Result<Option<LogLine>, LocalError> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            self.read().await?;
            if !self.lines.is_empty() {
                continue;
            }
            let Some(notices) = &self.notices else {
                return Ok(None);
            };
            notices.changed().await?;
            let later = self.later;
            self.find(later).await?;
        }
    }

    /// Finds replicas whose logs are not read yet, and forgets those that are gone.
    async fn find(&mut self, wanted: Wanted) -> Result<(), LocalError> {
        let selector = self.selector.clone();
        let found = self
            .runtime
            .block("finds logs", move |runtime| runtime.selected(&selector))
            .await?;
        if let Some(notices) = &self.notices {
            notices.add(&self.runtime.layout().replicas())?;
        }
        for record in &found {
            let directory = self.runtime.layout().replica(&record.key);
            if let Some(notices) = &self.notices {
                notices.add(&directory)?;
            }
            self.sources.entry(record.key.clone()).or_insert_with(|| {
                let terminal = record.desired.spec.tty;
                Source::new(record.id.clone(), directory, wanted, terminal)
            });
        }
        let keys: Vec<_> = found.iter().map(|record| record.key.as_str()).collect();
        self.sources.retain(|key, _| keys.contains(&key.as_str()));
        Ok(())
    }

    /// Reads the next lines of all sources, the earliest first.
    async fn read(&mut self) -> Result<(), LocalError> {
        let mut sources = std::mem::take(&mut self.sources);
        let read = move |_: &Runtime| {
            let mut lines = std::collections::VecDeque::new();
            let result = merge(&mut sources, &mut lines);
            Ok((sources, lines, result))
        };
        let (sources, lines, result) = self.runtime.block("reads logs", read).await?;
        self.sources = sources;
        self.lines = lines;
        result
    }
}

fn merge(
    sources: &mut BTreeMap<String, Source>,
    lines: &mut std::collections::VecDeque<LogLine>,
) -> Result<(), LocalError> {
    let mut heads = std::collections::BTreeSet::new();
    for (key, source) in sources.iter_mut() {
        if let Some(time) = source.peek()? {
            heads.insert((time, key.clone()));
        }
    }
    while lines.len() < BATCH {
        let Some((_, key)) = heads.pop_first() else {
            break;
        };
        let Some(source) = sources.get_mut(&key) else {
            continue;
        };
        lines.extend(source.next()?);
        if let Some(time) = source.peek()? {
            heads.insert((time, key));
        }
    }
    Ok(())
}
