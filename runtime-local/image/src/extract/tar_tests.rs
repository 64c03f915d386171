//! Archives that readers understand differently: ours reads as others do, or refuses.

use std::io::{self, BufRead, Cursor, Read, Write};
use std::process::{Command, Stdio};

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::{Kind, TarReader, TarSource};
use crate::Limits;
use crate::error::LayerProblem;
use crate::testing::{Raw, Tape, pax_records, seal};

struct Bytes(Cursor<Vec<u8>>);

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for Bytes {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.0.consume(count);
    }
}

impl TarSource for Bytes {}

/// Kind, name, size and link of each entry, as the comparison below prints them.
fn listing(archive: &[u8]) -> Result<Vec<String>, LayerProblem> {
    let mut reader = TarReader::new(Bytes(Cursor::new(archive.to_vec())), Limits::default());
    let mut lines = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let kind = match entry.kind {
            Kind::File => 'f',
            Kind::Directory => 'd',
            Kind::Symlink => 's',
            Kind::Hardlink => 'h',
            Kind::Fifo => 'p',
            Kind::CharDevice => 'c',
            Kind::BlockDevice => 'b',
        };
        let name = entry.name.strip_suffix(b"/").unwrap_or(&entry.name);
        let mut content = 0_u64;
        reader.content(|bytes| {
            content += bytes.iter().map(|b| u64::from(*b)).sum::<u64>();
            Ok(())
        })?;
        lines.push(format!(
            "{kind} {} {} {content} {}",
            hex(name),
            entry.size,
            entry.meta.uid
        ));
    }
    Ok(lines)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_size_record_rules_the_position() {
    let inner = Tape::new().file("evil", b"evil").0;
    let size = inner.len().to_string();
    let raw = Raw {
        size: 0,
        ..Raw::new(b"outer", b'0')
    };
    let tape = Tape::new()
        .pax(&[(b"size", size.as_bytes())])
        .raw(&raw, &inner);
    let lines = listing(&tape.file("after", b"x").end()).expect("readable");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains(&hex(b"evil"))),
        "{lines:?}"
    );
}

/// No reading of this archive is given, not even of its beginning.
fn refuses(what: &str, archive: &[u8]) {
    let result = listing(archive);
    assert!(result.is_err(), "{what}: {result:?}");
}

fn before_a_file(tape: Tape) -> Vec<u8> {
    tape.file("x", b"content").end()
}

/// What it is, the kind of extended header, and its records.
type Case<'a> = (&'a str, u8, &'a [(&'a [u8], &'a [u8])]);

#[test]
fn records_with_two_readings_are_refused() {
    let records: [Case<'_>; 10] = [
        ("global size", b'g', &[(b"size", b"1")]),
        ("global path", b'g', &[(b"path", b"y")]),
        ("two records", b'x', &[(b"path", b"y"), (b"path", b"z")]),
        ("NUL in a name", b'x', &[(b"path", b"a\0b")]),
        ("empty path", b'x', &[(b"path", b"")]),
        ("negative size", b'x', &[(b"size", b"-1")]),
        ("sparse", b'x', &[(b"GNU.sparse.major", b"1")]),
        ("character set", b'x', &[(b"hdrcharset", b"EBCDIC")]),
        ("large id", b'x', &[(b"uid", b"4294967296")]),
        ("last id", b'x', &[(b"gid", b"4294967295")]),
    ];
    for (what, flag, records) in records {
        let data = pax_records(records);
        refuses(what, &before_a_file(Tape::new().extended(flag, &data)));
    }
    let data: [(&str, u8, &[u8]); 6] = [
        ("bytes after a name", b'L', b"a\0b"),
        ("no newline", b'x', b"9 path=yy"),
        ("short length", b'x', b"4 path=y\n"),
        ("length beyond", b'x', b"99 path=y\n"),
        ("signed length", b'x', b"+9 path=y\n"),
        ("zeroes after records", b'x', b"10 path=y\n\0\0\0"),
    ];
    for (what, flag, data) in data {
        refuses(what, &before_a_file(Tape::new().extended(flag, data)));
    }
    let path = || Tape::new().pax(&[(b"path", b"y")]);
    let long = || Tape::new().extended(b'L', b"a\0");
    refuses("two headers", &before_a_file(path().pax(&[(b"uid", b"1")])));
    refuses(
        "two long names",
        &before_a_file(long().extended(b'L', b"b\0")),
    );
    refuses("both", &before_a_file(long().pax(&[(b"path", b"b")])));
    refuses("header at the end", &path().end());
}

#[test]
fn headers_with_two_readings_are_refused() {
    let changed = |magic: &[u8], at: usize, bytes: &[u8]| {
        let raw = Raw {
            magic,
            ..Raw::new(b"x", b'0')
        };
        let mut block = raw.block();
        block[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut block);
        [&block[..], &[0; 1024]].concat()
    };
    let (gnu, posix) = (b"ustar  \0".as_slice(), b"ustar\x0000".as_slice());
    refuses("prefix in GNU's format", &changed(gnu, 345, b"p"));
    refuses("star", &changed(posix, 508, b"tar\0"));
    refuses("size", &changed(posix, 124, b"00000000x00\0"));
    refuses("negative binary size", &changed(posix, 124, &[0xff; 12]));
    refuses("device number", &changed(posix, 329, b"x"));
    let mut wrong_sum = changed(posix, 0, b"x");
    wrong_sum[0] ^= 1;
    refuses("checksum", &wrong_sum);
    let one = |raw: Raw<'_>, content: &[u8]| Tape::new().raw(&raw, content).end();
    refuses("volume", &one(Raw::new(b"x", b'V'), b""));
    refuses("multi-volume", &one(Raw::new(b"x", b'M'), b""));
    refuses("link to nothing", &one(Raw::new(b"x", b'2'), b""));
    refuses("file with a slash", &one(Raw::new(b"x/", b'0'), b""));
    let sized = Raw {
        size: 512,
        link: b"y",
        ..Raw::new(b"x", b'1')
    };
    refuses("link with content", &one(sized, &[0; 512]));
    let lone = [&[0; 512][..], &before_a_file(Tape::new())].concat();
    refuses("lone zero block", &lone);
}

