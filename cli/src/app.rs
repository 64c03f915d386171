//! What every verb has at hand: the options before the verb, the streams, a connection.

use std::time::Duration;

use unmoor::Client;
use unmoor::apply::{self, RunOptions};
use unmoor::backend::wrap::Deadlines;
use unmoor::compose::{Level, Loaded, OnUnsupported, Warning};
use unmoor::label::Selector;
use unmoor::name::StackName;
use unmoor::plan::Scope;
use unmoor::spec::Stack;

use crate::args::{Ansi, Globals, Services};
use crate::config::Config;
use crate::exit::{Code, Failure};
use crate::output::{LogPrinter, LogStyle, Out, Ui, clean};
use crate::verbs::Outcome;
use crate::{change, project, select};

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

    /// The name of the context in use; a backend that was named has none.
    pub(crate) fn context(&self) -> String {
        match (&self.globals.context, self.named()) {
            (Some(name), _) => name.clone(),
            (None, None) => Config::load().unwrap_or_default().current(),
            (None, Some(_)) => "-".to_owned(),
        }
    }

    /// The backends that were named, on the command line or in the environment.
    fn named(&self) -> Option<Vec<String>> {
        if !self.globals.backends.is_empty() {
            return Some(self.globals.backends.clone());
        }
        let variable = std::env::var("UNMOOR_BACKEND").ok();
        let variable = variable.filter(|uri| !uri.is_empty() && self.globals.context.is_none());
        variable.map(|uri| vec![uri])
    }

    /// The URI of the backend: named, or the context's.
    pub(crate) fn backend(&self) -> Result<String, Failure> {
        let mut named = self.backends()?;
        match (named.pop(), named.is_empty()) {
            (Some(uri), true) => Ok(uri),
            _ => {
                let text = "only `check` looks at several backends at once";
                Err(Failure::Usage(text.to_owned()))
            }
        }
    }

    /// The backends that were named, or the one of the context.
    pub(crate) fn backends(&self) -> Result<Vec<String>, Failure> {
        if let Some(named) = self.named() {
            return Ok(named);
        }
        let config = Config::load()?;
        let name = self.globals.context.clone();
        Ok(vec![
            config.backend(&name.unwrap_or_else(|| config.current()))?,
        ])
    }

    /// A connection to the backend; in a dry run, one that changes nothing.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let mut client = unmoor::connect(&self.backend()?).await?;
        if let Some(limit) = self.deadline() {
            let mut deadlines = Deadlines::default();
            // Images and files take as long as they are large.
            (deadlines.read, deadlines.action) = (limit, limit);
            (deadlines.write, deadlines.lock) = (limit, limit);
            client = client.with_deadlines(deadlines);
        }
        if !self.is_dry() {
            return Ok(client);
        }
        self.ui.status("dry run: nothing is changed");
        Ok(client.dry_run())
    }

    /// A connection, and what of the stack is meant by these services.
    pub(crate) async fn select(&self, which: &Services) -> Result<(Client, Selector), Failure> {
        let stack = self.stack_name()?;
        let client = self.connect().await?;
        let selector = select::services(self, &client, &stack, &which.services).await?;
        Ok((client, selector))
    }

    /// The longest time of one call, if the user says one.
    fn deadline(&self) -> Option<Duration> {
        self.globals.deadline.map(Duration::from_secs)
    }

    /// True if nothing may be changed.
    pub(crate) fn is_dry(&self) -> bool {
        self.globals.dry_run
    }

    /// Tells what would be done, one a line.
    pub(crate) fn would(&self, words: impl IntoIterator<Item = String>) -> Outcome {
        let words = words.into_iter();
        self.out
            .lines(words.map(|words| format!("would {}", clean(&words))))?;
        Ok(Code::DONE)
    }

    /// Run options that tell their progress, as many at a time as the user says.
    pub(crate) fn told<'a>(
        &self,
        step: &'a (dyn Fn(apply::Progress) + Send + Sync),
    ) -> RunOptions<'a> {
        let mut options = change::told(step);
        if let Some(limit) = self.globals.parallel {
            // As docker compose has it, -1 is no limit.
            options.parallel = usize::try_from(limit).unwrap_or(usize::MAX).max(1);
        }
        options
    }

    /// The stack of the Compose files, with their warnings told.
    pub(crate) fn stack(&self, unsupported: OnUnsupported) -> Result<Stack, Failure> {
        self.loaded(unsupported, &Scope::All)
            .map(|loaded| loaded.stack)
    }

    /// The same with all there is to know; services that are named are taken in whatever their
    /// profiles.
    pub(crate) fn loaded(
        &self,
        unsupported: OnUnsupported,
        about: &Scope,
    ) -> Result<Loaded, Failure> {
        let loaded = project::load(&self.globals, unsupported, about)?;
        self.warn(&loaded.warnings);
        for name in about.names().unwrap_or_default() {
            project::service(&loaded.stack, name)?;
        }
        Ok(loaded)
    }

    /// Tells what is to be known about the files.
    pub(crate) fn warn(&self, warnings: &[Warning]) {
        for warning in warnings {
            match warning.level {
                Level::Note => self.ui.note(&warning.to_string()),
                Level::Trap | Level::Ignored | Level::Gap => self.ui.warn(&warning.to_string()),
            }
        }
    }

    /// The stack's name; needs no file if the name was given.
    pub(crate) fn stack_name(&self) -> Result<StackName, Failure> {
        project::name(&self.globals)
    }

    /// A printer of log lines, coloured by this rule.
    pub(crate) fn logs_in(&self, ansi: Ansi, look: LogStyle) -> LogPrinter {
        LogPrinter::new(self.out, look, ansi)
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
