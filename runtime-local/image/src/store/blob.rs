//! Blobs: written under their digest only after every byte was checked against it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use unmoor_core::image::{Digest, DigestAlgorithm};

use super::lock::{Hold, Lock};
use super::{Store, StoredImage};
use crate::error::{ImageError, IoContext};
use crate::hash::{Hasher, HashingWriter, digest_like};
use crate::manifest::Descriptor;

const COPY_BUFFER: usize = 256 << 10;

/// A blob on its way into the store; nobody else receives the same one meanwhile.
///
/// What arrived stays for a later attempt unless it turns out to be wrong.
#[derive(Debug)]
pub struct Incoming {
    store: Store,
    wanted: Digest,
    size: u64,
    what: String,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    received: u64,
    _lock: Lock,
    _hold: Hold,
}

impl Store {
    /// Begins or resumes receiving a blob; nothing if the store has it.
    ///
    /// Waits while another thread or process receives the same blob.
    pub fn incoming(&self, wanted: &Descriptor) -> Result<Option<Incoming>, ImageError> {
        if self.has_blob(&wanted.digest, wanted.size) {
            return Ok(None);
        }
        let hold = self.hold()?;
        let name = format!(
            "{}-{}",
            wanted.digest.algorithm().as_str(),
            wanted.digest.hex()
        );
        let lock = self.lock(&format!("blob-{name}"))?;
        if self.has_blob(&wanted.digest, wanted.size) {
            return Ok(None);
        }
        let path = self.dir("partial").join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .at("open", &path)?;
        let mut incoming = Incoming {
            store: self.clone(),
            wanted: wanted.digest.clone(),
            size: wanted.size,
            what: format!("blob {}", wanted.digest),
            path,
            file,
            hasher: Hasher::like(&wanted.digest),
            received: 0,
            _lock: lock,
            _hold: hold,
        };
        incoming.rehash()?;
        Ok(Some(incoming))
    }

    /// Whether a blob of this digest and size is stored.
    pub fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob_path(digest)).is_ok_and(|known| known.len() == size)
    }

    /// Stores what can be read from `source`, whatever it is, and tells its digest and size.
    pub(crate) fn put(&self, source: &mut dyn Read) -> Result<(Digest, u64), ImageError> {
        let most = self.limits().blob_bytes;
        self.put_with(|target| {
            if copy(source, target, most).at("copy to", self.path())? > most {
                let problem = format!("it has more than {most} bytes");
                return Err(ImageError::document("content to store", problem));
            }
            Ok(())
        })
    }

    /// Stores what `fill` writes, and tells its digest and size.
    pub(crate) fn put_with(
        &self,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
    ) -> Result<(Digest, u64), ImageError> {
        let _hold = self.hold()?;
        let temporary = self.temporary("blob");
        let file = File::create_new(&temporary).at("create", &temporary)?;
        let result = self.put_through(file, &temporary, fill);
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result
    }

    fn put_through(
        &self,
        file: File,
        temporary: &Path,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), ImageError>,
    ) -> Result<(Digest, u64), ImageError> {
        let mut hashing = HashingWriter::new(file, Hasher::new(DigestAlgorithm::Sha256));
        let mut writer = io::BufWriter::with_capacity(COPY_BUFFER, &mut hashing);
        fill(&mut writer)?;
        writer.flush().at("write", temporary)?;
        drop(writer);
        let (_, digest, size) = hashing.finish();
        let path = self.blob_path(&digest);
        fs::rename(temporary, &path).at("put in place", &path)?;
        Ok((digest, size))
    }

    /// Stores a document and makes it survive a power failure.
    pub(crate) fn put_document(&self, content: &[u8]) -> Result<Digest, ImageError> {
        let digest = Digest::sha256_of(content);
        self.put_document_as(content, &digest)?;
        Ok(digest)
    }

    /// Stores a document that hashes to `digest`, as the caller has checked.
    pub(crate) fn put_document_as(
        &self,
        content: &[u8],
        digest: &Digest,
    ) -> Result<(), ImageError> {
        let _hold = self.hold()?;
        if self.has_blob(digest, content.len() as u64) {
            return Ok(());
        }
        self.write_file(&self.blob_path(digest), content)
    }

    /// Opens a stored blob.
    pub(crate) fn open_blob(&self, digest: &Digest, what: &str) -> Result<File, ImageError> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ImageError::BlobMissing {
                digest: digest.clone(),
                what: what.to_owned(),
            }),
            result => result.at("open", &path),
        }
    }

    /// Reads a stored document and proves that it is still what its digest says.
    pub(crate) fn document(&self, digest: &Digest, what: &str) -> Result<Vec<u8>, ImageError> {
        let most = self.limits().document_bytes;
        let mut content = Vec::new();
        let file = self.open_blob(digest, what)?;
        file.take(most + 1)
            .read_to_end(&mut content)
            .at("read", self.blob_path(digest))?;
        let found = digest_like(digest, &content);
        if found != *digest {
            let what = what.to_owned();
            return Err(ImageError::DigestMismatch {
                what,
                wanted: digest.clone(),
                found,
            });
        }
        Ok(content)
    }

    /// Removes a blob that turned out to be damaged, so that it can be fetched again.
    pub(super) fn discard_blob(&self, digest: &Digest) {
        let _ = fs::remove_file(self.blob_path(digest));
    }

    /// A stored layer as it was transferred.
    pub fn open_layer(&self, image: &StoredImage, index: usize) -> Result<File, ImageError> {
        let layer = image.layer_descriptors.get(index).ok_or_else(|| {
            ImageError::document(
                image.reference.familiar(),
                format!("it has no layer {index}"),
            )
        })?;
        self.open_blob(&layer.digest, &image.reference.familiar())
    }
}

