//! What can be said on the command line: the options before the verb, and the verbs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::ArgValueCompleter;
use unmoor::name::ServiceName;

use crate::{complete, examples, verbs};

const EXAMPLES: &str = "Examples:
  unmoor up -d --wait            start the stack of ./compose.yaml and wait until it serves
  unmoor ps                      what runs
  unmoor logs -f web             follow what one service writes
  unmoor exec web sh             a shell inside
  unmoor scale web=3             more of one service
  unmoor plan                    what `up` would change, and why
  unmoor cp web:/etc/nginx .     files out of a replica, or into one
  unmoor up --dry-run            the whole way through, with nothing changed
  unmoor -p shop down            take a stack down by its name, without its file

Exit codes: 0 done, 1 failed, 64 wrong use, 130 interrupted (143 by SIGTERM), 141 nobody reads
the output; `exec` and `run` pass on the command's own code, 125 if the backend failed,
126 not executable, 127 not found; `plan --detailed-exitcode` and `drift --exit-code` 2 if
there is something to change.";

/// Spawn, link and discover services the same way on every platform.
#[derive(Debug, Parser)]
#[command(name = "unmoor", version, before_long_help = EXAMPLES, before_help = EXAMPLES)]
#[command(max_term_width = 100, infer_long_args = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be said, with the examples of every verb.
pub(crate) fn command() -> clap::Command {
    examples::shown(Cli::command())
}

/// What was said.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Options that come before the verb.
#[derive(Debug, Clone, Args)]
pub(crate) struct Globals {
    /// Where to run, as `local:` or `scheme://host/path?key=value` [env: UNMOOR_BACKEND] [default:
    /// the context's]
    #[arg(short, long = "backend", global = true, value_name = "URI")]
    #[arg(add = ArgValueCompleter::new(complete::backends))]
    pub(crate) backends: Vec<String>,
    /// Name of a backend, made by `context create` [env: UNMOOR_CONTEXT]
    #[arg(short, long, value_name = "NAME", conflicts_with = "backends")]
    #[arg(add = ArgValueCompleter::new(complete::contexts))]
    pub(crate) context: Option<String>,
    /// Compose file; repeat it to lay one over the other [env: COMPOSE_FILE]
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Name of the stack [env: COMPOSE_PROJECT_NAME]
    #[arg(short, long, value_name = "NAME", add = complete::of_stacks())]
    pub(crate) project_name: Option<String>,
    /// Directory that relative paths start from [default: that of the first file]
    #[arg(long, value_name = "DIR", alias = "workdir")]
    pub(crate) project_directory: Option<PathBuf>,
    /// File with variables, instead of `.env`; repeatable [env: COMPOSE_ENV_FILES]
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,
    /// Also take the services of this profile; repeatable [env: COMPOSE_PROFILES]
    #[arg(long = "profile", value_name = "NAME", add = complete::of_profiles())]
    pub(crate) profiles: Vec<String>,
    /// How progress is shown on standard error
    #[arg(long, global = true, env = "COMPOSE_PROGRESS", hide_env_values = true)]
    #[arg(value_enum, default_value = "auto", value_name = "HOW")]
    pub(crate) progress: ProgressMode,
    /// Most actions at a time; -1 is no limit
    #[arg(
        long,
        global = true,
        env = "COMPOSE_PARALLEL_LIMIT",
        hide_env_values = true
    )]
    #[arg(value_name = "N", allow_negative_numbers = true)]
    pub(crate) parallel: Option<i64>,
    /// Longest time of one action or question, beside what programs may take to end [default: 2
    /// minutes, 1 minute]
    #[arg(long, global = true, value_name = "SECONDS", hide_short_help = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) deadline: Option<u64>,
    /// Go the whole way and change nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// When to colour
    #[arg(long, global = true, env = "COMPOSE_ANSI", hide_env_values = true)]
    #[arg(value_enum, default_value = "auto", value_name = "WHEN")]
    pub(crate) ansi: Ansi,
    /// Also networks and volumes that no service uses
    #[arg(long)]
    pub(crate) all_resources: bool,
    /// Refused: replicas have names with hyphens only
    #[arg(long, hide_short_help = true)]
    pub(crate) compatibility: bool,
    /// Tell on standard error what is done inside; twice for more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Globals {
    /// As if nothing had been said before the verb.
    pub(crate) fn none() -> Self {
        Self {
            backends: Vec::new(),
            context: None,
            files: Vec::new(),
            project_name: None,
            project_directory: None,
            env_files: Vec::new(),
            profiles: Vec::new(),
            progress: ProgressMode::Auto,
            parallel: None,
            deadline: None,
            dry_run: false,
            ansi: Ansi::Auto,
            all_resources: false,
            compatibility: false,
            verbose: 0,
        }
    }
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Live on a terminal, else plain
    Auto,
    /// One live line a resource
    Tty,
    /// One line a change
    Plain,
    /// One JSON object a change
    Json,
    /// Not at all
    Quiet,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ansi {
    /// Not at all
    Never,
    /// Even into files, unless NO_COLOR is set
    Always,
    /// On terminals
    Auto,
}

/// Services that a verb is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct Services {
    /// Only these services
    #[arg(value_name = "SERVICE", add = complete::of_services())]
    pub(crate) services: Vec<ServiceName>,
}

