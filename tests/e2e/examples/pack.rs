//! Packs the test stack's images into a directory: `cargo run -p unmoor-e2e --example pack DIR`.

use std::path::PathBuf;

fn main() {
    let directory = PathBuf::from(std::env::args().nth(1).expect("usage: pack DIR"));
    std::fs::create_dir_all(&directory).expect("the directory");
    for image in unmoor_e2e::foreign::pack_all(&directory).expect("packs") {
        println!(
            "{} {} {:?}",
            image.name,
            image.archive.display(),
            image.changes
        );
    }
}
