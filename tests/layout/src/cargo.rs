//! What cargo knows: packages, the edges between ours, and whole dependency trees.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::files::root;

/// One of our packages.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder from the root, empty for the root itself.
    pub folder: String,
    /// The folders of our packages it depends on, and whether only its tests do.
    pub edges: Vec<(String, bool)>,
}

/// Our packages.
///
/// # Panics
/// When cargo cannot read the workspace.
#[must_use]
pub fn packages() -> Vec<Package> {
    let text = run(&["metadata", "--format-version=1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo speaks JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let manifest = string(&value["manifest_path"]);
    let edges = value["dependencies"].as_array().into_iter().flatten();
    let edges = edges.filter_map(|edge| {
        let folder = folder(Path::new(edge["path"].as_str()?));
        Some((folder, edge["kind"] == "dev"))
    });
    Package {
        name: string(&value["name"]),
        folder: folder(Path::new(&manifest).parent().unwrap_or(Path::new(""))),
        edges: edges.collect(),
    }
}

fn folder(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The names of the crates in a tree, as `cargo tree` with these arguments has them.
///
/// # Panics
/// When cargo cannot resolve the tree.
#[must_use]
pub fn tree(args: &[&str]) -> Vec<String> {
    let mut all = vec!["tree", "--prefix", "none", "--format", "{p}"];
    all.extend(args);
    let text = run(&all);
    let name = |line: &str| line.split(' ').next().map(ToOwned::to_owned);
    let mut names: Vec<String> = text.lines().filter_map(name).collect();
    names.sort();
    names.dedup();
    names
}

fn run(args: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(args)
        .current_dir(root())
        .output();
    let output = output.expect("cargo runs this test, so it can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
