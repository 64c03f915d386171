//! The example's images: static programs, each alone in a root file system of its own.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tar::{Builder, EntryType, Header};

use crate::Failure;
use crate::process::{announce, cargo, output, run, target_dir};

/// The services of the example, by the name of their program.
pub(crate) const SERVICES: [&str; 3] = ["store", "api", "web"];

/// A packed root file system and the name its image shall have.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) archive: PathBuf,
    pub(crate) name: String,
}

/// Compiles and packs all of them into `target/images`.
pub(crate) fn build_all() -> Result<Vec<Image>, Failure> {
    let host = host_triple()?;
    // A directory of its own: other flags would make cargo forget what it has built.
    let static_dir = target_dir().join("static");
    let mut build = cargo(&[
        "build",
        "--release",
        "--package",
        "unmoor-examples",
        "--bins",
        "--locked",
    ]);
    build
        .args(["--target", &host])
        .arg("--target-dir")
        .arg(&static_dir);
    run(build.env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let dir = target_dir().join("images");
    fs::create_dir_all(&dir)
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", dir.display())))?;
    let programs = static_dir.join(&host).join("release");
    SERVICES
        .into_iter()
        .map(|service| pack(service, &programs, &dir))
        .collect()
}

fn host_triple() -> Result<String, Failure> {
    let mut command = Command::new("rustc");
    command.arg("-vV");
    announce(&command);
    let text = output(&mut command)?;
    let host = text
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(ToOwned::to_owned);
    host.ok_or_else(|| Failure::new("rustc does not say what it compiles for"))
}

fn pack(service: &str, programs: &Path, dir: &Path) -> Result<Image, Failure> {
    let archive = dir.join(format!("{service}.tar"));
    let program = programs.join(format!("shop-{service}"));
    write_archive(&archive, &program)
        .map_err(|error| Failure::new(format!("cannot pack {}: {error}", program.display())))?;
    eprintln!("packed {}", archive.display());
    Ok(Image {
        archive,
        name: format!("shop/{service}:1"),
    })
}

/// The same program gives the same bytes: no times, no names of whoever packs.
fn write_archive(archive: &Path, program: &Path) -> io::Result<()> {
    let mut builder = Builder::new(File::create(archive)?);
    for (path, mode) in [("data/", 0o755), ("etc/", 0o755), ("tmp/", 0o1777)] {
        let mut header = header(EntryType::Directory, mode, 0);
        builder.append_data(&mut header, path, io::empty())?;
    }
    let passwd = b"root:x:0:0:root:/:/app\n";
    let mut entry = header(EntryType::Regular, 0o644, passwd.len() as u64);
    builder.append_data(&mut entry, "etc/passwd", passwd.as_slice())?;
    let file = File::open(program)?;
    let mut entry = header(EntryType::Regular, 0o755, file.metadata()?.len());
    builder.append_data(&mut entry, "app", file)?;
    builder.into_inner()?.sync_all()
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
