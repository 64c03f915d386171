//! Directories under watch, on systems of which the way to do so is not known here yet.

use std::collections::BTreeSet;
use std::path::PathBuf;

use unmoor::{Error, ErrorKind};

use super::rules::Rule;
use crate::exit::Failure;

/// Directories under watch: there are none.
#[derive(Debug)]
pub(super) struct Tree(std::convert::Infallible);

impl Tree {
    /// Refuses.
    pub(super) fn open(_: &[Rule]) -> Result<Self, Failure> {
        let text = "files are watched on Linux only";
        Err(Error::new(ErrorKind::Unsupported, text)
            .hint("copy them with `unmoor cp`")
            .into())
    }

    /// Never called.
    pub(super) async fn changed(&mut self, _: &[Rule]) -> Result<BTreeSet<PathBuf>, Failure> {
        match self.0 {}
    }
}
