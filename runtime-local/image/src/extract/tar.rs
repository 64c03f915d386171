//! Reads tar archives strictly: whatever two readers could understand differently is refused.
//!
//! Known: ustar, PAX records, GNU long names. Refused: sparse files, multi-volume parts, global
//! records with an effect, sizes on entries without content, and damaged headers of any kind.

use std::io::{self, BufRead};

use super::op::Meta;
use super::tar_number::{decimal, number, records, text, time};
use crate::error::{LayerProblem, shown};
use crate::limits::Limits;

const BLOCK: usize = 512;
const ZEROES: [u8; BLOCK] = [0; BLOCK];

/// Where archive bytes come from.
pub(crate) trait TarSource: BufRead {
    /// Passes over bytes nobody wants.
    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let available = self.fill_buf()?.len() as u64;
            if available == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = available.min(count);
            self.consume(step as usize);
            count -= step;
        }
        Ok(())
    }
}

/// What sort of thing an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    Fifo,
    CharDevice,
    BlockDevice,
}

/// One entry, with every extension already merged in.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) meta: Meta,
}

/// What extension headers said about the entry that follows them.
#[derive(Debug, Default)]
struct Extensions {
    pax: Option<Vec<u8>>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

/// An archive being read.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    source: R,
    limits: Limits,
    entries: u64,
    position: u64,
    content: u64,
    padding: u64,
}

impl<R: TarSource> TarReader<R> {
    pub(crate) fn new(source: R, limits: Limits) -> Self {
        Self {
            source,
            limits,
            entries: 0,
            position: 0,
            content: 0,
            padding: 0,
        }
    }

    /// Where in the archive the next unread byte is.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn into_source(self) -> R {
        self.source
    }

    /// The next entry; what is unread of the one before is passed over.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, LayerProblem> {
        let rest = self.content + self.padding;
        self.skip(rest)?;
        (self.content, self.padding) = (0, 0);
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header()? else {
                if extensions.is_empty() {
                    return Ok(None);
                }
                return Err(LayerProblem::format(
                    "the archive ends after an extended header",
                ));
            };
            self.entries += 1;
            if self.entries > self.limits.layer_entries {
                let most = self.limits.layer_entries;
                return Err(LayerProblem::limit(format!("more than {most} entries")));
            }
            if !self.extension(&header, &mut extensions)? {
                let entry = entry(&header, &extensions)?;
                self.content = entry.size;
                self.padding = padding(entry.size);
                return Ok(Some(entry));
            }
        }
    }

    /// Hands over the content of the entry returned last, piece by piece.
    pub(crate) fn content(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), LayerProblem>,
    ) -> Result<(), LayerProblem> {
        while self.content > 0 {
            let available = self.source.fill_buf().map_err(stream)?;
            if available.is_empty() {
                return Err(LayerProblem::format("the archive ends inside this entry"));
            }
            let step = available
                .len()
                .min(usize::try_from(self.content).unwrap_or(usize::MAX));
            take(&available[..step])?;
            self.source.consume(step);
            self.content -= step as u64;
            self.position += step as u64;
        }
        Ok(())
    }

    fn skip(&mut self, count: u64) -> Result<(), LayerProblem> {
        self.source.skip(count).map_err(stream)?;
        self.position += count;
        Ok(())
    }

    /// Fills the block; fewer bytes only at the end of the archive.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, LayerProblem> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let available = self.source.fill_buf().map_err(stream)?;
            if available.is_empty() {
                break;
            }
            let step = available.len().min(BLOCK - filled);
            block[filled..filled + step].copy_from_slice(&available[..step]);
            self.source.consume(step);
            filled += step;
        }
        self.position += filled as u64;
        match filled {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(LayerProblem::format("the archive ends inside a header")),
        }
    }

    /// The next header block; two blocks of zeroes, or the end of the data, end the archive.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, LayerProblem> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block != ZEROES {
            check_sum(&block)?;
            check_numbers(&block)?;
            return Ok(Some(block));
        }
        match self.block()? {
            None | Some(ZEROES) => Ok(None),
            Some(_) => Err(LayerProblem::format("there are entries after an end mark")),
        }
    }

    /// Takes an extension header in; `false` if this is an ordinary one.
    fn extension(
        &mut self,
        header: &[u8; BLOCK],
        known: &mut Extensions,
    ) -> Result<bool, LayerProblem> {
        let kind = header[156];
        if !matches!(kind, b'x' | b'g' | b'L' | b'K') {
            return Ok(false);
        }
        let size = u64::try_from(number(&header[124..136], "size")?)
            .map_err(|_| LayerProblem::format("an extended header has a negative size"))?;
        if size > self.limits.header_bytes {
            return Err(LayerProblem::limit(format!(
                "an extended header has {size} bytes"
            )));
        }
        self.content = size;
        let mut data = Vec::with_capacity(size as usize);
        self.content(|bytes| {
            data.extend_from_slice(bytes);
            Ok(())
        })?;
        let mut rest_is_zero = true;
        self.content = padding(size);
        self.content(|bytes| {
            rest_is_zero &= bytes.iter().all(|b| *b == 0);
            Ok(())
        })?;
        if !rest_is_zero {
            // Some readers look for further records there.
            return Err(LayerProblem::format(
                "there are bytes after an extended header",
            ));
        }
        match kind {
            b'g' => check_global(&data)?,
            b'x' => set_once(&mut known.pax, data)?,
            b'L' => set_once(&mut known.long_name, until_nul(data)?)?,
            _ => set_once(&mut known.long_link, until_nul(data)?)?,
        }
        Ok(true)
    }
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn set_once(slot: &mut Option<Vec<u8>>, data: Vec<u8>) -> Result<(), LayerProblem> {
    if slot.replace(data).is_some() {
        return Err(LayerProblem::format(
            "an entry has two extended headers of one kind",
        ));
    }
    Ok(())
}

