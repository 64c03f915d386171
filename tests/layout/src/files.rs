//! The files of the repository: what git tracks or would track.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace.
///
/// # Panics
/// Never in this workspace: this package lies two folders deep.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("tests/layout lies two folders deep")
        .to_owned()
}

/// Every file, as a path from the root with `/` between its parts.
#[must_use]
pub fn all() -> Vec<String> {
    let git = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let mut files: Vec<String> = match git {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(ToOwned::to_owned)
            .collect(),
        // A source archive has no git directory, and nothing in it is untracked.
        _ => walk(&root(), ""),
    };
    files.retain(|file| root().join(file).is_file());
    files.sort();
    files.dedup();
    files
}

fn walk(dir: &Path, prefix: &str) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().display());
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_dir {
            files.push(name);
        } else if name != "target" && name != ".git" {
            files.extend(walk(&entry.path(), &format!("{name}/")));
        }
    }
    files
}

/// Every Rust source.
#[must_use]
pub fn rust() -> Vec<String> {
    all()
        .into_iter()
        .filter(|file| file.ends_with(".rs"))
        .collect()
}

/// A file's text; bytes that are none are replaced.
///
/// # Panics
/// When the file cannot be read.
#[must_use]
pub fn text(file: &str) -> String {
    let bytes = fs::read(root().join(file));
    let bytes = bytes.unwrap_or_else(|error| panic!("cannot read {file}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a path of the repository exists.
#[must_use]
pub fn exists(path: &str) -> bool {
    root().join(path).exists()
}
