//! The shim: starts and supervises one local replica.

#[allow(dead_code, reason = "the library and the shim each use their half of every message")]
pub mod wire;

fn main() {}
