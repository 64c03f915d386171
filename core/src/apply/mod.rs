//! Carrying out a plan: in order, as parallel as it allows, with undo and progress.

mod gate;
mod last_words;
mod monitor;
mod run;
mod state;
mod wait;

pub(crate) use gate::Gate;
pub(crate) use run::run_plan;
pub use run::{OnProgress, Outcome, Progress, Report, RunOptions, run};
pub(crate) use state::Failed;
