//! Names of entries, checked before anything is done with them.

use crate::error::LayerProblem;
use crate::limits::Limits;

/// A path inside a tree: relative, without `.` and `..`, bounded; empty means the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TreePath(Vec<u8>);

impl TreePath {
    /// Reads an archive's name. A leading slash or `./` means nothing; `..` is refused.
    pub(crate) fn parse(name: &[u8], limits: &Limits) -> Result<Self, LayerProblem> {
        if name.len() > limits.path_bytes {
            return Err(LayerProblem::limit(format!(
                "its path has {} bytes, more than the {} allowed",
                name.len(),
                limits.path_bytes
            )));
        }
        let mut path = Vec::with_capacity(name.len());
        let mut depth = 0;
        for part in name.split(|b| *b == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err(LayerProblem::refused("its path has a .. part")),
                _ => {}
            }
            check_part(part)?;
            depth += 1;
            if depth > 1 {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        if depth > limits.path_depth {
            return Err(LayerProblem::limit(format!(
                "its path is {depth} directories deep, more than the {} allowed",
                limits.path_depth
            )));
        }
        Ok(Self(path))
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory and the name in it; nothing for the root.
    pub(crate) fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.is_root() {
            return None;
        }
        match self.0.iter().rposition(|b| *b == b'/') {
            Some(slash) => Some((&self.0[..slash], &self.0[slash + 1..])),
            None => Some((b"", &self.0)),
        }
    }

    /// The same directory with another last part.
    pub(crate) fn with_name(&self, name: &[u8]) -> Result<Self, LayerProblem> {
        check_part(name)?;
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
            return Err(LayerProblem::refused("it names no entry of its directory"));
        }
        let mut path = self.parent().0;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Ok(Self(path))
    }

    pub(crate) fn parent(&self) -> Self {
        Self(
            self.split()
                .map(|(parent, _)| parent.to_vec())
                .unwrap_or_default(),
        )
    }
}

fn check_part(part: &[u8]) -> Result<(), LayerProblem> {
    if part.len() > 255 {
        return Err(LayerProblem::limit(
            "a part of its path has more than 255 bytes",
        ));
    }
    if part.contains(&0) {
        return Err(LayerProblem::refused("its path has a NUL byte"));
    }
    Ok(())
}