/// How long a stop may take.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Grace {
    /// Time between stop signal and kill, over what the file says; -1 is no limit
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = grace)]
    timeout: Option<Duration>,
}

/// Longest that is waited for anything: who waits so long waits for ever.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

fn grace(text: &str) -> Result<Duration, String> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(FOR_EVER),
        Ok(seconds) => u64::try_from(seconds)
            .map(|seconds| Duration::from_secs(seconds).min(FOR_EVER))
            .map_err(|_| "use a number of seconds, or -1 for no limit".to_owned()),
        Err(_) => Err("use a number of seconds, or -1 for no limit".to_owned()),
    }
}

impl Grace {
    /// The time, if one was said.
    pub(crate) fn time(self) -> Option<Duration> {
        self.timeout
    }
}

/// How a listing is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON document
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a stack, or bring it to what its file says
    Up(verbs::up::Args),
    /// Take a stack down; its volumes stay
    Down(verbs::down::Args),
    /// List replicas
    Ps(verbs::ps::Args),
    /// Show what replicas wrote
    Logs(verbs::logs::Args),
    /// Run a command inside a replica
    Exec(verbs::exec::Args),
    /// Run a one-off copy of a service
    Run(verbs::run::Args),
    /// Check the file and show what it means
    #[command(alias = "convert")]
    Config(verbs::config::Args),
    /// Show what `up` would change, and why; changes nothing
    Plan(verbs::plan::Args),
    /// Carry out a plan that `plan -o` wrote, if everything is as it was
    Apply(verbs::apply::Args),
    /// Show what was changed on the platform, or put it right
    Drift(verbs::drift::Args),
    /// Take over what is there and was not made by us, as it runs
    Adopt(verbs::adopt::Args),
    /// List the addresses that answer
    Endpoints(verbs::endpoints::Args),
    /// Show everything known about a service or replica
    Inspect(verbs::inspect::Args),
    /// Set how many replicas of services run
    Scale(verbs::scale::Args),
    /// Start what was stopped
    Start(verbs::start::Args),
    /// Stop replicas and keep them; `start` starts them again
    Stop(verbs::stop::Args),
    /// Stop replicas and start them again
    Restart(verbs::stop::Restart),
    /// Send a signal to replicas
    Kill(verbs::kill::Args),
    /// Freeze replicas
    Pause(verbs::pause::Args),
    /// Let frozen replicas go on
    Unpause(verbs::pause::Args),
    /// Remove replicas that have ended
    Rm(verbs::rm::Args),
    /// Make a stack without starting it
    Create(verbs::create::Args),
    /// Give a service another image, number of replicas or variables
    Update(verbs::update::Args),
    /// Bring a service back to what it was before its last change
    Rollback(verbs::rollback::Args),
    /// Where the replacement of replicas stands: pause it, go on, go back
    #[command(subcommand)]
    Rollout(verbs::rollout::Command),
    /// Refused: images are not built yet
    Build(verbs::build::Args),
    /// Fetch the images of services
    Pull(verbs::pull::Args),
    /// Send the images of services to their registries
    Push(verbs::pull::Args),
    /// Copy files into or out of a replica
    Cp(verbs::cp::Args),
    /// Join the streams of a running replica
    Attach(verbs::attach::Args),
    /// Carry changes of files into running replicas
    Watch(verbs::watch::Args),
    /// Wait until replicas have ended
    Wait(verbs::wait::Args),
    /// Tell of changes in the life of replicas
    Events(verbs::events::Args),
    /// List the processes inside replicas
    Top(verbs::top::Args),
    /// Show what replicas use
    Stats(verbs::stats::Args),
    /// Show where a port is published
    Port(verbs::port::Args),
    /// List the images that replicas run on
    Images(verbs::images::Args),
    /// List volumes
    Volumes(verbs::volumes::Args),
    /// List stacks
    Ls(verbs::ls::Args),
    /// Let one service reach another by a name
    Link(verbs::link::Args),
    /// Remove a link that was made by hand
    Unlink(verbs::unlink::Args),
    /// Check what backends can do of the file, field by field
    Check(verbs::check::Args),
    /// Images of the backend
    #[command(subcommand)]
    Image(verbs::image::Command),
    /// Names for backends
    #[command(subcommand)]
    Context(verbs::context::Command),
    /// What the backend holds as a whole
    #[command(subcommand)]
    System(verbs::system::Command),
    /// Print what makes a shell complete words
    Completion(verbs::completion::Args),
    /// Write the manual pages
    Man(verbs::completion::Man),
    /// Refused: replicas do not become images
    #[command(hide = true)]
    Commit(verbs::refused::Args),
    /// Refused: `cp` does that
    #[command(hide = true)]
    Export(verbs::refused::Args),
    /// Refused: Compose files are not stored in registries
    #[command(hide = true)]
    Publish(verbs::refused::Args),
    /// Refused: Compose files are not translated
    #[command(hide = true)]
    Bridge(verbs::refused::Args),
    /// Backends that this program can reach
    Backends(verbs::backends::Args),
    /// What the backend can do
    Capabilities(verbs::capabilities::Args),
    /// Check a backend against what every backend promises
    #[cfg(feature = "conformance")]
    Conformance(verbs::conformance::Args),
    /// Show the version
    Version(verbs::version::Args),
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_words_mean_the_same() {
        super::command().debug_assert();
    }
}
