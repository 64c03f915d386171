//! A command inside a replica, joined to this terminal or these pipes until it ends.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use unmoor::backend::{ExecOutput, ExecSession, Feature};
use unmoor::{Client, Error, ErrorKind};

use crate::app::App;
use crate::attach::{Follow, Over};
use crate::detach::DetachKeys;
use crate::exit::{Code, Failure};
use crate::interrupt::{Interrupts, Signal};
use crate::output::raw_bytes;
use crate::terminal::{self, Raw};
use crate::verbs::Outcome;

/// Time until input is tried again that the command had no room for.
const AGAIN: Duration = Duration::from_millis(5);

/// Refuses before anything is sent if the backend lacks what is needed.
pub(crate) fn need(client: &Client, feature: Feature) -> Result<(), Failure> {
    if client.capabilities().has(feature) {
        return Ok(());
    }
    let scheme = client.info().scheme;
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("`{scheme}:` has no {feature}"),
    )
    .into())
}

/// `NAME=value` as it is, `NAME` with its value here; what is not set here is left out.
pub(crate) fn variables(words: &[String]) -> Vec<(String, String)> {
    let pairs = words.iter().filter_map(|word| match word.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => std::env::var(word).ok().map(|value| (word.clone(), value)),
    });
    pairs.collect()
}

/// Input on its way to a command.
#[derive(Debug, Default)]
struct Input {
    waiting: Vec<u8>,
    ended: bool,
    closed: bool,
}

impl Input {
    /// Passes on as much as the command takes now.
    ///
    /// A command that does not read because nobody reads what it writes would wait for us as we
    /// wait for it, so a write that does not succeed at once is dropped, which writes nothing, and
    /// tried again later.
    async fn feed(&mut self, session: &mut dyn ExecSession) -> Result<(), Failure> {
        while !self.waiting.is_empty() {
            match session.write(&self.waiting).now_or_never() {
                None => return Ok(()),
                Some(Ok(count)) => drop(self.waiting.drain(..count)),
                // The command does not listen any more.
                Some(Err(error)) if error.kind() == ErrorKind::WrongPhase => {
                    self.waiting.clear();
                    self.ended = true;
                    self.closed = true;
                }
                Some(Err(error)) => return Err(error.into()),
            }
        }
        if self.ended && !self.closed {
            self.closed = true;
            session.close_stdin().await?;
        }
        Ok(())
    }
}

/// How a session came to stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The program has ended with this code.
    Exited(i32),
    /// The user typed the keys that leave it.
    Detached,
    /// A signal came; the session can go on.
    Signal(Signal),
}

/// Carries input, output and sizes between a session and this terminal or these pipes.
#[derive(Debug)]
pub(crate) struct Carrier {
    raw: Option<Raw>,
    sizes: tokio::signal::unix::Signal,
    stdin: tokio::io::Stdin,
    input: Input,
    detach: Option<DetachKeys>,
}

impl Carrier {
    /// A carrier; with a terminal, that is raw from now on.
    pub(crate) fn new(tty: bool, detach: Option<DetachKeys>) -> Result<Self, Failure> {
        let raw = match tty {
            true => {
                let failed = |error| Failure::System("set up the terminal", error);
                Some(Raw::enter().map_err(failed)?)
            }
            false => None,
        };
        let sizes = signal(SignalKind::window_change())
            .map_err(|error: io::Error| Failure::System("listen for signals", error))?;
        Ok(Self {
            raw,
            sizes,
            stdin: tokio::io::stdin(),
            input: Input::default(),
            detach,
        })
    }

    /// The same without passing any input on.
    pub(crate) fn without_input(mut self) -> Self {
        self.input.ended = true;
        self.input.closed = true;
        self
    }

