//! `attach`: the streams of a replica's own program, joined to this terminal or these pipes.

use unmoor::backend::Feature;
use unmoor::label::Selector;
use unmoor::name::ServiceName;
use unmoor::signal::Signal;

use crate::app::App;
use crate::change::told;
use crate::detach::DetachKeys;
use crate::exit::Code;
use crate::interrupt::{Interrupts, Signal as Interrupt};
use crate::session::{Carrier, Ended};
use crate::verbs::Outcome;
use crate::{select, session, terminal};

/// Join the streams of a running replica: its output from now on, and its input if it has one.
///
/// Its exit code is passed on. Signals are passed to it; the detach keys leave it running.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keys that leave it running
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// Which replica, counted from 1
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// Pass no input on
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on; without, they end the session and leave the program alone
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    sig_proxy: bool,
    /// The service
    #[arg(add = crate::complete::of_services())]
    service: ServiceName,
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    let stack = app.stack_name()?;
    let begin = async {
        let client = app.connect().await?;
        session::need(&client, Feature::Attach)?;
        let replica = select::running(app, (&client, &stack), &args.service, args.index).await?;
        let wanted = client.record(&stack).await?.effective(&stack);
        let tty = wanted
            .services
            .get(&args.service)
            .is_some_and(|service| service.tty);
        if app.is_dry() {
            return Ok(None);
        }
        let session = client.attach(&replica).await?;
        Ok(Some((client, replica, tty, session)))
    };
    let Some((client, replica, tty, mut session)) = signals.guard(begin).await? else {
        return app.would([format!("attach to {}", args.service)]);
    };
    let tty = tty && terminal::is_interactive() && !args.no_stdin;
    // Only a terminal has keys; what comes through a pipe is passed on whatever it holds.
    let mut carrier = Carrier::new(tty, tty.then_some(args.detach_keys))?;
    if args.no_stdin {
        carrier = carrier.without_input();
    }
    if tty && let Some((columns, rows)) = terminal::size() {
        session.resize(columns, rows).await?;
    }
    loop {
        match carrier.carry(session.as_mut(), app, signals).await? {
            Ended::Exited(code) => return Ok(Code::of_child(code)),
            Ended::Detached => return Ok(Code::DONE),
            Ended::Signal(signal) if args.sig_proxy => {
                let selector = Selector::replica(&replica);
                client
                    .signal(&selector, passed_on(signal), told(&|_| {}))
                    .await?;
            }
            Ended::Signal(signal) => return Err(crate::exit::Failure::Interrupted(signal, None)),
        }
    }
}

fn passed_on(signal: Interrupt) -> Signal {
    let name = match signal {
        Interrupt::Interrupt => "INT",
        Interrupt::Terminate => "TERM",
        Interrupt::HangUp => "HUP",
    };
    Signal::parse(name).unwrap_or(Signal::TERM)
}