fn until_nul(mut data: Vec<u8>) -> Result<Vec<u8>, LayerProblem> {
    if let Some(end) = data.iter().position(|b| *b == 0) {
        if data[end..].iter().any(|b| *b != 0) {
            return Err(LayerProblem::format("a long name has bytes after its end"));
        }
        data.truncate(end);
    }
    if data.is_empty() {
        return Err(LayerProblem::format("a long name is empty"));
    }
    Ok(data)
}

/// Readers disagree on whether global records apply, so only those without effect may stand.
fn check_global(data: &[u8]) -> Result<(), LayerProblem> {
    for (key, _) in records(data)? {
        if key != b"comment" {
            let key = shown(key);
            return Err(LayerProblem::format(format!("a global header sets {key}")));
        }
    }
    Ok(())
}

fn check_sum(block: &[u8; BLOCK]) -> Result<(), LayerProblem> {
    let stored = number(&block[148..156], "checksum")?;
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (index, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&index) {
            b' '
        } else {
            *byte
        };
        unsigned += i64::from(byte);
        signed += i64::from(byte as i8);
    }
    if stored == unsigned || stored == signed {
        return Ok(());
    }
    Err(LayerProblem::format("a header has a wrong checksum"))
}

/// Also numbers that do not matter must be numbers: some readers end the archive there.
fn check_numbers(block: &[u8; BLOCK]) -> Result<(), LayerProblem> {
    for (what, range) in [
        ("mode", 100..108),
        ("user", 108..116),
        ("group", 116..124),
        ("size", 124..136),
        ("time", 136..148),
        ("major device", 329..337),
        ("minor device", 337..345),
    ] {
        number(&block[range], what)?;
    }
    Ok(())
}

/// Turns an input error into a layer problem, or finds the problem that travelled inside it.
pub(crate) fn stream(error: io::Error) -> LayerProblem {
    match error.downcast::<LayerProblem>() {
        Ok(problem) => problem,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            LayerProblem::format("the archive ends too early")
        }
        Err(error) => LayerProblem::Stream(error),
    }
}

fn entry(header: &[u8; BLOCK], extensions: &Extensions) -> Result<Entry, LayerProblem> {
    let mut entry = Entry {
        name: header_name(header)?,
        link: text(&header[157..257]).to_vec(),
        kind: Kind::File,
        size: size_of(number(&header[124..136], "size")?)?,
        meta: header_meta(header)?,
    };
    if let Some(name) = &extensions.long_name {
        entry.name.clone_from(name);
    }
    if let Some(link) = &extensions.long_link {
        entry.link.clone_from(link);
    }
    if let Some(pax) = &extensions.pax {
        apply_records(&mut entry, pax, extensions)?;
    }
    entry.kind = kind(header[156], &entry.name)?;
    match entry.kind {
        Kind::Symlink | Kind::Hardlink if entry.link.is_empty() => {
            Err(LayerProblem::format("it is a link to nothing"))
        }
        Kind::File => Ok(entry),
        // Readers disagree on whether such an entry is followed by content.
        _ if entry.size != 0 => Err(LayerProblem::format(
            "it has a size but can have no content",
        )),
        _ => Ok(entry),
    }
}

