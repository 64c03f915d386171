//! Pieces of an archive on their way between a stream and a thread that reads or writes.

use std::io::{self, Read, Write};

use tokio::sync::mpsc;

/// Pieces that may wait.
const ROOM: usize = 8;
/// Bytes of a piece.
const PIECE: usize = 64 << 10;

/// The thread's end: what is written there comes out of the stream.
#[derive(Debug)]
pub(crate) struct Sink {
    pieces: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
}

/// A way from a thread to a stream.
pub(crate) fn sink() -> (Sink, mpsc::Receiver<Vec<u8>>) {
    let (pieces, stream) = mpsc::channel(ROOM);
    let piece = Vec::with_capacity(PIECE);
    (Sink { pieces, piece }, stream)
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let sent = self.pieces.blocking_send(piece);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The thread's end: what goes into the stream is read there.
#[derive(Debug)]
pub(crate) struct Source {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

/// A way from a stream to a thread.
pub(crate) fn source() -> (mpsc::Sender<Vec<u8>>, Source) {
    let (stream, pieces) = mpsc::channel(ROOM);
    let piece = io::Cursor::default();
    (stream, Source { pieces, piece })
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}
