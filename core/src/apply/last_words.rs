//! What a replica wrote last, for the error that it is the reason of: a replacement that failed is
//! taken back, and its log with it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;

use crate::backend::{Backend, LogLine, LogOptions};
use crate::clock::Clock;
use crate::error::Error;
use crate::label::Selector;
use crate::name::ReplicaId;

/// Most lines that are told.
const LINES: usize = 10;
/// Most characters of a line that are told.
const COLUMNS: usize = 200;
/// Longest wait for a log.
const PATIENCE: Duration = Duration::from_secs(3);

/// The error, with what the replica wrote last, or with the advice to look there, unless it has an
/// advice of its own.
pub(super) async fn with_last_words(
    (backend, clock): (&Arc<dyn Backend>, &Arc<dyn Clock>),
    replica: &ReplicaId,
    error: Error,
) -> Error {
    if error.hint_text().is_some() {
        // It says by itself what can be done.
        return error;
    }
    let lines = tokio::select! {
        biased;
        lines = last_lines(backend, replica) => lines,
        () = clock.sleep(PATIENCE) => Vec::new(),
    };
    match lines.is_empty() {
        true => error.hint(format!("see `unmoor logs {}`", replica.service)),
        false => error.with_log(lines),
    }
}

/// The last lines of a log; none if it cannot be read, which is not what failed.
async fn last_lines(backend: &Arc<dyn Backend>, replica: &ReplicaId) -> Vec<String> {
    let Some(logs) = backend.logs() else {
        return Vec::new();
    };
    let options = LogOptions::new().tail(Some(LINES));
    let Ok(mut stream) = logs.logs(&Selector::replica(replica), &options).await else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    while let Some(line) = stream.next().await {
        lines.extend(line.ok().map(|LogLine { text, .. }| harmless(&text)));
        if lines.len() == LINES {
            break;
        }
    }
    lines
}

/// A line that is short and steers no terminal.
fn harmless(line: &str) -> String {
    let mut text = String::new();
    for c in line.trim_end().chars().take(COLUMNS) {
        let steers = c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match steers {
            true => text.extend(c.escape_default()),
            false => text.push(c),
        }
    }
    if line.trim_end().chars().nth(COLUMNS).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_bounded_and_steers_nothing() {
        assert_eq!(harmless("plain ü\r"), "plain ü");
        let text = harmless("a\u{1b}]0;x\u{7}b\u{202e}c\rd");
        assert!(
            !text.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']),
            "{text:?}"
        );
        let long = harmless(&"x".repeat(COLUMNS + 1));
        assert_eq!(long.chars().count(), COLUMNS + 1);
        assert!(long.ends_with('…'));
    }
}
