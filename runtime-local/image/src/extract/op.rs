//! What an unpacked layer consists of: checked operations, the only thing the applier sees.

use super::path::TreePath;
use crate::error::LayerProblem;

/// Extended attributes: names and values.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Owner, permissions, time and attributes of one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime_s: i64,
    pub(crate) mtime_ns: u32,
    pub(crate) xattrs: Xattrs,
}

/// One step of building a tree.
#[derive(Debug)]
pub(crate) enum Op<'a> {
    /// Make a directory, or give an existing one this metadata.
    Dir { path: TreePath, meta: Meta },
    /// Begin a regular file; `Data` and one `EndFile` follow.
    File { path: TreePath, meta: Meta },
    /// Bytes of the file begun last.
    Data(&'a [u8]),
    /// The file begun last is complete.
    EndFile,
    /// Make a symbolic link; the target is only text.
    Symlink {
        path: TreePath,
        target: Vec<u8>,
        meta: Meta,
    },
    /// Give an entry of the same tree another name.
    Hardlink { path: TreePath, target: TreePath },
    /// Make a named pipe.
    Fifo { path: TreePath, meta: Meta },
    /// Hide this name of the layers below.
    Whiteout { path: TreePath },
    /// Hide everything the layers below have in this directory.
    Opaque { dir: TreePath },
}

/// Whoever carries the operations out.
pub(crate) trait Sink {
    fn apply(&mut self, op: Op<'_>) -> Result<(), LayerProblem>;
}
