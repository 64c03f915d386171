//! Directories of every mounted cgroup hierarchy, v1 and v2.

use std::path::{Path, PathBuf};

use super::{Ledger, LedgerError, Section, files, mounts};

pub(super) fn read(ledger: &mut Ledger) -> Result<(), LedgerError> {
    for root in hierarchies()? {
        files::walk(&root, &mut |path, file_type| {
            if file_type.is_dir() {
                ledger.add_once(Section::Cgroup, path.display().to_string());
            }
        })?;
    }
    Ok(())
}

fn hierarchies() -> Result<Vec<PathBuf>, LedgerError> {
    let table = mounts::table(Path::new("/proc/self/mountinfo"))?;
    Ok(table
        .into_iter()
        .filter(|mount| mount.fs_type == "cgroup" || mount.fs_type == "cgroup2")
        .map(|mount| PathBuf::from(mount.point))
        .collect())
}
