//! Files under a state directory, by path and type; links are named, never followed.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::{Ledger, LedgerError, Section};

/// Lists a directory, which may be missing.
pub(super) fn read(ledger: &mut Ledger, dir: &Path) -> Result<(), LedgerError> {
    match fs::symlink_metadata(dir) {
        Ok(meta) => ledger.add(
            Section::File,
            format!("{} {}", kind(meta.file_type()), dir.display()),
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LedgerError::read(dir, error)),
    }
    walk(dir, &mut |path, file_type| {
        ledger.add(
            Section::File,
            format!("{} {}", kind(file_type), path.display()),
        );
    })
}

/// Visits everything below a directory; what vanishes meanwhile is passed over.
pub(super) fn walk(
    dir: &Path,
    visit: &mut dyn FnMut(&Path, fs::FileType),
) -> Result<(), LedgerError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(LedgerError::read(dir, error)),
    };
    for entry in entries.flatten() {
        let Ok(file_type) = entry.file_type() else {
            continue;
        };
        visit(&entry.path(), file_type);
        if file_type.is_dir() {
            walk(&entry.path(), visit)?;
        }
    }
    Ok(())
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    ) || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

fn kind(file_type: fs::FileType) -> &'static str {
    if file_type.is_dir() {
        "directory"
    } else if file_type.is_symlink() {
        "link"
    } else if file_type.is_socket() {
        "socket"
    } else if file_type.is_fifo() {
        "fifo"
    } else if file_type.is_file() {
        "file"
    } else {
        "device"
    }
}
