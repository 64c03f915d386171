//! The shim's program: embedded in this library, installed once, executed by descriptor.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{MemfdFlags, SealFlags, StatVfsMountFlags};

use crate::error::LocalError;
use crate::layout::Layout;
use crate::state;

/// The program.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shim"));
/// A name for its content.
const HASH: &str = env!("UNMOOR_SHIM_HASH");

/// The installed program, open.
#[derive(Debug)]
pub(crate) struct Program {
    file: OwnedFd,
}

impl Program {
    /// Installs the program unless it is there, and opens it.
    ///
    /// On a directory from which nothing may be executed it is kept in memory instead, sealed.
    pub(crate) fn install(layout: &Layout) -> Result<Self, LocalError> {
        let path = layout.root().join(format!("shim-{HASH}"));
        let failed = |source: std::io::Error| LocalError::io("install the shim as", &path, source);
        let file = match open_checked(&path).map_err(failed)? {
            Some(file) => file,
            None => {
                put_in_place(&path).map_err(failed)?;
                open_checked(&path)
                    .map_err(failed)?
                    .ok_or_else(|| LocalError::Corrupt {
                        what: path.display().to_string(),
                        problem: "its content changes while it is installed".to_owned(),
                    })?
            }
        };
        let flags = rustix::fs::fstatvfs(&file)
            .map_err(|e| failed(e.into()))?
            .f_flag;
        let file = if flags.contains(StatVfsMountFlags::NOEXEC) {
            in_memory().map_err(failed)?
        } else {
            file
        };
        Ok(Self { file })
    }

    /// A command that runs exactly what was opened, whatever the name leads to by then.
    pub(crate) fn command(&self) -> Command {
        // The kernel opens the program before it closes what is marked close-on-exec.
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command.env_clear().current_dir("/");
        command
    }
}

/// Opens the installed program; `None` if it is not there, or is not ours to the last byte.
fn open_checked(path: &Path) -> std::io::Result<Option<OwnedFd>> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    let ours = found.is_file()
        && found.uid() == rustix::process::geteuid().as_raw()
        && found.mode() & 0o777 == 0o500
        && found.len() == PROGRAM.len() as u64;
    if !ours {
        return Ok(None);
    }
    let mut content = Vec::with_capacity(PROGRAM.len());
    file.read_to_end(&mut content)?;
    Ok((content == PROGRAM).then(|| file.into()))
}

fn put_in_place(path: &Path) -> std::io::Result<()> {
    let random = state::random_hex(8).map_err(std::io::Error::other)?;
    let temporary: PathBuf = path.with_file_name(format!(".shim-{random}"));
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o500)
        .open(&temporary)?;
    let write = file.write_all(PROGRAM).and_then(|()| {
        // A program that is open for writing cannot be executed.
        drop(file);
        std::fs::rename(&temporary, path)
    });
    write.inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

fn in_memory() -> std::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("unmoor-shim", flags)?;
    let mut file = File::from(file);
    file.write_all(PROGRAM)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_installed_once_and_a_damaged_one_is_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::open(dir.path()).expect("made");
        let path = dir.path().join(format!("shim-{HASH}"));
        Program::install(&layout).expect("installed");
        let first = std::fs::metadata(&path).expect("there").ino();
        Program::install(&layout).expect("found");
        assert_eq!(
            std::fs::metadata(&path).expect("there").ino(),
            first,
            "left alone"
        );
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).expect("set");
        std::fs::write(&path, b"#!/bin/sh").expect("damaged");
        Program::install(&layout).expect("replaced");
        assert_eq!(std::fs::read(&path).expect("read"), PROGRAM);
    }

    #[test]
    fn the_program_in_memory_cannot_be_written() {
        let file = in_memory().expect("made");
        assert!(rustix::io::write(&file, b"x").is_err());
    }
}
