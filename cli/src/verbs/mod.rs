//! One file a verb: from its arguments to one call of the library, and its answer to the output.

pub(crate) mod adopt;
pub(crate) mod apply;
pub(crate) mod attach;
pub(crate) mod backends;
pub(crate) mod build;
pub(crate) mod capabilities;
pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod config;
#[cfg(feature = "conformance")]
pub(crate) mod conformance;
pub(crate) mod context;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod down;
pub(crate) mod drift;
pub(crate) mod endpoints;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod link;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod pause;
pub(crate) mod plan;
pub(crate) mod port;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod refused;
pub(crate) mod rm;
pub(crate) mod rollback;
pub(crate) mod rollout;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod system;
pub(crate) mod top;
pub(crate) mod unlink;
pub(crate) mod up;
pub(crate) mod update;
pub(crate) mod version;
pub(crate) mod volumes;
pub(crate) mod wait;
pub(crate) mod watch;

use crate::app::App;
use crate::args::Command;
use crate::exit::{Code, Failure};
use crate::interrupt::Interrupts;
use crate::output::while_read;
use crate::refuse;

/// What a verb comes to.
pub(crate) type Outcome = Result<Code, Failure>;

/// Runs a verb. Those that change something look at signals themselves; a read just ends.
pub(crate) async fn run(command: Command, app: &App) -> Outcome {
    if app.globals.compatibility {
        let why = "it would give replicas names with underscores";
        return Err(refuse::refused("--compatibility", why, "leave it out"));
    }
    let mut signals = Interrupts::listen()?;
    match command {
        Command::Up(args) => up::run(args, app, &mut signals).await,
        Command::Down(args) => down::run(args, app, &mut signals).await,
        Command::Exec(args) => exec::run(args, app, &mut signals)
            .await
            .map_err(Failure::of_engine),
        Command::Run(args) => run::run(args, app, &mut signals)
            .await
            .map_err(Failure::of_engine),
        Command::Scale(args) => scale::run(args, app, &mut signals).await,
        Command::Start(args) => start::run(args, app, &mut signals).await,
        Command::Stop(args) => stop::stop(args, app, &mut signals).await,
        Command::Restart(args) => stop::restart(args, app, &mut signals).await,
        Command::Rm(args) => rm::run(args, app, &mut signals).await,
        Command::Link(args) => link::run(args, app, &mut signals).await,
        Command::Unlink(args) => unlink::run(args, app, &mut signals).await,
        Command::Image(command) => image::run(command, app, &mut signals).await,
        Command::System(command) => system::run(command, app, &mut signals).await,
        other => further(other, app, &mut signals).await,
    }
}

/// Verbs that change replicas one by one, or images.
async fn further(command: Command, app: &App, signals: &mut Interrupts) -> Outcome {
    match command {
        Command::Kill(args) => kill::run(args, app, signals).await,
        Command::Pause(args) => pause::pause(args, app, signals).await,
        Command::Unpause(args) => pause::unpause(args, app, signals).await,
        Command::Create(args) => create::run(args, app, signals).await,
        Command::Update(args) => update::run(args, app, signals).await,
        Command::Apply(args) => apply::run(args, app, signals).await,
        Command::Adopt(args) => adopt::run(args, app, signals).await,
        Command::Drift(args) => drift::run(args, app, signals).await,
        Command::Rollback(args) => rollback::run(args, app, signals).await,
        Command::Rollout(command) => rollout::run(command, app, signals).await,
        Command::Pull(args) => pull::run(args, pull::Way::Pull, app, signals).await,
        Command::Push(args) => pull::run(args, pull::Way::Push, app, signals).await,
        Command::Attach(args) => attach::run(args, app, signals).await,
        Command::Watch(args) => watch::run(args, app, signals).await,
        other => signals.guard(read(other, app)).await,
    }
}

async fn read(command: Command, app: &App) -> Outcome {
    match command {
        Command::Ps(args) => ps::run(args, app).await,
        Command::Logs(args) => while_read(logs::run(args, app)).await,
        Command::Config(args) => config::run(&args, app),
        Command::Build(args) => build::run(&args, app),
        Command::Commit(_) => refused::commit(),
        Command::Export(_) => refused::export(),
        Command::Publish(_) => refused::publish(),
        Command::Bridge(_) => refused::bridge(),
        Command::Plan(args) => plan::run(args, app).await,
        Command::Endpoints(args) => while_read(endpoints::run(args, app)).await,
        Command::Inspect(args) => inspect::run(args, app).await,
        Command::Ls(args) => ls::run(args, app).await,
        Command::Backends(args) => backends::run(args, app).await,
        Command::Capabilities(args) => capabilities::run(args, app).await,
        #[cfg(feature = "conformance")]
        Command::Conformance(args) => conformance::run(args, app).await,
        Command::Version(args) => version::run(&args, app),
        Command::Cp(args) => cp::run(args, app).await,
        Command::Wait(args) => while_read(wait::run(args, app)).await,
        Command::Events(args) => while_read(events::run(args, app)).await,
        Command::Top(args) => top::run(args, app).await,
        Command::Stats(args) => while_read(stats::run(args, app)).await,
        Command::Port(args) => port::run(args, app).await,
        Command::Images(args) => images::run(args, app).await,
        Command::Volumes(args) => volumes::run(args, app).await,
        Command::Check(args) => check::run(args, app).await,
        Command::Context(command) => context::run(command, app),
        Command::Completion(args) => completion::run(&args, app),
        Command::Man(args) => completion::man(&args, app),
        changing => unreachable!("`run` handles {changing:?}"),
    }
}
