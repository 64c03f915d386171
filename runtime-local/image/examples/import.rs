//! Imports a root file system as an image and tells how long that took.
//!
//! `import STORE NAME ROOTFS.tar[.gz|.zst] [CHANGE...]`

use std::process::ExitCode;
use std::time::Instant;

use unmoor_image::Store;
use unmoor_image::archive::{ImportOptions, import};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, name, rootfs, changes @ ..] = arguments.as_slice() else {
        eprintln!("usage: import STORE NAME ROOTFS [CHANGE...]");
        return ExitCode::from(2);
    };
    match run(store, name, rootfs, changes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut next: Option<&dyn std::error::Error> = Some(&*error);
            while let Some(error) = next {
                eprintln!("{error}");
                next = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(
    store: &str,
    name: &str,
    rootfs: &str,
    changes: &[String],
) -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::open(store)?;
    let mut options = ImportOptions::default();
    options.changes = changes.to_vec();
    let started = Instant::now();
    let image = import(&store, rootfs, &name.parse()?, &options)?;
    println!(
        "{} in {:.3} s",
        image.manifest_digest,
        started.elapsed().as_secs_f64()
    );
    for note in store.notes(&image) {
        println!("{note}");
    }
    Ok(())
}
