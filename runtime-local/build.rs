//! Compiles the shim, a small static program without dependencies, for the library to embed.
//!
//! The result is `$OUT_DIR/shim`; `UNMOOR_SHIM_HASH` names its content. The same sources are
//! seen by clippy and by unit tests through the package in `tests/shim`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let sources = manifest.join("shim");
    watch(&sources);
    println!("cargo::rerun-if-changed=build.rs");
    let target = variable("TARGET");
    if !target.contains("-linux-") {
        fail(&format!("the local runtime needs Linux, not {target}"));
    }
    let output = PathBuf::from(variable("OUT_DIR")).join("shim");
    compile(&sources, &output, &shim_target(&target));
    let program = fs::read(&output).unwrap_or_else(|e| fail(&format!("read the shim: {e}")));
    println!(
        "cargo::rustc-env=UNMOOR_SHIM_HASH={:032x}",
        fnv128(&program)
    );
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

fn fail(message: &str) -> ! {
    println!("cargo::error={}", message.replace('\n', " | "));
    panic!("the shim cannot be compiled")
}

/// Every file by its own, and every folder so that a new file is noticed.
fn watch(folder: &Path) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            watch(&path);
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// The musl variant of `target` where its standard library is installed: it is a third of the
/// size and half of the memory; else the target itself, linked statically.
fn shim_target(target: &str) -> String {
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
        "unmoor_shim",
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
    // The same sources give the same program wherever they lie.
    rustc.arg(format!("--remap-path-prefix={}=shim", sources.display()));
    rustc.arg(sources.join("main.rs")).arg("-o").arg(output);
    // Flags meant for the host's crates must not reach the shim.
    for inherited in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_BOOTSTRAP"] {
        rustc.env_remove(inherited);
    }
    match rustc.output() {
        Ok(result) if result.status.success() => {}
        Ok(result) => explain(&String::from_utf8_lossy(&result.stderr), target),
        Err(e) => fail(&format!("run rustc for the shim: {e}")),
    }
}

fn explain(stderr: &str, target: &str) -> ! {
    if [
        "cannot find -lc",
        "unable to find library -lc",
        "cannot find -lgcc_eh",
        "crt1.o",
    ]
    .iter()
    .any(|sign| stderr.contains(sign))
    {
        let arch = target.split('-').next().unwrap_or_default();
        fail(&format!(
            "the shim is linked statically and the static C library libc.a is missing: install \
             libc6-dev (Debian, Ubuntu) or glibc-static (Fedora, RHEL), or add the Rust target \
             {arch}-unknown-linux-musl, then build again"
        ));
    }
    for line in stderr.lines() {
        println!("cargo::warning={line}");
    }
    fail(&format!(
        "compiling the shim for {target} failed; the lines above say why"
    ))
}

/// FNV-1a over 128 bits: a name for the content, not a defence.
fn fnv128(bytes: &[u8]) -> u128 {
    bytes
        .iter()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
            (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        })
}