impl Incoming {
    /// How many bytes are here already.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes there should be in the end.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next bytes; refuses the first one too many.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let received = self.received + bytes.len() as u64;
        if received > self.size {
            self.forget();
            return Err(self.wrong_size(received));
        }
        self.file.write_all(bytes).at("write", &self.path)?;
        self.hasher.update(bytes);
        self.received = received;
        Ok(())
    }

    /// Takes everything from `source`.
    pub fn write_from(&mut self, source: &mut dyn Read) -> Result<(), ImageError> {
        let mut buffer = vec![0; COPY_BUFFER];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.write(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).at("read what goes to", &self.path),
            }
        }
    }

    /// Forgets what has arrived and begins anew.
    pub fn restart(&mut self) -> Result<(), ImageError> {
        self.file.set_len(0).at("empty", &self.path)?;
        self.file.seek(SeekFrom::Start(0)).at("empty", &self.path)?;
        self.hasher = Hasher::like(&self.wanted);
        self.received = 0;
        Ok(())
    }

    /// Puts the blob in place if it is what it should be, and forgets it otherwise.
    pub fn commit(mut self) -> Result<(), ImageError> {
        if self.received != self.size {
            self.forget();
            return Err(self.wrong_size(self.received));
        }
        let found = std::mem::replace(&mut self.hasher, Hasher::like(&self.wanted)).finish();
        if found != self.wanted {
            self.forget();
            let what = self.what.clone();
            return Err(ImageError::DigestMismatch {
                what,
                wanted: self.wanted.clone(),
                found,
            });
        }
        let path = self.store.blob_path(&self.wanted);
        fs::rename(&self.path, &path).at("put in place", &path)
    }

    fn wrong_size(&self, found: u64) -> ImageError {
        ImageError::SizeMismatch {
            what: self.what.clone(),
            wanted: self.size,
            found,
        }
    }

    fn forget(&self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Takes what an earlier attempt left into account.
    fn rehash(&mut self) -> Result<(), ImageError> {
        let left = self.file.metadata().at("look at", &self.path)?.len();
        if left > self.size {
            return self.restart();
        }
        let mut buffer = vec![0; COPY_BUFFER.min(left as usize + 1)];
        loop {
            let count = self.file.read(&mut buffer).at("read", &self.path)?;
            if count == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..count]);
            self.received += count as u64;
        }
    }
}

/// Copies at most one byte more than `most`, in pieces large enough for hashing at full speed.
pub(super) fn copy(source: &mut dyn Read, target: &mut dyn Write, most: u64) -> io::Result<u64> {
    let mut buffer = vec![0; COPY_BUFFER];
    let mut copied = 0;
    while copied <= most {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                target.write_all(&buffer[..count])?;
                copied += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(copied)
}
