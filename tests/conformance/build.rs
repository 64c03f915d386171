//! Compiles the probe, a small static program without dependencies, for the suite to embed.
//!
//! The result is `$OUT_DIR/probe`; empty where services cannot run it, on systems other than Linux.

use std::path::Path;
use std::process::ExitCode;

use unmoor_static::{compile, print_error, variable};

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
    if variable("TARGET")?.contains("-linux-") {
        return compile("probe").map(drop);
    }
    let output = Path::new(&variable("OUT_DIR")?).join("probe");
    std::fs::write(&output, b"").map_err(|error| format!("write {}: {error}", output.display()))
}
