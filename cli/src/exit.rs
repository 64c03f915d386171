//! Exit codes, and the one place that prints why a command failed.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use unmoor::compose::LoadErrors;
use unmoor::{Error, ErrorKind, Place};

use crate::interrupt::Signal;
use crate::output::{Out, Ui, clean, clean_json, raw, snippet};

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u8);

impl Code {
    /// Done.
    pub(crate) const DONE: Self = Self(0);
    /// Done, and the answer is no.
    pub(crate) const NO: Self = Self(1);
    /// `plan --detailed-exitcode`: there is something to change.
    pub(crate) const CHANGES: Self = Self(2);

    /// The code of a command run inside; what does not fit a code becomes its lowest byte or 255.
    pub(crate) fn of_child(code: i32) -> Self {
        let low = u8::try_from(code & 0xff).unwrap_or(u8::MAX);
        Self(if low == 0 && code != 0 { u8::MAX } else { low })
    }
}

const FAILED: u8 = 1;
/// As `sysexits.h` has it; 2 is an answer of `plan`.
const USAGE: u8 = 64;
const ENGINE: u8 = 125;
/// As a shell shows a program that SIGPIPE ended.
const NO_READER: u8 = 141;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library says so.
    Library(Error),
    /// The library says so while it ran a command for the user, whose own codes start at 0; a
    /// program that cannot be executed has the code that a shell would give.
    Engine(Error),
    /// The Compose files are wrong.
    Files(LoadErrors),
    /// The Compose files are wrong, so that a command of the user's was not run.
    EngineFiles(LoadErrors),
    /// The words do not make sense together.
    Usage(String),
    /// Standard output cannot be written.
    Output(io::Error),
    /// The system refused something.
    System(&'static str, io::Error),
    /// A signal ended it; the text says how to go on.
    Interrupted(Signal, Option<String>),
}

impl From<LoadErrors> for Failure {
    fn from(errors: LoadErrors) -> Self {
        Self::Files(errors)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl Failure {
    /// The same failure as the outcome of running a command inside.
    pub(crate) fn of_engine(self) -> Self {
        match self {
            Self::Library(error) => Self::Engine(error),
            Self::Files(errors) => Self::EngineFiles(errors),
            other => other,
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Library(_) | Self::Files(_) | Self::System(..) => FAILED,
            Self::Engine(error) => error
                .exit_code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(ENGINE),
            Self::EngineFiles(_) => ENGINE,
            Self::Usage(_) => USAGE,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => NO_READER,
            Self::Output(_) => FAILED,
            Self::Interrupted(signal, _) => signal.exit_code(),
        }
    }
}

/// Prints what the argument parser answers: help and version on standard output, errors on
/// standard error.
pub(crate) fn parsed(answer: &clap::Error) -> ExitCode {
    let text = answer.render();
    if answer.use_stderr() {
        let ui = Ui::early();
        if wants_json(std::env::args_os().skip(1)) {
            let event = usage_event(&text.to_string());
            raw(&(clean_json(event.to_string()) + "\n"));
            return ExitCode::from(USAGE);
        }
        let text = if ui.style.on() {
            text.ansi().to_string()
        } else {
            text.to_string()
        };
        let _ = io::stderr().write_all(text.as_bytes());
        return ExitCode::from(USAGE);
    }
    match Out::new().text(&text.to_string()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => finish(Err(failure), &Ui::early()),
    }
}

/// Whether errors are to be JSON, by words that were not understood as a whole.
fn wants_json(words: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<OsString> = words.take_while(|word| word != "--").collect();
    let attached = words
        .iter()
        .filter_map(|word| word.to_str()?.strip_prefix("--progress="));
    let apart = words.windows(2).filter(|pair| pair[0] == "--progress");
    let said = attached.chain(apart.filter_map(|pair| pair[1].to_str()));
    match said.last() {
        Some(how) => how == "json",
        None => std::env::var("COMPOSE_PROGRESS").is_ok_and(|how| how == "json"),
    }
}

/// The parser's text as an event: its first paragraph, and its tips.
fn usage_event(text: &str) -> serde_json::Value {
    let mut paragraphs = text.split("\n\n");
    let message = paragraphs.next().unwrap_or_default();
    let message = message.trim_start_matches("error:").split_whitespace();
    let tips = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("tip: "));
    let tips: Vec<&str> = tips.collect();
    json!({
        "event": "error", "kind": "usage", "message": message.collect::<Vec<_>>().join(" "),
        "hint": (!tips.is_empty()).then(|| tips.join("; ")), "exit_code": USAGE,
    })
}

/// Ends the program: prints the failure, if it is one, and gives the exit code.
pub(crate) fn finish(outcome: Result<Code, Failure>, ui: &Ui) -> ExitCode {
    let failure = match outcome {
        Ok(code) => return ExitCode::from(code.0),
        Err(failure) => failure,
    };
    let code = failure.code();
    if ui.json {
        raw(&(clean_json(as_event(&failure, code).to_string()) + "\n"));
    } else if code != NO_READER {
        let _ = io::stderr().write_all(as_text(&failure, ui).as_bytes());
    }
    ExitCode::from(code)
}

fn as_event(failure: &Failure, code: u8) -> serde_json::Value {
    let base = |kind: &str, message: String, hint: Option<&str>| json!({ "event": "error", "kind": kind, "message": message, "hint": hint, "exit_code": code });
    match failure {
        Failure::Library(error) | Failure::Engine(error) => {
            let mut event = base(error.kind().as_str(), error.chain(), error.hint_text());
            event["gaps"] = json!(error.gaps());
            if !error.log().is_empty() {
                event["log"] = json!(error.log());
            }
            event
        }
        Failure::Files(failed) | Failure::EngineFiles(failed) => {
            let mut event = base("invalid", failed.to_string(), None);
            let error = |error: &Error| {
                let places = error.places().iter().map(place);
                json!({
                    "kind": error.kind().as_str(), "message": error.message(),
                    "field": error.subject(), "hint": error.hint_text(),
                    "places": places.collect::<Vec<_>>(),
                })
            };
            event["errors"] = failed.errors.iter().map(error).collect();
            event
        }
        Failure::Usage(text) => base("usage", text.clone(), None),
        Failure::Output(error) => base("output", error.to_string(), None),
        Failure::System(what, error) => base("system", format!("{what}: {}", reasons(error)), None),
        Failure::Interrupted(signal, advice) => {
            base("interrupted", signal.to_string(), advice.as_deref())
        }
    }
}

fn place(place: &Place) -> serde_json::Value {
    json!({ "file": place.file, "line": place.line, "column": place.column })
}

fn as_text(failure: &Failure, ui: &Ui) -> String {
    let label = ui.style.red("error:");
    match failure {
        Failure::Library(error) | Failure::Engine(error) => explain(error, ui),
        Failure::Files(failed) | Failure::EngineFiles(failed) => {
            let all = failed.warnings.iter().map(|warning| {
                format!(
                    "{} {}\n",
                    ui.style.yellow("warning:"),
                    clean(&warning.to_string())
                )
            });
            all.chain(failed.errors.iter().map(|error| explain(error, ui)))
                .collect()
        }
        Failure::Usage(text) => format!("{label} {}\n", clean(text)),
        Failure::Output(error) => format!("{label} write to standard output: {error}\n"),
        Failure::System(what, error) => format!("{label} {what}: {}\n", clean(&reasons(error))),
        Failure::Interrupted(signal, None) => format!("{}\n", ui.style.yellow(&signal.to_string())),
        Failure::Interrupted(signal, Some(advice)) => {
            format!("{}: {advice}\n", ui.style.yellow(&signal.to_string()))
        }
    }
}

/// The error with what caused it, where it does not say that itself.
fn reasons(error: &io::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let told = next.to_string();
        if !text.contains(&told) {
            let _ = write!(text, ": {told}");
        }
        cause = next.source();
    }
    text
}

