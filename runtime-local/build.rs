//! Compiles the shim, a small static program without dependencies, for the library to embed.
//!
//! The result is `$OUT_DIR/shim`; `UNMOOR_SHIM_HASH` names its content. The same sources are
//! seen by clippy and by unit tests through the package in `tests/shim`.

use std::process::ExitCode;

use unmoor_static::{compile, compile_variant, print_error, variable};

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            print_error(&message);
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    let target = variable("TARGET")?;
    if !target.contains("-linux-") {
        return Err(format!("the local runtime needs Linux, not {target}"));
    }
    let output = compile("shim")?;
    if std::env::var_os("CARGO_FEATURE_FAILPOINTS").is_some() {
        // For the tests in which the library meets shims of other versions.
        for version in ["older", "newer"] {
            let (name, cfg) = (format!("shim-{version}"), format!("wire=\"{version}\""));
            compile_variant("shim", &name, &cfg)?;
        }
    }
    let program = std::fs::read(&output).map_err(|error| format!("read the shim: {error}"))?;
    println!(
        "cargo::rustc-env=UNMOOR_SHIM_HASH={:032x}",
        fnv128(&program)
    );
    Ok(())
}

/// FNV-1a over 128 bits: a name for the content, not a defence.
fn fnv128(bytes: &[u8]) -> u128 {
    bytes
        .iter()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
            (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        })
}
