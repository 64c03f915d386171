//! How a one-off copy is joined to this terminal or these pipes.

use unmoor::backend::Feature;
use unmoor::name::ReplicaId;
use unmoor::spec::Service;
use unmoor::{Client, ErrorKind};

use super::{Args, all_of, need_output};
use crate::app::App;
use crate::attach::Follow;
use crate::exit::Failure;
use crate::interrupt::Interrupts;
use crate::session::{self, Carrier, Ended};
use crate::terminal;

/// What goes between the copy and whoever runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    /// Nothing: it is left alone.
    None,
    /// Its output, and its errors apart.
    Output,
    /// Its output, and this program's input.
    Pipes,
    /// All of a terminal.
    Terminal,
}

impl Streams {
    /// By what is asked for, what there is here, and what the backend can do.
    pub(super) fn choose(args: &Args, client: &Client) -> Result<Self, Failure> {
        if args.detach {
            return Ok(Self::None);
        }
        if args.tty && !terminal::is_interactive() {
            let text = "-t needs a terminal on standard input and output";
            return Err(Failure::Usage(text.to_owned()));
        }
        need_output(client)?;
        if args.interactive == Some(true) || args.tty {
            session::need(client, Feature::Attach)?;
        }
        if args.interactive == Some(false) || !client.capabilities().has(Feature::Attach) {
            return Ok(Self::Output);
        }
        let terminal = terminal::is_interactive() && client.capabilities().has(Feature::Tty);
        Ok(match terminal && !args.no_tty {
            true => Self::Terminal,
            false => Self::Pipes,
        })
    }

    /// Makes the copy such that it can be joined so.
    pub(super) fn set(self, spec: &mut Service) {
        if self == Self::None {
            return;
        }
        spec.stdin_open = matches!(self, Self::Pipes | Self::Terminal);
        spec.tty = self == Self::Terminal;
        if spec.tty {
            let kind = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
            spec.environment.entry("TERM".to_owned()).or_insert(kind);
        }
    }

    /// Follows the copy to its end; gives its exit code.
    pub(super) async fn follow(
        self,
        app: &App,
        client: &Client,
        id: &ReplicaId,
        signals: &mut Interrupts,
    ) -> Result<i32, Failure> {
        let mut follow = Follow::new(app, client, all_of(id));
        follow.look.prefix = false;
        // As on the terminal of its own that it could have.
        follow.look.raw = true;
        follow.tell_ends = false;
        match self {
            Self::None => app.out.line(&id.to_string()).map(|()| 0),
            Self::Output => session::to_the_end(&follow, signals).await,
            Self::Pipes => piped(&follow, id, signals).await,
            Self::Terminal => on_terminal(&follow, id, signals).await,
        }
    }
}

/// Shows the output as the log has it, so that nothing of it is missed, and passes input on.
async fn piped(
    follow: &Follow<'_>,
    id: &ReplicaId,
    signals: &mut Interrupts,
) -> Result<i32, Failure> {
    let feeding = async {
        match follow.client.attach(id).await {
            Ok(session) => session::feed(session).await?,
            // It has ended already: it did not want any input.
            Err(error) if error.kind() == ErrorKind::WrongPhase => {}
            Err(error) => return Err(error.into()),
        }
        std::future::pending::<Result<i32, Failure>>().await
    };
    tokio::select! {
        ended = session::to_the_end(follow, signals) => ended,
        failed = feeding => failed,
    }
}

/// Hands the terminal over until the copy has ended.
async fn on_terminal(
    follow: &Follow<'_>,
    id: &ReplicaId,
    signals: &mut Interrupts,
) -> Result<i32, Failure> {
    let mut session = match follow.client.attach(id).await {
        Ok(session) => session,
        Err(error) if error.kind() == ErrorKind::WrongPhase => {
            return session::to_the_end(follow, signals).await;
        }
        Err(error) => return Err(error.into()),
    };
    let mut carrier = Carrier::new(true, None)?;
    if let Some((columns, rows)) = terminal::size() {
        session.resize(columns, rows).await?;
    }
    match carrier.carry(session.as_mut(), follow.app, signals).await? {
        Ended::Exited(code) => Ok(code),
        Ended::Detached => Ok(0),
        Ended::Signal(signal) => {
            drop(carrier);
            let run = crate::change::told(&|_| {});
            follow.client.stop(&follow.selector, None, run).await?;
            Err(Failure::Interrupted(signal, None))
        }
    }
}
