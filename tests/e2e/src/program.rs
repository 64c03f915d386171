//! The programs under test, built once, and whether this machine can run the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Set by the task that has built everything and has cut the network off.
const BUILT: &str = "UNMOOR_TEST_ISOLATED";

/// The command line.
///
/// # Panics
/// If it cannot be built.
pub fn unmoor() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| built("unmoor-cli", "unmoor"))
}

/// The shop through the library, from `examples/`.
///
/// # Panics
/// If it cannot be built.
pub fn library_example() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| example("library"))
}

/// The program that asks from inside a service where the others are, from `examples/`.
///
/// # Panics
/// If it cannot be built.
pub fn inside_example() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| example("inside"))
}

/// The leak ledger.
///
/// # Panics
/// If it cannot be built.
pub fn ledger() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| built("unmoor-tools", "ledger"))
}

fn example(name: &str) -> PathBuf {
    let place = format!("examples/{name}");
    build("unmoor-examples", "--example", name, &place)
}

fn built(package: &str, program: &str) -> PathBuf {
    build(package, "--bin", program, program)
}

/// Where the programs of this build lie.
fn directory() -> PathBuf {
    let here = std::env::current_exe().expect("a program has a path");
    // target/debug/deps/TEST, so two up is where programs are.
    let directory = here.ancestors().nth(2);
    directory
        .expect("tests stand in target/PROFILE/deps")
        .to_owned()
}

/// Where cargo puts what it builds.
///
/// # Panics
/// If this program does not stand where cargo puts tests.
#[must_use]
pub fn target_dir() -> PathBuf {
    let directory = directory();
    let target = directory.parent().expect("PROFILE stands in target");
    target.to_owned()
}

fn build(package: &str, kind: &str, program: &str, place: &str) -> PathBuf {
    let path = directory().join(place);
    if std::env::var_os(BUILT).is_some() && path.exists() {
        return path;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--package", package, kind, program]);
    if directory().ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo
        .env("CARGO_TARGET_DIR", target_dir())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cargo build {package}: {status}");
    path
}

/// What is missing to play a test on a real stage; `None` if nothing is.
#[must_use]
pub fn missing(programs: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root for namespaces".to_owned());
    }
    let all = ["unshare", "nsenter", "ip", "curl"];
    let absent = all
        .iter()
        .chain(programs)
        .find(|program| find(program).is_none());
    absent.map(|program| format!("`{program}` is not installed"))
}

/// Where an installed program is, also outside of `PATH`.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}
