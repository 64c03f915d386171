//! See the README.

pub mod image;
