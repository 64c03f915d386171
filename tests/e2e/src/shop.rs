//! The example application, packed into images, and programs that use the library to run it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::foreign::Packed;
use crate::program::target_dir;

/// Set by the task that has packed the images already.
const PACKED: &str = "UNMOOR_TEST_IMAGES";

/// Where the page of the shop is published.
pub const PAGE: &str = "http://127.0.0.1:8080/";

/// The directory of the packed images.
///
/// # Panics
/// If they cannot be packed.
#[must_use]
pub fn packed() -> PathBuf {
    if let Some(directory) = std::env::var_os(PACKED).map(PathBuf::from)
        && directory.exists()
    {
        return directory;
    }
    let status = cargo()
        .args(["run", "--package", "xtask", "--", "images"])
        .current_dir(root())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "pack the images of the shop: {status}");
    target_dir().join("images")
}

/// The images of the shop, as `image import` takes them.
#[must_use]
pub fn images() -> Vec<Packed> {
    let directory = packed();
    let image = |file: &str, name: &'static str| Packed {
        archive: directory.join(file),
        name,
        changes: vec![r#"ENTRYPOINT ["/app"]"#.to_owned()],
    };
    vec![
        image("store.tar", "shop/store:1"),
        image("api.tar", "shop/api:1"),
        image("web.tar", "shop/web:1"),
    ]
}

/// The Rust program of the README's section with this heading.
///
/// # Panics
/// If the README has no such section, or no program in it.
#[must_use]
pub fn readme_program(heading: &str) -> String {
    let text = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("the README has no section `{heading}`"));
    let (_, fenced) = section.split_once("```rust").expect("it has a program");
    let (_, program) = fenced.split_once('\n').expect("the fence is a line");
    let (program, _) = program.split_once("```").expect("the fence ends");
    program.to_owned()
}

/// Builds a crate that knows this repository by its path alone; gives its program.
///
/// # Errors
/// What the compiler says.
///
/// # Panics
/// If its files cannot be written.
pub fn build_outside(directory: &Path, name: &str, main: &str) -> Result<PathBuf, String> {
    fs::create_dir_all(directory.join("src")).expect("a directory");
    let write = |file: &str, text: &str| fs::write(directory.join(file), text).expect("a file");
    write("Cargo.toml", &manifest(name));
    write("src/main.rs", main);
    // The same versions that the workspace was built with are the ones at hand without a network.
    fs::copy(root().join("Cargo.lock"), directory.join("Cargo.lock")).expect("a lock file");
    let output = cargo()
        .args(["build", "--offline", "--quiet"])
        .current_dir(directory)
        .output()
        .expect("cargo runs");
    if output.status.success() {
        return Ok(target_dir().join("debug").join(name));
    }
    Err(said(&output))
}

/// Profiles are the workspace's, so that what it compiled need not be compiled again.
fn manifest(name: &str) -> String {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let profiles = workspace.find("[profile.dev]").expect("there are profiles");
    let profiles = &workspace[profiles..];
    let path = root();
    let path = path.display();
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n\
         unmoor = {{ path = \"{path}\", default-features = false, features = [\"local\"] }}\n\n\
         [workspace]\n\n{profiles}"
    )
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env("CARGO_TARGET_DIR", target_dir());
    cargo
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).expect("it lies in tests/e2e");
    root.to_owned()
}

/// All that a program printed.
#[must_use]
pub fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}
