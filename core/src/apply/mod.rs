//! Carrying out a plan: in order, as parallel as it allows, with undo and progress.

mod run;
mod wait;

pub use run::{OnProgress, Outcome, Progress, Report, RunOptions, run};
