//! Errors of the shim: which step failed on what, with the kernel's answer.

use core::fmt::Display;

use crate::net::NetError;
use crate::sys::{self, Errno};
use crate::wire::report::Failure;

/// What a step of the shim's work gives.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Exit code of a start that failed before the program was looked for.
pub(crate) const EXIT_SETUP: i32 = 125;
/// Exit code when the program cannot be executed.
pub(crate) const EXIT_NOT_EXECUTABLE: i32 = 126;
/// Exit code when the program is not there.
pub(crate) const EXIT_NOT_FOUND: i32 = 127;

/// Names the step that a system call belongs to.
pub(crate) trait Step<T> {
    /// On an error: `step` failed on `detail`.
    fn step(self, step: &str, detail: impl Display) -> Outcome<T>;
}

impl<T> Step<T> for sys::Result<T> {
    fn step(self, step: &str, detail: impl Display) -> Outcome<T> {
        self.map_err(|errno| failure(step, errno, detail))
    }
}

impl<T> Step<T> for Result<T, NetError> {
    fn step(self, step: &str, detail: impl Display) -> Outcome<T> {
        self.map_err(|error| {
            let detail = format!("{detail}{}{}", separator(&detail), error.what);
            failure(step, Errno(error.errno), detail)
        })
    }
}

fn separator(detail: &impl Display) -> &'static str {
    if detail.to_string().is_empty() {
        ""
    } else {
        ": "
    }
}

/// A step that the kernel refused.
pub(crate) fn failure(step: &str, errno: Errno, detail: impl Display) -> Failure {
    let detail = detail.to_string();
    Failure {
        step: step.to_owned(),
        errno: errno.0,
        detail,
        exit_code: EXIT_SETUP,
    }
}

/// A step that we refuse.
pub(crate) fn refuse(step: &str, detail: impl Display) -> Failure {
    failure(step, Errno(0), detail)
}
