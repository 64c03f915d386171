//! Packs the test stack's images into a directory: `cargo run -p unmoor-e2e --example pack DIR`.

use std::path::PathBuf;

fn main() {
    let directory = PathBuf::from(std::env::args().nth(1).expect("usage: pack DIR"));
    std::fs::create_dir_all(&directory).expect("the directory");
    let small = unmoor_e2e::foreign::pack_small(&directory).expect("packs");
    let foreign = unmoor_e2e::foreign::pack_all(&directory).expect("packs");
    for image in foreign.into_iter().chain([small]) {
        println!(
            "{} {} {:?}",
            image.name,
            image.archive.display(),
            image.changes
        );
    }
}