    /// Carries until the program ends, the user leaves, or a signal comes.
    pub(crate) async fn carry(
        &mut self,
        session: &mut dyn ExecSession,
        app: &App,
        signals: &mut Interrupts,
    ) -> Result<Ended, Failure> {
        let mut buffer = vec![0; 16 << 10];
        let tty = self.raw.is_some();
        loop {
            self.input.feed(session).await?;
            let full = !self.input.waiting.is_empty();
            tokio::select! {
                output = session.next() => match output? {
                    Some(ExecOutput::Stdout(bytes)) => app.out.bytes(&bytes)?,
                    Some(ExecOutput::Stderr(bytes)) => raw_bytes(&bytes),
                    Some(ExecOutput::Exited(code)) => return Ok(Ended::Exited(code)),
                    None => {
                        let text = "the command ended without an exit code";
                        return Err(Error::new(ErrorKind::Unavailable, text).into());
                    }
                },
                read = self.stdin.read(&mut buffer), if !full && !self.input.ended => {
                    // An input that cannot be read is one that has ended.
                    let count = read.unwrap_or(0);
                    self.input.ended = count == 0;
                    let (bytes, leaves) = match &mut self.detach {
                        Some(keys) => keys.pass(&buffer[..count]),
                        None => (buffer[..count].to_vec(), false),
                    };
                    self.input.waiting.extend(bytes);
                    if leaves {
                        return Ok(Ended::Detached);
                    }
                }
                () = tokio::time::sleep(AGAIN), if full => {}
                Some(()) = self.sizes.recv(), if tty => {
                    if let Some((columns, rows)) = terminal::size() {
                        session.resize(columns, rows).await?;
                    }
                }
                signal = signals.next() => return Ok(Ended::Signal(signal)),
            }
        }
    }
}

/// Passes standard input on to a program whose output is shown in another way, until it ends or
/// does not listen any more.
///
/// # Errors
/// What the backend gives: input may be lost then.
pub(crate) async fn feed(mut session: Box<dyn ExecSession>) -> Result<(), Failure> {
    let mut stdin = tokio::io::stdin();
    let mut input = Input::default();
    let mut buffer = vec![0; 16 << 10];
    loop {
        input.feed(session.as_mut()).await?;
        let full = !input.waiting.is_empty();
        tokio::select! {
            output = session.next() => match output? {
                Some(ExecOutput::Stdout(_) | ExecOutput::Stderr(_)) => {}
                Some(ExecOutput::Exited(_)) | None => return Ok(()),
            },
            read = stdin.read(&mut buffer), if !full && !input.ended => {
                // An input that cannot be read is one that has ended.
                let count = read.unwrap_or(0);
                input.ended = count == 0;
                input.waiting.extend(&buffer[..count]);
            }
            () = tokio::time::sleep(AGAIN), if full => {}
        }
    }
}

/// Passes input, output, sizes and the exit code. A signal ends it and kills the command.
pub(crate) async fn carry(
    mut session: Box<dyn ExecSession>,
    app: &App,
    tty: bool,
    signals: &mut Interrupts,
) -> Outcome {
    let mut carrier = Carrier::new(tty, None)?;
    match carrier.carry(session.as_mut(), app, signals).await? {
        Ended::Exited(code) => Ok(Code::of_child(code)),
        Ended::Signal(signal) => Err(Failure::Interrupted(signal, None)),
        Ended::Detached => Ok(Code::DONE),
    }
}

/// Follows one replica to its end, stopping it on a signal; returns its exit code.
pub(crate) async fn to_the_end(
    follow: &Follow<'_>,
    signals: &mut Interrupts,
) -> Result<i32, Failure> {
    if let Over::Signal(signal) = follow.to_the_end(signals).await? {
        return Err(Failure::Interrupted(signal, None));
    }
    let observed = follow.client.observe(&follow.selector).await?;
    let Some(replica) = observed.replicas().next() else {
        let text = "it was removed while it ran, so its exit code is not known";
        return Err(Error::new(ErrorKind::NotFound, text).into());
    };
    match (replica.exit, &replica.message) {
        (Some(exit), _) => Ok(exit.code),
        (None, Some(message)) => {
            let error = Error::new(ErrorKind::WrongPhase, message.clone());
            Err(error.on(format!("replica {}", replica.id)).into())
        }
        (None, None) => {
            let text = format!("it is {} without an exit code", replica.phase.as_str());
            let error = Error::new(ErrorKind::WrongPhase, text);
            Err(error.on(format!("replica {}", replica.id)).into())
        }
    }
}
