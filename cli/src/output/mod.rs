//! What is printed: data on standard output, everything else on standard error.

mod harmless;
mod listing;
mod live;
mod logs;
mod progress;
mod reader;
mod snippet;
mod style;
mod table;
mod template;
mod waits;

pub(crate) use listing::{Columns, Formatted, ListFormat, Listing};
pub(crate) use logs::{LogPrinter, LogStyle};
pub(crate) use progress::Progress;
pub(crate) use reader::while_read;
pub(crate) use snippet::snippet;
pub(crate) use style::{Style, clean, clean_json};
pub(crate) use table::Table;

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::args::{Ansi, Globals, ProgressMode};
use crate::exit::Failure;
use crate::refuse::is_true;
use crate::sys;

/// Standard output: data only, and every failure to write it is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    closed: bool,
}

impl Out {
    pub(crate) fn new() -> Self {
        Self {
            closed: sys::stdout_was_closed(),
        }
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        if self.closed && !bytes.is_empty() {
            return Err(Failure::Output(io::Error::other("it is closed")));
        }
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(Failure::Output)
    }

    /// Writes text as it is.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes one line.
    pub(crate) fn line(&self, line: &str) -> Result<(), Failure> {
        self.text(&format!("{line}\n"))
    }

    /// Writes things, one a line.
    pub(crate) fn lines<T: std::fmt::Display>(
        &self,
        items: impl IntoIterator<Item = T>,
    ) -> Result<(), Failure> {
        let lines = items.into_iter().map(|item| format!("{item}\n"));
        self.text(&lines.collect::<String>())
    }

    /// Writes one JSON document, indented.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_string_pretty(value).map_err(|error| Failure::Output(error.into()))?;
        self.line(&clean_json(text))
    }

    /// Writes one JSON document on one line.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| Failure::Output(error.into()))?;
        self.line(&clean_json(text))
    }

    /// How to style what goes there.
    pub(crate) fn style(&self, ansi: Ansi) -> Style {
        Style::for_stream(ansi, io::stdout().is_terminal())
    }
}

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Standard error, beside warnings and errors.
    Err,
    /// Standard output, where COMPOSE_STATUS_STDOUT says so.
    Out,
}

impl Side {
    fn choose() -> Self {
        match is_true("COMPOSE_STATUS_STDOUT") {
            true => Self::Out,
            false => Self::Err,
        }
    }

    fn is_terminal(self) -> bool {
        match self {
            Self::Err => io::stderr().is_terminal(),
            Self::Out => io::stdout().is_terminal(),
        }
    }

    /// Writes at once. If that fails there is nobody left to tell.
    fn write(self, text: &str) {
        match self {
            Self::Err => raw(text),
            Self::Out => {
                let mut out = io::stdout().lock();
                let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            }
        }
    }
}

/// Progress, warnings and errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    /// How warnings and errors are styled.
    pub(crate) style: Style,
    /// Everything is JSON lines.
    pub(crate) json: bool,
    /// How progress is shown.
    pub(crate) progress: ProgressMode,
    /// Where progress goes, and how it is styled there.
    side: (Side, Style),
}

impl Ui {
    /// Before the options are known.
    pub(crate) fn early() -> Self {
        let style = Style::for_stream(Ansi::Auto, io::stderr().is_terminal());
        Self {
            style,
            json: false,
            progress: ProgressMode::Plain,
            side: (Side::Err, style),
        }
    }

    pub(crate) fn new(globals: &Globals) -> Self {
        let side = Side::choose();
        let redraws = side.is_terminal() && globals.ansi != Ansi::Never && !style::is_dumb();
        let progress = match globals.progress {
            ProgressMode::Auto if redraws => ProgressMode::Tty,
            ProgressMode::Auto => ProgressMode::Plain,
            other => other,
        };
        let style = |side: Side| Style::for_stream(globals.ansi, side.is_terminal());
        Self {
            style: style(Side::Err),
            json: progress == ProgressMode::Json,
            progress,
            side: (side, style(side)),
        }
    }

    /// The same without any progress.
    pub(crate) fn quiet(self) -> Self {
        let progress = ProgressMode::Quiet;
        Self { progress, ..self }
    }

    /// The same without live drawing, for when others write to the terminal.
    pub(crate) fn plain(self) -> Self {
        let progress = match self.progress {
            ProgressMode::Tty => ProgressMode::Plain,
            other => other,
        };
        Self { progress, ..self }
    }

    /// Tells something worth knowing.
    pub(crate) fn note(&self, text: &str) {
        self.say("note", &self.style.blue("note:"), text);
    }

    /// Tells something that may not be as meant.
    pub(crate) fn warn(&self, text: &str) {
        self.say("warning", &self.style.yellow("warning:"), text);
    }

    fn say(&self, kind: &str, label: &str, text: &str) {
        match self.progress {
            ProgressMode::Json => {
                let event = serde_json::json!({"event": kind, "message": text});
                raw(&(clean_json(event.to_string()) + "\n"));
            }
            ProgressMode::Quiet if kind == "note" => {}
            _ => raw(&format!("{label} {}\n", clean(text))),
        }
    }

    /// Tells a change in the state of what is done, whatever the mode but quiet.
    pub(crate) fn status(&self, text: &str) {
        match self.progress {
            ProgressMode::Json => {
                self.event(&serde_json::json!({"event": "status", "message": text}));
            }
            ProgressMode::Quiet => {}
            _ => self.write(&format!("{}\n", clean(text))),
        }
    }

    /// One JSON object of progress on one line.
    pub(crate) fn event(&self, value: &serde_json::Value) {
        self.write(&(clean_json(value.to_string()) + "\n"));
    }

    /// Writes where progress goes.
    fn write(&self, text: &str) {
        self.side.0.write(text);
    }
}

/// Writes to standard error at once. If that fails there is nobody left to tell.
pub(crate) fn raw(text: &str) {
    raw_bytes(text.as_bytes());
}

/// As [`raw`], for bytes.
pub(crate) fn raw_bytes(bytes: &[u8]) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(bytes).and_then(|()| err.flush());
}
