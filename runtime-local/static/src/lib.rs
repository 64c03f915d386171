//! Compiles a folder of sources into a small static program, for build scripts that embed one.
//!
//! The program has no dependencies and does not depend on how the rest is built: the same sources
//! and compiler give the same bytes wherever they lie.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the linker says where the static C library is missing.
const NO_LIBC: [&str; 4] = [
    "cannot find -lc",
    "unable to find library -lc",
    "cannot find -lgcc_eh",
    "crt1.o",
];

/// Compiles `folder` beside the build script into `$OUT_DIR/folder`, and has cargo run the script
/// again when a file of it changes.
///
/// # Errors
/// What is missing, or that the compiler refused; what it said is printed as warnings.
pub fn compile(folder: &str) -> Result<PathBuf, String> {
    build(folder, folder, None)
}

/// The same with a condition set, into `$OUT_DIR/name`: a variant for tests.
///
/// # Errors
/// As [`compile`].
pub fn compile_variant(folder: &str, name: &str, cfg: &str) -> Result<PathBuf, String> {
    build(folder, name, Some(cfg))
}

fn build(folder: &str, name: &str, cfg: Option<&str>) -> Result<PathBuf, String> {
    let sources = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join(folder);
    watch(&sources);
    println!("cargo::rerun-if-changed=build.rs");
    let output = PathBuf::from(variable("OUT_DIR")?).join(name);
    let target = static_target(&variable("TARGET")?)?;
    let mut rustc = command(folder, &sources, &target)?;
    rustc.arg("-o").arg(&output);
    rustc.args(cfg.iter().flat_map(|cfg| ["--cfg", cfg]));
    match rustc.output() {
        Ok(result) if result.status.success() => Ok(output),
        Ok(result) => Err(explain(
            folder,
            &String::from_utf8_lossy(&result.stderr),
            &target,
        )),
        Err(error) => Err(format!("run rustc for the {folder}: {error}")),
    }
}

/// What cargo tells build scripts by this name.
///
/// # Errors
/// If it does not.
pub fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}

/// Prints an error of a build script as cargo shows it.
pub fn print_error(message: &str) {
    println!("cargo::error={}", message.replace('\n', " | "));
}

/// Every file by its own, and every folder so that a new file is noticed.
fn watch(folder: &Path) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            watch(&path);
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// The musl variant of `target` where its standard library is installed: it is a third of the
/// size and half of the memory; else the target itself, linked statically.
fn static_target(target: &str) -> Result<String, String> {
    let arch = target.split('-').next().unwrap_or_default();
    let musl = format!("{arch}-unknown-linux-musl");
    let sysroot = Command::new(variable("RUSTC")?)
        .args(["--print", "sysroot"])
        .output();
    let sysroot = sysroot.map_err(|error| format!("run rustc to learn its folder: {error}"))?;
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    let library = Path::new(&sysroot)
        .join("lib/rustlib")
        .join(&musl)
        .join("lib");
    let installed = fs::read_dir(library).is_ok_and(|mut files| files.next().is_some());
    Ok(if installed { musl } else { target.to_owned() })
}

fn command(folder: &str, sources: &Path, target: &str) -> Result<Command, String> {
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-type", "bin"]);
    rustc.args(["--crate-name", &format!("unmoor_{folder}")]);
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
        && target == variable("TARGET")?
    {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    // The same sources give the same program wherever they lie.
    rustc.arg(format!(
        "--remap-path-prefix={}={folder}",
        sources.display()
    ));
    rustc.arg(sources.join("main.rs"));
    // Flags meant for the host's crates must not reach the program.
    for inherited in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_BOOTSTRAP"] {
        rustc.env_remove(inherited);
    }
    Ok(rustc)
}

fn explain(folder: &str, stderr: &str, target: &str) -> String {
    if NO_LIBC.iter().any(|sign| stderr.contains(sign)) {
        let arch = target.split('-').next().unwrap_or_default();
        return format!(
            "the {folder} is linked statically and the static C library libc.a is missing: \
             install libc6-dev (Debian, Ubuntu) or glibc-static (Fedora, RHEL), or add the Rust \
             target {arch}-unknown-linux-musl, then build again"
        );
    }
    for line in stderr.lines() {
        println!("cargo::warning={line}");
    }
    format!("compiling the {folder} for {target} failed; the lines above say why")
}
