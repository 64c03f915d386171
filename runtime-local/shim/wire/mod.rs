//! Messages and files that the library and the shim share; no crates, no I/O.
//!
//! This folder is compiled twice: into the shim, and into the library through `#[path]`.

pub mod codec;
