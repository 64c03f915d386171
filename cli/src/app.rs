//! What every verb has at hand: the options before the verb, the streams, a connection.

use unmoor::Client;
use unmoor::compose::{Level, OnUnsupported, Warning};
use unmoor::name::StackName;
use unmoor::spec::Stack;

use crate::args::Globals;
use crate::exit::Failure;
use crate::output::{LogPrinter, LogStyle, Out, Ui};
use crate::project;

/// What every verb has at hand.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) globals: Globals,
    pub(crate) out: Out,
    pub(crate) ui: Ui,
}

impl App {
    pub(crate) fn new(globals: Globals) -> Self {
        trace(globals.verbose);
        let ui = Ui::new(&globals);
        Self {
            globals,
            out: Out::new(),
            ui,
        }
    }

    /// A connection to the backend.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(unmoor::connect(&self.globals.backend).await?)
    }

    /// The stack of the Compose files, with their warnings told.
    pub(crate) fn stack(&self, unsupported: OnUnsupported) -> Result<Stack, Failure> {
        let loaded = project::load(&self.globals, unsupported)?;
        self.warn(&loaded.warnings);
        Ok(loaded.stack)
    }

    /// Tells what is to be known about the files.
    pub(crate) fn warn(&self, warnings: &[Warning]) {
        for warning in warnings {
            match warning.level {
                Level::Note => self.ui.note(&warning.to_string()),
                Level::Trap | Level::Ignored => self.ui.warn(&warning.to_string()),
            }
        }
    }

    /// The stack's name; needs no file if the name was given.
    pub(crate) fn stack_name(&self) -> Result<StackName, Failure> {
        project::name(&self.globals)
    }

    /// A printer of log lines.
    pub(crate) fn logs(&self, look: LogStyle) -> LogPrinter {
        LogPrinter::new(self.out, look, self.globals.ansi)
    }
}

/// Sends traces to standard error: `UNMOOR_LOG` says which, else the number of `-v`.
fn trace(verbose: u8) {
    let level = match verbose {
        0 => "off",
        1 => "unmoor=debug,unmoor_core=debug,unmoor_runtime_local=debug,unmoor_image=debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("UNMOOR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let traces = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // A second subscriber is impossible here; were there one, its traces would do.
    let _ = traces.try_init();
}
