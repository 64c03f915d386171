//! The command line `unmoor`: arguments, one library call, output.

mod app;
mod args;
mod attach;
mod change;
#[cfg(test)]
mod compared;
mod complete;
mod config;
mod detach;
mod examples;
mod exit;
mod interrupt;
mod making;
mod output;
mod project;
mod refuse;
mod select;
mod session;
mod sys;
mod terminal;
mod time;
mod verbs;
mod view;

use std::process::ExitCode;

use app::App;
use exit::Failure;

fn main() -> ExitCode {
    // Asked by a shell that completes a word, this answers and ends.
    clap_complete::CompleteEnv::with_factory(args::command)
        .var(verbs::completion::VARIABLE)
        .complete();
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(answer) => return exit::parsed(&answer),
    };
    let (globals, command) = (cli.globals, cli.command);
    let app = App::new(globals);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return exit::finish(Err(Failure::System("start", error)), &app.ui),
    };
    let outcome = runtime.block_on(verbs::run(command, &app));
    // A read of the terminal that nobody waits for any more must not keep the program.
    runtime.shutdown_background();
    exit::finish(outcome, &app.ui)
}
