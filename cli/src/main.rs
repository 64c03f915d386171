//! The unmoor command line.
fn main() {}
