//! Unpacks the compressed stream of a layer in a thread of its own, hashing both sides.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use flate2::read::MultiGzDecoder;
use unmoor_core::image::Digest;

use super::tar::TarSource;
use crate::error::LayerProblem;
use crate::hash::{Hasher, HashingReader};
use crate::limits::Limits;

const CHUNK: usize = 256 << 10;
const QUEUE: usize = 4;
/// 64 MiB of window: what zstd itself uses up to level 21.
const ZSTD_WINDOW_LOG: u32 = 26;

/// How a stream is packed; known from its first bytes, never from what a header claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame: 0x184D2A5?, little-endian.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What is known about the packed stream once all of it has been read.
#[derive(Debug)]
pub(crate) struct Exhausted {
    /// Its digest, if it was wanted.
    pub(crate) digest: Option<Digest>,
    pub(crate) size: u64,
}

/// A buffer on its way from the unpacking thread to the reader, or empty on its way back.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    length: usize,
}

/// The unpacked stream; reading it drives the thread behind it.
#[derive(Debug)]
pub(crate) struct Unpacked {
    chunks: Receiver<io::Result<Chunk>>,
    empties: Sender<Chunk>,
    current: Chunk,
    used: usize,
    hasher: Hasher,
    count: u64,
    deadline: Instant,
    limits: Limits,
}

impl Unpacked {
    /// Reads to the end and tells the digest and number of all unpacked bytes.
    pub(crate) fn finish(mut self) -> io::Result<(Digest, u64)> {
        loop {
            let left = self.fill_buf()?.len();
            if left == 0 {
                return Ok((self.hasher.finish(), self.count));
            }
            self.consume(left);
        }
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let empty = std::mem::take(&mut self.current);
        self.used = 0;
        if !empty.bytes.is_empty() {
            // The thread may be gone already; then nobody needs the buffer.
            let _ = self.empties.send(empty);
        }
        if Instant::now() > self.deadline {
            let most = self.limits.layer_time.as_secs();
            let problem = LayerProblem::limit(format!("unpacking took more than {most} s"));
            return Err(io::Error::other(problem));
        }
        let Ok(chunk) = self.chunks.recv() else {
            return Ok(());
        };
        self.current = chunk?;
        self.hasher
            .update(&self.current.bytes[..self.current.length]);
        self.count += self.current.length as u64;
        Ok(())
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Unpacked {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.current.length {
            self.next_chunk()?;
        }
        Ok(&self.current.bytes[self.used..self.current.length])
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }
}

impl TarSource for Unpacked {}

/// Starts unpacking `source` of `size` bytes; the join handle answers once it is exhausted.
pub(crate) fn start<'scope, R: Read + Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    (source, size): (R, u64),
    (packed, unpacked): (Option<Hasher>, Hasher),
    limits: &Limits,
) -> io::Result<(Unpacked, ScopedJoinHandle<'scope, Exhausted>)> {
    let (chunk_sender, chunks) = sync_channel(QUEUE);
    let (empties, empty_receiver) = channel();
    let meter = Meter {
        limits: limits.clone(),
        packed: size,
        unpacked: 0,
    };
    let worker = thread::Builder::new()
        .name("unpack".to_owned())
        .spawn_scoped(scope, move || {
            let mut source = HashingReader::new(source, packed);
            if let Err(error) = pump(&mut source, &chunk_sender, &empty_receiver, meter) {
                let _ = chunk_sender.send(Err(error));
            }
            drop(chunk_sender);
            let (digest, size) = source.finish();
            Exhausted { digest, size }
        })?;
    let reader = Unpacked {
        chunks,
        empties,
        current: Chunk::default(),
        used: 0,
        hasher: unpacked,
        count: 0,
        deadline: Instant::now() + limits.layer_time,
        limits: limits.clone(),
    };
    Ok((reader, worker))
}

/// A decoder for whatever `source` turns out to be.
pub(crate) fn decoder<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = [0; 4];
    let known = read_full(&mut source, &mut start)?;
    let compression = Compression::of(&start[..known]);
    let input = io::Cursor::new(start).take(known as u64).chain(source);
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(
            CHUNK, input,
        ))),
        Compression::Zstd => {
            let input = io::BufReader::with_capacity(CHUNK, input);
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

fn pump<R: Read>(
    source: &mut HashingReader<R>,
    chunks: &SyncSender<io::Result<Chunk>>,
    empties: &Receiver<Chunk>,
    mut meter: Meter,
) -> io::Result<()> {
    let mut decoder = decoder(source)?;
    loop {
        let mut chunk = empties.try_recv().unwrap_or_default();
        chunk.bytes.resize(CHUNK, 0);
        chunk.length = read_full(&mut decoder, &mut chunk.bytes)?;
        if chunk.length == 0 {
            return Ok(());
        }
        meter.add(chunk.length)?;
        if chunks.send(Ok(chunk)).is_err() {
            // The reader has given up; its own error is the one to report.
            return Ok(());
        }
    }
}

/// Watches how much comes out of how little.
#[derive(Debug)]
struct Meter {
    limits: Limits,
    packed: u64,
    unpacked: u64,
}

impl Meter {
    fn add(&mut self, count: usize) -> io::Result<()> {
        self.unpacked += count as u64;
        let most = self.limits.layer_bytes;
        if self.unpacked > most {
            let problem = LayerProblem::limit(format!("it unpacks to more than {most} bytes"));
            return Err(io::Error::other(problem));
        }
        let allowed = self
            .packed
            .saturating_mul(self.limits.ratio)
            .max(self.limits.ratio_from);
        if self.unpacked > allowed {
            let ratio = self.limits.ratio;
            let text = format!("it unpacks to more than {ratio} times its packed size");
            return Err(io::Error::other(LayerProblem::limit(text)));
        }
        Ok(())
    }
}

fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
