//! What replicas wrote, as far as it is kept: in memory, from the first line on.

use std::sync::PoisonError;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use unmoor::backend::{LogLine, LogOptions, Logs, Stream};
use unmoor::label::Selector;
use unmoor::{Error, ErrorKind, Result};

use crate::ProcBackend;

#[async_trait]
impl Logs for ProcBackend {
    async fn logs(&self, selector: &Selector, options: &LogOptions) -> Result<Stream<LogLine>> {
        if options.follow {
            let text = "logs: they cannot be followed here";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let world = self.world();
        let mut found = false;
        let mut all = Vec::new();
        for (id, process) in &world.replicas {
            if !selector.matches(id, &process.service.spec.labels) {
                continue;
            }
            found = true;
            let lines = process.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = lines
                .iter()
                .filter(|line| options.since.is_none_or(|since| line.time >= since));
            let wanted: Vec<&LogLine> = wanted.collect();
            let first = wanted.len() - options.tail.unwrap_or(usize::MAX).min(wanted.len());
            all.extend(wanted[first..].iter().map(|line| Ok((*line).clone())));
        }
        if !found {
            return Err(Error::new(
                ErrorKind::NotFound,
                "logs: no replica is selected",
            ));
        }
        Ok(stream::iter(all).boxed())
    }
}
