//! Compiles the probe, a small static program without dependencies, for the suite to embed.
//!
//! The result is `$OUT_DIR/probe`; empty where services cannot run it, on systems other than Linux.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

fn main() {
    let sources = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("probe");
    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-changed=build.rs");
    let output = PathBuf::from(variable("OUT_DIR")).join("probe");
    let target = variable("TARGET");
    if target.contains("-linux-") {
        compile(&sources, &output, &probe_target(&target));
    } else if let Err(error) = fs::write(&output, b"") {
        fail(&format!("write {}: {error}", output.display()));
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a build script that fails has nothing to clean up"
)]
fn fail(message: &str) -> ! {
    println!("cargo::error={}", message.replace('\n', " | "));
    exit(1)
}

/// The musl variant of `target` where its standard library is installed, because it is smaller;
/// else the target itself, linked statically.
fn probe_target(target: &str) -> String {
    let arch = target.split('-').next().unwrap_or_default();
    let musl = format!("{arch}-unknown-linux-musl");
    let sysroot = Command::new(variable("RUSTC"))
        .args(["--print", "sysroot"])
        .output();
    let Ok(sysroot) = sysroot else {
        fail("run rustc to learn its folder")
    };
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    let library = Path::new(&sysroot)
        .join("lib/rustlib")
        .join(&musl)
        .join("lib");
    let installed = fs::read_dir(library).is_ok_and(|mut files| files.next().is_some());
    if installed { musl } else { target.to_owned() }
}

fn compile(sources: &Path, output: &Path, target: &str) {
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args([
        "--edition",
        "2024",
        "--crate-name",
        "probe",
        "--crate-type",
        "bin",
    ]);
    rustc.args(["--target", target, "--cap-lints", "allow"]);
    for option in [
        "opt-level=s",
        "panic=abort",
        "lto=fat",
        "codegen-units=1",
        "strip=symbols",
        "debuginfo=0",
        "target-feature=+crt-static",
        "relocation-model=static",
    ] {
        rustc.args(["-C", option]);
    }
    if let Ok(linker) = env::var("RUSTC_LINKER")
        && target == variable("TARGET")
    {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    rustc.arg(format!("--remap-path-prefix={}=probe", sources.display()));
    rustc.arg(sources.join("main.rs")).arg("-o").arg(output);
    // Flags meant for the host's crates must not reach the probe.
    for inherited in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_BOOTSTRAP"] {
        rustc.env_remove(inherited);
    }
    match rustc.output() {
        Ok(result) if result.status.success() => {}
        Ok(result) => explain(&String::from_utf8_lossy(&result.stderr), target),
        Err(error) => fail(&format!("run rustc for the probe: {error}")),
    }
}

fn explain(stderr: &str, target: &str) -> ! {
    for line in stderr.lines() {
        println!("cargo::warning={line}");
    }
    fail(&format!(
        "compiling the probe for {target} failed; it is linked statically, so the static C library \
         (libc6-dev, glibc-static) or the musl target must be installed"
    ))
}