#[test]
fn what_everybody_understands_is_read() {
    let long = "l".repeat(300);
    let tape = Tape::new()
        .extended(b'g', &pax_records(&[(b"comment", b"0123")]))
        .extended(b'L', format!("{long}\0").as_bytes())
        .file("cut", b"1")
        .pax(&[
            (b"path", b"from/pax"),
            (b"mtime", b"-1.5"),
            (b"uid", b"3000000"),
            (b"x", b"y"),
        ])
        .file("cut", b"2")
        .raw(&Raw::new(b"old/", 0), b"")
        .raw(
            &Raw {
                magic: b"ustar  \0",
                ..Raw::new(b"gnu", b'0')
            },
            b"",
        )
        .raw(
            &Raw {
                magic: &[0; 8],
                ..Raw::new(b"v7", b'0')
            },
            b"",
        )
        .end();
    let lines = listing(&tape).expect("readable");
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[0].contains(&hex(long.as_bytes())));
    assert!(lines[1].ends_with("3000000") && lines[2].starts_with('d'));
}

/// Reads archives from standard input, each with its length in front, and lists them.
const PYTHON: &str = r"
import io, struct, sys, tarfile
kinds = {b'0': 'f', b'\0': 'f', b'7': 'f', b'5': 'd', b'2': 's', b'1': 'h', b'6': 'p', b'3': 'c', b'4': 'b'}
data = sys.stdin.buffer
while True:
    head = data.read(4)
    if len(head) < 4:
        break
    raw = data.read(struct.unpack('<I', head)[0])
    try:
        lines = []
        archive = tarfile.open(fileobj=io.BytesIO(raw), mode='r:', errors='surrogateescape', encoding='utf-8')
        for entry in archive:
            content = sum(archive.extractfile(entry).read()) if entry.isreg() else 0
            name = entry.name.encode('utf-8', 'surrogateescape').hex()
            size = entry.size if entry.isreg() else 0
            lines.append('%s %s %d %d %d' % (kinds.get(entry.type, '?'), name, size, content, entry.uid))
        print('|'.join(lines))
    except Exception as error:
        print('!' + type(error).__name__)
";

/// What Python's reader sees in each archive; `None` if there is no Python here.
fn python(archives: &[Vec<u8>]) -> Option<Vec<String>> {
    let mut child = Command::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = child.stdin.take().expect("piped");
    let sent = archives.to_vec();
    let writer = std::thread::spawn(move || {
        for archive in sent {
            let length = u32::try_from(archive.len()).expect("small").to_le_bytes();
            input
                .write_all(&length)
                .and_then(|()| input.write_all(&archive))
                .expect("a reader");
        }
    });
    let output = child.wait_with_output().expect("output");
    writer.join().expect("written");
    let text = String::from_utf8(output.stdout).expect("text");
    Some(text.lines().map(str::to_owned).collect())
}

/// A small generator of its own, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn mutated_archives_read_as_in_python_or_not_at_all() {
    let base = Tape::new()
        .dir("dir")
        .file("dir/file", b"some content")
        .pax(&[(b"path", b"a/long/name"), (b"size", b"7"), (b"uid", b"77")])
        .file("short", b"content")
        .extended(b'L', b"gnu/long/name\0")
        .raw(
            &Raw {
                magic: b"ustar  \0",
                size: 3,
                ..Raw::new(b"cut", b'0')
            },
            b"abc",
        )
        .link(b'2', "link", std::path::Path::new("dir/file"))
        .link(b'1', "hard", std::path::Path::new("dir/file"))
        .end();
    let interesting = [
        0, 1, 0x20, 0x2f, 0x30, 0x31, 0x37, 0x39, 0x3d, 0x7f, 0x80, 0xff, b'x', b'g', b'L',
    ];
    let mut dice = Dice(2026);
    let mut archives = vec![base.clone()];
    while archives.len() < 10_000 {
        let mut archive = base.clone();
        for _ in 0..=dice.roll(3) {
            let at = dice.roll(archive.len() - 1024);
            archive[at] = interesting[dice.roll(interesting.len())];
            let header = at / 512 * 512;
            // Most mutations get a right checksum, or they would all end at that check.
            if dice.roll(5) > 0 && archive[header + 257..].starts_with(b"ustar") {
                let block: &mut [u8; 512] = (&mut archive[header..header + 512])
                    .try_into()
                    .expect("a block");
                seal(block);
            }
        }
        archives.push(archive);
    }
    let Some(theirs) = python(&archives) else {
        return unmoor_tools::skipped("python3 is not installed");
    };
    assert_eq!(theirs.len(), archives.len());
    let mut agreed = 0;
    for (index, (archive, theirs)) in archives.iter().zip(&theirs).enumerate() {
        let Ok(ours) = listing(archive) else { continue };
        assert_eq!(&ours.join("|"), theirs, "archive {index}");
        agreed += 1;
    }
    assert!(agreed > 1000, "only {agreed} archives were readable at all");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), sealed in any::<bool>()) {
        let mut bytes = bytes;
        if sealed && let Some(block) = bytes.first_chunk_mut::<512>() {
            seal(block);
        }
        let _ = listing(&bytes);
    }
}
