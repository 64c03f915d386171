//! What a case is, and how it can end.

use std::fmt;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use unmoor_core::Error;
use unmoor_core::backend::Feature;

use crate::fixture::Fixture;

/// How the body of a case ends.
pub type Verdict = Result<(), Failure>;

/// Why a case did not hold, or could not be tried.
#[derive(Debug)]
pub enum Failure {
    /// The claim is wrong here.
    Failed(String),
    /// The claim could not be tried here.
    Skipped(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(format!("{error:?}"))
    }
}

impl From<unmoor_core::name::NameError> for Failure {
    fn from(error: unmoor_core::name::NameError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

/// The body of a case.
pub(crate) type Body = for<'a> fn(&'a Fixture) -> BoxFuture<'a, Verdict>;

/// One claim about every backend, and how it is tried.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name, unique in the suite.
    pub name: &'static str,
    /// The operation it is about.
    pub operation: &'static str,
    /// What must hold.
    pub claim: &'static str,
    /// It is tried only where all of these are supported.
    pub needs: &'static [Feature],
    pub(crate) body: Body,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "lowercase")]
pub enum Outcome {
    /// The claim holds.
    Pass,
    /// It does not.
    Fail(String),
    /// It was not tried.
    Skip(String),
    /// It does not hold, as is known.
    Xfail(String),
}

impl Outcome {
    /// The outcome in one word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "fail",
            Self::Skip(_) => "skip",
            Self::Xfail(_) => "xfail",
        }
    }

    /// Why, if it is not a pass.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Pass => None,
            Self::Fail(reason) | Self::Skip(reason) | Self::Xfail(reason) => Some(reason),
        }
    }
}

/// Declares the cases of one file: the operation, then name, claim and needs of each.
macro_rules! cases {
    ($operation:literal; $($(#[doc = $claim:literal])+ $name:ident [$($need:ident),* $(,)?];)+) => {
        /// The cases of this file.
        pub(super) fn cases() -> Vec<$crate::case::Case> {
            vec![$($crate::case::Case {
                name: stringify!($name),
                operation: $operation,
                claim: concat!($($claim),+).trim_ascii(),
                needs: &[$(unmoor_core::backend::Feature::$need),*],
                body: |t| Box::pin($name(t)),
            }),+]
        }
    };
}

/// Fails the case unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::case::Failure::Failed(format!($($message)+)));
        }
    };
}

/// Fails the case unless both are equal.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($message:tt)+) => {
        match (&$left, &$right) {
            (left, right) => {
                if left != right {
                    let what = format!($($message)+);
                    return Err($crate::case::Failure::Failed(
                        format!("{what}: {left:?} is not {right:?}")));
                }
            }
        }
    };
}

pub(crate) use {cases, ensure, ensure_eq};