fn kind(flag: u8, name: &[u8]) -> Result<Kind, LayerProblem> {
    let slash = name.last() == Some(&b'/');
    match flag {
        // In the oldest format a slash at the end is what makes a directory.
        0 if slash => Ok(Kind::Directory),
        b'0' | b'1' | b'2' | b'3' | b'4' | b'6' | b'7' if slash => Err(LayerProblem::format(
            "it has a directory's name but is none",
        )),
        0 | b'0' | b'7' => Ok(Kind::File),
        b'1' => Ok(Kind::Hardlink),
        b'2' => Ok(Kind::Symlink),
        b'3' => Ok(Kind::CharDevice),
        b'4' => Ok(Kind::BlockDevice),
        b'5' => Ok(Kind::Directory),
        b'6' => Ok(Kind::Fifo),
        b'S' => Err(LayerProblem::format(
            "it is a sparse file, which is not supported",
        )),
        other => Err(LayerProblem::format(format!(
            "it is of the unknown kind \"{}\"",
            shown(&[other])
        ))),
    }
}

/// Name of an old-style header; only POSIX headers have a prefix.
fn header_name(header: &[u8; BLOCK]) -> Result<Vec<u8>, LayerProblem> {
    let name = text(&header[..100]);
    if &header[257..263] == b"ustar\0" {
        if &header[508..512] == b"tar\0" {
            return Err(LayerProblem::format("the star format is not supported"));
        }
        let prefix = text(&header[345..500]);
        if prefix.is_empty() {
            return Ok(name.to_vec());
        }
        return Ok([prefix, b"/", name].concat());
    }
    // Some readers take these bytes for a prefix, others for times.
    if header[345..].iter().any(|b| *b != 0) {
        return Err(LayerProblem::format(
            "its header has fields of another format",
        ));
    }
    Ok(name.to_vec())
}

fn header_meta(header: &[u8; BLOCK]) -> Result<Meta, LayerProblem> {
    let mode = number(&header[100..108], "mode")?;
    Ok(Meta {
        mode: (mode & 0o7777) as u32,
        uid: id(number(&header[108..116], "user")?, "user")?,
        gid: id(number(&header[116..124], "group")?, "group")?,
        mtime_s: number(&header[136..148], "time")?,
        mtime_ns: 0,
        xattrs: Vec::new(),
    })
}

fn size_of(value: i64) -> Result<u64, LayerProblem> {
    u64::try_from(value).map_err(|_| LayerProblem::format("its size is negative"))
}

/// The largest id means "leave it alone" to the kernel, so nothing can have it.
fn id(value: i64, what: &str) -> Result<u32, LayerProblem> {
    match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(LayerProblem::format(format!(
            "its {what} id {value} is out of range"
        ))),
    }
}

fn apply_records(
    entry: &mut Entry,
    data: &[u8],
    extensions: &Extensions,
) -> Result<(), LayerProblem> {
    let signed = |value: &[u8], what: &str| {
        let value = decimal(value, what)?;
        i64::try_from(value).map_err(|_| LayerProblem::format(format!("its {what} is too large")))
    };
    let mut seen: Vec<&[u8]> = Vec::new();
    for (key, value) in records(data)? {
        if seen.contains(&key) {
            let key = shown(key);
            return Err(LayerProblem::format(format!(
                "its {key} record stands twice"
            )));
        }
        seen.push(key);
        match key {
            b"path" | b"linkpath" if value.is_empty() => {
                return Err(LayerProblem::format("its name record is empty"));
            }
            b"path" if extensions.long_name.is_some() => {
                return Err(LayerProblem::format("it has two long names"));
            }
            b"linkpath" if extensions.long_link.is_some() => {
                return Err(LayerProblem::format("it has two long link targets"));
            }
            b"path" => entry.name = value.to_vec(),
            b"linkpath" => entry.link = value.to_vec(),
            b"size" => entry.size = size_of(signed(value, "size")?)?,
            b"uid" => entry.meta.uid = id(signed(value, "user id")?, "user")?,
            b"gid" => entry.meta.gid = id(signed(value, "group id")?, "group")?,
            b"mtime" => (entry.meta.mtime_s, entry.meta.mtime_ns) = time(value)?,
            b"hdrcharset" if !matches!(value, b"BINARY" | b"ISO-IR 10646 2000 UTF-8") => {
                return Err(LayerProblem::format(
                    "its names are in an unknown character set",
                ));
            }
            _ => other_record(entry, key, value)?,
        }
    }
    Ok(())
}

fn other_record(entry: &mut Entry, key: &[u8], value: &[u8]) -> Result<(), LayerProblem> {
    if key.starts_with(b"GNU.sparse.") || key.starts_with(b"SCHILY.realsize") {
        return Err(LayerProblem::format(
            "it is a sparse file, which is not supported",
        ));
    }
    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
        if entry.meta.xattrs.len() >= 256 {
            return Err(LayerProblem::limit(
                "it has more than 256 extended attributes",
            ));
        }
        entry.meta.xattrs.push((name.to_vec(), value.to_vec()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "tar_tests.rs"]
mod tests;
