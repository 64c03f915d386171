//! Small files and trees of our own: private, whole or absent, removed without following links.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::LocalError;

/// Makes a directory that only its owner may enter; one that is there is fine.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), LocalError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(LocalError::io("make directory", path, source)),
    }
}

/// Puts a file in place whole: a reader sees the former content or this one.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), LocalError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&temporary);
        LocalError::io("write", path, source)
    })
}

/// Writes a record beside the thing it is about.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), LocalError> {
    let text = serde_json::to_vec(value).map_err(|error| LocalError::Corrupt {
        what: path.display().to_string(),
        problem: error.to_string(),
    })?;
    write_private(path, &text)
}

/// Reads such a record; `None` if there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LocalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LocalError::io("read", path, source)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| LocalError::Corrupt {
            what: path.display().to_string(),
            problem: error.to_string(),
        })
}

/// Removes a directory with all that is in it, by descriptors and without following links;
/// absent is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), LocalError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(LocalError::io("remove", path, source)),
    }
}

/// Removes a directory in which somebody may be making files who comes too late: it loses its name
/// first, so that whoever has it open can find out. Absent is fine.
pub(crate) fn remove_claimed(path: &Path) -> Result<(), LocalError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let nameless = path.with_file_name(format!(".{name}"));
    // Left by a command that died between the two steps.
    remove_stubborn(&nameless)?;
    match fs::rename(path, &nameless) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LocalError::io("remove", path, error))
        }
        _ => remove_stubborn(&nameless),
    }
}

fn remove_stubborn(path: &Path) -> Result<(), LocalError> {
    // Whoever comes too late makes one file and finds out.
    const TRIES: u32 = 100;
    let mut result = remove_tree(path);
    for _ in 0..TRIES {
        match &result {
            Err(LocalError::Io { source, .. })
                if source.kind() == io::ErrorKind::DirectoryNotEmpty =>
            {
                result = remove_tree(path);
            }
            _ => break,
        }
    }
    result
}

/// Removes a file; absent is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), LocalError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(LocalError::io("remove", path, source)),
    }
}

/// Removes a directory if nothing is in it.
pub(crate) fn remove_if_empty(path: &Path) {
    // Others may be using it: any failure means that it is theirs to remove.
    let _ = fs::remove_dir(path);
}
