//! `exec`: a command inside a running replica, with its exit code as ours.

use unmoor::backend::{ExecOptions, Feature};
use unmoor::name::ServiceName;

use crate::app::App;
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::refuse::refused;
use crate::verbs::Outcome;
use crate::{select, session, terminal};

/// Run a command inside a running replica of a service.
///
/// It gets a terminal if this is one. Its exit code is passed on; 125 is a failure of the backend,
/// 126 a program that cannot be executed, 127 one that is not there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// No terminal
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    no_tty: bool,
    /// Keep standard input open; always so, taken for those who are used to it
    #[arg(short, long)]
    interactive: bool,
    /// A terminal; an error if this is none
    #[arg(short, long, conflicts_with = "no_tty")]
    tty: bool,
    /// User, as `name`, `uid` or `uid:gid`
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Variable, as `NAME=value`, or `NAME` for the value here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Which replica, counted from 1
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// Return once it is started; what it writes is dropped, and it ends with its replica at last
    #[arg(short, long)]
    detach: bool,
    /// Refused: a command never gets more rights than its replica
    #[arg(long, hide_short_help = true)]
    privileged: bool,
    /// The service
    #[arg(add = crate::complete::of_services())]
    service: ServiceName,
    /// Program and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Args {
    fn refuse(&self) -> Result<(), Failure> {
        if self.privileged {
            let why = "a command never gets more rights than its replica";
            let instead = "give the service `cap_add`, or `privileged: true`";
            return Err(refused("--privileged", why, instead));
        }
        Ok(())
    }

    fn options(&self) -> Result<ExecOptions, Failure> {
        let interactive = terminal::is_interactive() && !self.detach;
        if self.tty && !interactive && !self.detach {
            return Err(Failure::Usage(
                "-t needs a terminal on standard input and output".to_owned(),
            ));
        }
        let tty = (interactive && !self.no_tty).then(|| terminal::size().unwrap_or((80, 24)));
        let mut options = ExecOptions::new(self.command.clone())
            .stdin(!self.detach)
            .tty(tty)
            .user(self.user.clone())
            .working_dir(self.workdir.clone());
        if tty.is_some() {
            let kind = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
            options = options.env("TERM", kind);
        }
        for (name, value) in session::variables(&self.env) {
            options = options.env(name, value);
        }
        Ok(options)
    }
}

pub(crate) async fn run(args: Args, app: &App, signals: &mut Interrupts) -> Outcome {
    args.refuse()?;
    let options = args.options()?;
    let stack = app.stack_name()?;
    let begin = async {
        let client = app.connect().await?;
        session::need(&client, Feature::Exec)?;
        if options.tty.is_some() {
            session::need(&client, Feature::ExecTty)?;
        }
        let replica = select::awake(app, (&client, &stack), &args.service, args.index).await?;
        if app.is_dry() {
            return Ok(None);
        }
        if args.detach {
            client.exec_detached(&replica, &options).await?;
            return Ok(Some(None));
        }
        Ok(Some(Some(client.exec(&replica, &options).await?)))
    };
    match signals.guard(begin).await? {
        Some(Some(session)) => session::carry(session, app, options.tty.is_some(), signals).await,
        Some(None) => Ok(Code::DONE),
        None => app.would([format!(
            "run `{}` in {}",
            args.command.join(" "),
            args.service
        )]),
    }
}
