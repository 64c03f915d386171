//! Hashing while bytes pass by, for either digest algorithm.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256, Sha512};
use unmoor_core::image::{Digest, DigestAlgorithm};

/// A running hash that ends in a [`Digest`].
#[derive(Debug, Clone)]
pub(crate) enum Hasher {
    /// SHA-256 in progress.
    Sha256(Sha256),
    /// SHA-512 in progress.
    Sha512(Box<Sha512>),
}

impl Hasher {
    pub(crate) fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Sha512 => Self::Sha512(Box::default()),
            _ => Self::Sha256(Sha256::new()),
        }
    }

    /// The hash that can be compared with `digest`.
    pub(crate) fn like(digest: &Digest) -> Self {
        Self::new(digest.algorithm())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::from_sha256(hash.finalize().into()),
            Self::Sha512(hash) => Digest::from_sha512((*hash).finalize().into()),
        }
    }
}

/// The digest of `bytes` under the algorithm of `like`.
pub(crate) fn digest_like(like: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::like(like);
    hasher.update(bytes);
    hasher.finish()
}

/// Hashes, if wanted, and counts what is read through it.
#[derive(Debug)]
pub(crate) struct HashingReader<R> {
    inner: R,
    hasher: Option<Hasher>,
    count: u64,
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(inner: R, hasher: Option<Hasher>) -> Self {
        Self {
            inner,
            hasher,
            count: 0,
        }
    }

    pub(crate) fn finish(self) -> (Option<Digest>, u64) {
        (self.hasher.map(Hasher::finish), self.count)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        self.count += read as u64;
        Ok(read)
    }
}

/// Hashes and counts what is written through it.
#[derive(Debug)]
pub(crate) struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
    count: u64,
}

impl<W: Write> HashingWriter<W> {
    pub(crate) fn new(inner: W, hasher: Hasher) -> Self {
        Self {
            inner,
            hasher,
            count: 0,
        }
    }

    pub(crate) fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.count)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
