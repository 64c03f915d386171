//! Secrets and configs: their content in private files, their fingerprints on record.

use unmoor_core::backend::Applied;
use unmoor_core::name::StackName;
use unmoor_core::spec::{BlobId, SecretBytes};

use super::Runtime;
use crate::error::LocalError;
use crate::failpoint::failpoint;
use crate::state::{
    Durability, blobs, make_private_dir, remove_file, remove_if_empty, write_private,
};

impl Runtime {
    /// Stores a secret or config.
    pub(crate) fn ensure_blob(
        &self,
        stack: &StackName,
        id: &BlobId,
        content: &SecretBytes,
    ) -> Result<Applied, LocalError> {
        let fingerprint = content.fingerprint();
        let known = self
            .db()
            .read("read secrets and configs", |c| blobs::load(c, stack, id))?;
        let path = self.layout().blob(stack, id);
        if known.as_ref() == Some(&fingerprint) && path.is_file() {
            return Ok(Applied::Unchanged);
        }
        if let Some(folder) = path.parent() {
            make_private_dir(folder)?;
        }
        write_private(&path, content.reveal())?;
        failpoint("blob.written");
        let store = |c: &_| blobs::store(c, stack, id, &fingerprint);
        self.db()
            .write("record a secret or config", Durability::Power, store)?;
        Ok(Applied::Changed)
    }

    /// The content of a secret or config.
    pub(super) fn blob(&self, stack: &StackName, id: &BlobId) -> Result<Vec<u8>, LocalError> {
        let path = self.layout().blob(stack, id);
        std::fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                LocalError::NotFound(format!("{} `{}`", id.kind.as_str(), id.name))
            }
            _ => LocalError::io("read", &path, source),
        })
    }

    /// Forgets a secret or config; absent is success.
    pub(crate) fn remove_blob(
        &self,
        stack: &StackName,
        id: &BlobId,
    ) -> Result<Applied, LocalError> {
        let known = self
            .db()
            .read("read secrets and configs", |c| blobs::load(c, stack, id))?;
        if known.is_none() {
            return Ok(Applied::Unchanged);
        }
        let path = self.layout().blob(stack, id);
        remove_file(&path)?;
        failpoint("blob.removed");
        let forget = |c: &_| blobs::remove(c, stack, id);
        self.db()
            .write("forget a secret or config", Durability::Power, forget)?;
        if let Some(folder) = path.parent() {
            remove_if_empty(folder);
        }
        Ok(Applied::Changed)
    }
}
