//! Writes tar archives: POSIX headers, with extended ones only where a value does not fit.

use std::io::{self, Read, Write};

use crate::extract::op::Meta;
use crate::extract::tar::Kind;

const BLOCK: usize = 512;

/// One entry to write.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: Kind,
    pub(crate) link: &'a [u8],
    pub(crate) size: u64,
    pub(crate) meta: &'a Meta,
}

/// An archive being written.
#[derive(Debug)]
pub(crate) struct TarWriter<W> {
    target: W,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(target: W) -> Self {
        Self { target }
    }

    /// Writes an entry, and exactly `header.size` bytes of content.
    pub(crate) fn entry(&mut self, header: &Header<'_>, content: &mut dyn Read) -> io::Result<()> {
        let extended = extended(header);
        if !extended.is_empty() {
            let meta = Meta {
                mode: 0o644,
                ..Meta::default()
            };
            let size = extended.len() as u64;
            self.target
                .write_all(&block(b"PaxHeader", b'x', b"", size, &meta))?;
            self.target.write_all(&extended)?;
            self.pad(size)?;
        }
        let flag = flag(header.kind);
        self.target.write_all(&block(
            header.name,
            flag,
            header.link,
            header.size,
            header.meta,
        ))?;
        let copied = io::copy(&mut content.take(header.size), &mut self.target)?;
        if copied != header.size {
            return Err(io::Error::other("a file became shorter while it was read"));
        }
        self.pad(header.size)
    }

    /// Writes the end mark.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.target.write_all(&[0; BLOCK * 2])?;
        Ok(self.target)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        self.target.write_all(&[0; BLOCK][..padding])
    }
}

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::Hardlink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

/// The largest value of an octal field of this many bytes, one of which ends it.
const fn most(width: u32) -> u64 {
    (1 << (3 * (width - 1))) - 1
}

fn extended(header: &Header<'_>) -> Vec<u8> {
    let mut data = Vec::new();
    let meta = header.meta;
    if header.name.len() > 100 {
        record(&mut data, b"path", header.name);
    }
    if header.link.len() > 100 {
        record(&mut data, b"linkpath", header.link);
    }
    if header.size > most(12) {
        record(&mut data, b"size", header.size.to_string().as_bytes());
    }
    if u64::from(meta.uid) > most(8) {
        record(&mut data, b"uid", meta.uid.to_string().as_bytes());
    }
    if u64::from(meta.gid) > most(8) {
        record(&mut data, b"gid", meta.gid.to_string().as_bytes());
    }
    if meta.mtime_ns != 0 || u64::try_from(meta.mtime_s).is_err() {
        record(&mut data, b"mtime", time(meta).as_bytes());
    }
    for (key, value) in &meta.xattrs {
        record(
            &mut data,
            &[b"SCHILY.xattr.", key.as_slice()].concat(),
            value,
        );
    }
    data
}

fn time(meta: &Meta) -> String {
    let total = i128::from(meta.mtime_s) * 1_000_000_000 + i128::from(meta.mtime_ns);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, part) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
    format!("{sign}{whole}.{part:09}")
}

/// The length at the front counts its own digits.
fn record(data: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    data.extend_from_slice(length.to_string().as_bytes());
    data.push(b' ');
    data.extend_from_slice(key);
    data.push(b'=');
    data.extend_from_slice(value);
    data.push(b'\n');
}

fn block(name: &[u8], flag: u8, link: &[u8], size: u64, meta: &Meta) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block[..100], name);
    octal(&mut block[100..108], u64::from(meta.mode));
    octal(&mut block[108..116], u64::from(meta.uid));
    octal(&mut block[116..124], u64::from(meta.gid));
    octal(&mut block[124..136], size);
    octal(
        &mut block[136..148],
        u64::try_from(meta.mtime_s).unwrap_or(0),
    );
    block[156] = flag;
    put(&mut block[157..257], link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    octal(&mut block[148..155], sum);
    block
}

fn put(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// A value that does not fit stands in an extended header, so here it may be cut.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let value = value & most(digits as u32 + 1);
    put(field, format!("{value:0digits$o}").as_bytes());
}
