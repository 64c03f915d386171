//! The names by which a layer hides what lies below it.

use super::path::TreePath;
use crate::error::LayerProblem;

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const RESERVED: &[u8] = b".wh..wh.";

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// An ordinary entry.
    Plain,
    /// This name of the layers below is hidden.
    Hides(TreePath),
    /// Everything the layers below have in this directory is hidden.
    HidesAll(TreePath),
    /// Bookkeeping of an old union file system, of no use to anyone else.
    Reserved,
}

/// Reads the whiteout convention out of a path.
pub(crate) fn meaning(path: &TreePath) -> Result<Meaning, LayerProblem> {
    let Some((parent, name)) = path.split() else {
        return Ok(Meaning::Plain);
    };
    let mut above = parent.split(|b| *b == b'/');
    if above.clone().any(|part| part.starts_with(RESERVED)) {
        return Ok(Meaning::Reserved);
    }
    if above.any(|part| part.starts_with(PREFIX)) {
        return Err(LayerProblem::refused("it lies beneath a whiteout"));
    }
    if name == OPAQUE {
        return Ok(Meaning::HidesAll(path.parent()));
    }
    if name.starts_with(RESERVED) {
        return Ok(Meaning::Reserved);
    }
    let Some(hidden) = name.strip_prefix(PREFIX) else {
        return Ok(Meaning::Plain);
    };
    let hidden = path
        .with_name(hidden)
        .map_err(|_| LayerProblem::refused("it is a whiteout of nothing a directory can hold"))?;
    Ok(Meaning::Hides(hidden))
}
