//! Signals that ask the program to end.

use std::fmt;
use std::fs;
use std::io;

use tokio::signal::unix::{Signal as Source, SignalKind, signal};

use crate::exit::Failure;

/// A signal that asks the program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// The terminal went away.
    HangUp,
}

impl Signal {
    /// 128 and the signal's number, as a shell shows it.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::HangUp => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "interrupted",
            Self::Terminate => "terminated",
            Self::HangUp => "the terminal went away",
        })
    }
}

/// Listens for signals; none is lost while it lives.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Option<Source>,
    terminate: Option<Source>,
    hang_up: Option<Source>,
}

impl Interrupts {
    /// Starts listening; from now on the signals do not end the program by themselves.
    ///
    /// Signals that were ignored when the program began stay so: `nohup`, and shells that start
    /// something in the background, mean it.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let ignored = ignored();
        let open = |kind: SignalKind| match ignored & (1 << (kind.as_raw_value() - 1)) {
            0 => signal(kind).map(Some),
            _ => Ok(None),
        };
        let failed = |error: io::Error| Failure::System("listen for signals", error);
        Ok(Self {
            interrupt: open(SignalKind::interrupt()).map_err(failed)?,
            terminate: open(SignalKind::terminate()).map_err(failed)?,
            hang_up: open(SignalKind::hangup()).map_err(failed)?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            () = heard(&mut self.interrupt) => Signal::Interrupt,
            () = heard(&mut self.terminate) => Signal::Terminate,
            () = heard(&mut self.hang_up) => Signal::HangUp,
        }
    }

    /// Does the work unless a signal comes first.
    pub(crate) async fn guard<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            outcome = work => outcome,
            signal = self.next() => Err(Failure::Interrupted(signal, None)),
        }
    }
}

async fn heard(source: &mut Option<Source>) {
    match source {
        Some(source) => drop(source.recv().await),
        None => std::future::pending().await,
    }
}

/// Signals that this process ignores, one bit each; none where the system does not tell.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
