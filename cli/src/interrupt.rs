//! Signals that ask the program to end.

use std::fmt;
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
    interrupt: Source,
    terminate: Source,
    hang_up: Source,
}

impl Interrupts {
    /// Starts listening; from now on the signals do not end the program by themselves.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let open = |kind| {
            signal(kind).map_err(|error: io::Error| Failure::System("listen for signals", error))
        };
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
            hang_up: open(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hang_up.recv() => Signal::HangUp,
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