/// The error with its places, causes, gaps, hint and what failed while cleaning up.
fn explain(error: &Error, ui: &Ui) -> String {
    let style = ui.style;
    let places = error.places();
    let head = match places.first() {
        Some(place) => nearer(&error.to_string(), place),
        None => error.to_string(),
    };
    let mut text = format!("{} {}\n", style.red("error:"), clean(&head));
    for (at, place) in places.iter().enumerate() {
        if at > 0 {
            let _ = writeln!(
                text,
                "  {} {}",
                style.blue("and:"),
                clean(&nearer(&place.to_string(), place))
            );
        }
        text.push_str(&snippet(place, style));
    }
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let _ = writeln!(text, "  because: {}", clean(&next.to_string()));
        cause = next.source();
    }
    for line in error.log() {
        let _ = writeln!(text, "  {} {}", style.blue("it wrote:"), clean(line));
    }
    for gap in error.gaps() {
        let mark = if gap.fatal {
            style.red("x")
        } else {
            style.yellow("~")
        };
        let told = match &gap.place {
            Some(place) => nearer(&gap.to_string(), place),
            None => gap.to_string(),
        };
        let _ = writeln!(text, "  {mark} {}", clean(&told));
    }
    for failed in error.cleanup() {
        let chain = failed.chain();
        let _ = writeln!(text, "  while cleaning up: {}", clean(&chain));
    }
    let advice = match error.hint_text() {
        Some(hint) => Some(hint),
        None => advice(error.kind(), !error.gaps().is_empty()),
    };
    if let Some(hint) = advice {
        let _ = writeln!(text, "{} {}", style.blue("hint:"), clean(hint));
    }
    text
}

/// A text that begins with a place, with the file as it is seen from the working directory.
pub(crate) fn nearer(text: &str, place: &Place) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let near = Path::new(&place.file).strip_prefix(here).ok();
    match (near, text.strip_prefix(&place.file)) {
        (Some(near), Some(rest)) => format!("{}{rest}", near.display()),
        _ => text.to_owned(),
    }
}

/// What can be done about errors that do not say it themselves.
fn advice(kind: ErrorKind, has_gaps: bool) -> Option<&'static str> {
    match kind {
        ErrorKind::Unsupported if has_gaps => {
            Some("`--allow-gaps` goes on without these; `unmoor capabilities` lists what there is")
        }
        ErrorKind::Conflict => Some("it changed meanwhile; the same command plans again"),
        _ => None,
    }
}
