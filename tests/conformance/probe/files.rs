//! Commands about files.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;

use crate::command::Reply;

fn why(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "read-only file system".to_owned(),
        ErrorKind::IsADirectory => "is a directory".to_owned(),
        ErrorKind::AlreadyExists => "exists already".to_owned(),
        _ => error.to_string(),
    }
}

/// `read`, `hash`, `stat` and `remove`.
pub(crate) fn look(name: &str, rest: &[String]) -> Reply {
    let Some(path) = rest.first() else {
        return Reply::wrong();
    };
    let answer = match name {
        "read" => fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        "hash" => fs::read(path).map(|bytes| format!("{:016x}\n", fnv(&bytes))),
        "stat" => stat(path),
        _ => fs::remove_file(path).map(|()| String::new()),
    };
    match answer {
        Ok(text) => Reply::out(text),
        Err(error) => Reply::fail(1, format!("{name} {path}: {}", why(&error))),
    }
}

fn stat(path: &str) -> io::Result<String> {
    let meta = fs::metadata(path)?;
    let (size, kind) = if meta.is_dir() {
        (0, "directory")
    } else {
        (meta.len(), "file")
    };
    Ok(format!(
        "{:04o} {} {} {size} {kind}\n",
        meta.mode() & 0o7777,
        meta.uid(),
        meta.gid()
    ))
}

/// `write` and `append`.
pub(crate) fn write(name: &str, rest: &[String]) -> Reply {
    let Some((path, text)) = rest.split_first() else {
        return Reply::wrong();
    };
    match put(path, &text.join(" "), name == "append") {
        Ok(()) => Reply::default(),
        Err(error) => Reply::fail(1, format!("{name} {path}: {}", why(&error))),
    }
}

/// Writes a whole file, or adds to its end.
pub(crate) fn put(path: &str, text: &str, append: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .write(true)
        .append(append)
        .truncate(!append);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    match file.sync_all() {
        // A device has nothing to bring to a disk.
        Err(_) if !file.metadata()?.is_file() => Ok(()),
        other => other,
    }
}

/// FNV-1a over 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
