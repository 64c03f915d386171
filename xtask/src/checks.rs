//! The checks that are one call of cargo each.

use std::path::PathBuf;

use serde_json::Value;

use crate::process::{announce, cargo, on_path, output, root, run};
use crate::{Failure, Outcome};

pub(crate) fn fmt() -> Outcome {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

pub(crate) fn clippy() -> Outcome {
    run(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

pub(crate) fn doc() -> Outcome {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

pub(crate) fn layout() -> Outcome {
    run(&mut cargo(&[
        "test",
        "--quiet",
        "--package",
        "unmoor-layout",
        "--locked",
    ]))
}

pub(crate) fn examples() -> Outcome {
    run(&mut cargo(&[
        "test",
        "--package",
        "unmoor-examples",
        "--all-targets",
        "--locked",
    ]))
}

/// `advisories` needs a database from the network, so it is left to whoever has it.
pub(crate) fn deny() -> Outcome {
    if !on_path("cargo-deny") && !cargo_home().join("bin/cargo-deny").is_file() {
        if std::env::var_os("CI_DENY").is_none() {
            eprintln!("deny: skipped, cargo-deny is not installed (CI_DENY=1 installs it)");
            return Ok(());
        }
        run(&mut cargo(&["install", "cargo-deny", "--locked"]))?;
    }
    run(&mut cargo(&[
        "deny",
        "--all-features",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// Checks with the compiler that `rust-version` names, which may be the one in use.
pub(crate) fn msrv() -> Outcome {
    let wanted = rust_version()?;
    let check = ["check", "--workspace", "--all-targets", "--locked"];
    let mut ask = std::process::Command::new("rustc");
    let in_use = output(ask.arg("--version").current_dir(root()))?;
    if in_use.starts_with(&format!("rustc {wanted}.")) {
        return run(&mut cargo(&check));
    }
    // The cargo of another toolchain cannot be asked for a third one; rustup's front can.
    let mut command = std::process::Command::new("cargo");
    command
        .arg(format!("+{wanted}"))
        .args(check)
        .current_dir(root());
    run(&mut command)
}

fn rust_version() -> Result<String, Failure> {
    let path = root().join("Cargo.toml");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "));
    let version = line.map(|value| value.trim_matches('"').to_owned());
    version.ok_or_else(|| Failure::new("Cargo.toml names no rust-version"))
}

/// Each feature of the façade alone, and none at all.
pub(crate) fn features() -> Outcome {
    let package = [
        "check",
        "--package",
        "unmoor",
        "--no-default-features",
        "--locked",
    ];
    run(&mut cargo(&package))?;
    for feature in feature_names()? {
        run(cargo(&package).args(["--features", &feature]))?;
    }
    Ok(())
}

fn feature_names() -> Result<Vec<String>, Failure> {
    let mut command = cargo(&["metadata", "--format-version=1", "--no-deps", "--locked"]);
    announce(&command);
    let metadata: Value = serde_json::from_str(&output(&mut command)?)
        .map_err(|error| Failure::new(format!("cargo metadata: {error}")))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let facade = packages
        .into_iter()
        .find(|package| package["name"] == "unmoor");
    let features = facade.and_then(|package| package["features"].as_object());
    let features =
        features.ok_or_else(|| Failure::new("cargo metadata lists no package unmoor"))?;
    Ok(features
        .keys()
        .filter(|name| *name != "default")
        .cloned()
        .collect())
}

/// What CI runs before the tests. `msrv` repeats `clippy` where the compiler is the oldest one.
pub(crate) fn all() -> Outcome {
    fmt()?;
    clippy()?;
    doc()?;
    layout()?;
    features()?;
    deny()
}
