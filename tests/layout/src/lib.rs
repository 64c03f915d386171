//! Reading the repository: its files, its Rust sources, its documents, its dependencies.
//!
//! The rules themselves are the tests beside this library.

pub mod cargo;
pub mod files;
pub mod markdown;
pub mod source;

/// Fails with every problem at once, so that one run shows all of them.
///
/// # Panics
/// When there is a problem.
pub fn expect_none(problems: &[String], rule: &str) {
    assert!(
        problems.is_empty(),
        "{rule}:\n  {}\n",
        problems.join("\n  ")
    );
}
