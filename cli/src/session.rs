//! A command inside a replica, joined to this terminal or these pipes until it ends.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use unmoor::backend::{ExecOutput, ExecSession, Feature};
use unmoor::{Client, Error, ErrorKind};

use crate::app::App;
use crate::attach::Follow;
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
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

/// Passes input, output, sizes and the exit code. A signal ends it and kills the command.
pub(crate) async fn carry(
    mut session: Box<dyn ExecSession>,
    app: &App,
    tty: bool,
    signals: &mut Interrupts,
) -> Outcome {
    let raw = match tty {
        true => Some(Raw::enter().map_err(|error| Failure::System("set up the terminal", error))?),
        false => None,
    };
    let mut sizes = signal(SignalKind::window_change())
        .map_err(|error: io::Error| Failure::System("listen for signals", error))?;
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 16 << 10];
    let mut input = Input::default();
    let code = loop {
        input.feed(session.as_mut()).await?;
        let full = !input.waiting.is_empty();
        tokio::select! {
            output = session.next() => match output? {
                Some(ExecOutput::Stdout(bytes)) => app.out.bytes(&bytes)?,
                Some(ExecOutput::Stderr(bytes)) => raw_bytes(&bytes),
                Some(ExecOutput::Exited(code)) => break code,
                None => {
                    let text = "the command ended without an exit code";
                    return Err(Error::new(ErrorKind::Unavailable, text).into());
                }
            },
            read = stdin.read(&mut buffer), if !full && !input.ended => {
                // An input that cannot be read is one that has ended.
                let count = read.unwrap_or(0);
                input.ended = count == 0;
                input.waiting.extend(&buffer[..count]);
            }
            () = tokio::time::sleep(AGAIN), if full => {}
            Some(()) = sizes.recv(), if tty => {
                if let Some((columns, rows)) = terminal::size() {
                    session.resize(columns, rows).await?;
                }
            }
            signal = signals.next() => return Err(Failure::Interrupted(signal, None)),
        }
    };
    drop(raw);
    Ok(Code::of_child(code))
}

/// Follows one replica to its end, stopping it on a signal; returns its exit code.
pub(crate) async fn to_the_end(
    follow: &Follow<'_>,
    signals: &mut Interrupts,
) -> Result<i32, Failure> {
    if let Some(signal) = follow.until_ended_or_stopped(signals).await? {
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
