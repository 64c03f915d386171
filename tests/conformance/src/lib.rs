//! The conformance suite: named claims that every backend must keep, and what came of trying them.
//!
//! ```text
//! run(backend, options) ─▶ Case (needs, claim, body) ─▶ Fixture (Client, probe, names of its own)
//!          │                                                └▶ services that run the probe
//!          └▶ Report ─▶ text, HTML, JSON, JUnit, docs/matrix.{json,md}
//! ```
//!
//! A case needs features and skips where they are missing; nothing in a case names a backend. What
//! is claimed is looked at from outside or from inside a service by the probe, a small static
//! program, never in our own records alone. After each case its stacks are taken down, and what is
//! left of them fails the case.

mod case;
mod cases;
mod dial;
mod disown;
mod fixture;
mod grid;
mod image;
mod load;
mod matrix;
mod report;
mod run;

pub use case::{Case, Failure, Outcome, Verdict};
pub use dial::{Dial, Sockets};
pub use disown::Disown;
pub use fixture::{Fixture, Output, PATIENCE};
pub use grid::{Kind, Place, Row, grid};
pub use matrix::{Entry, Matrix};
pub use report::{CaseResult, Evidence, Format, Report};
pub use run::{Options, run, select};

/// The program that runs inside services, for those who bring it to a platform themselves; empty
/// where it could not be built.
#[must_use]
pub fn probe_program() -> &'static [u8] {
    image::PROBE
}

/// Every case there is.
#[must_use]
pub fn all_cases() -> Vec<Case> {
    cases::all()
}
