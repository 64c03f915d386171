//! The machine: QEMU's command line, and the disk it writes to.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::kernel::Kernel;
use crate::process::output;
use crate::{Failure, Outcome};

/// Most of it stays a hole.
const DISK_BYTES: u64 = 12 << 30;
const MEMORY_MIB: u32 = 3072;
const HARDWARE: &str = "kvm";

/// An empty disk, removed with this value.
#[derive(Debug)]
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn make(dir: &Path) -> Result<Self, Failure> {
        let disk = Self(dir.join(format!("disk.{}", std::process::id())));
        disk.format()?;
        Ok(disk)
    }

    fn format(&self) -> Outcome {
        File::create(&self.0)
            .and_then(|file| file.set_len(DISK_BYTES))
            .map_err(|error| Failure::new(format!("cannot make {}: {error}", self.0.display())))?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut format = Command::new("mkfs.ext4");
        format.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        output(format.args(["-q", "-F"]).arg(&self.0)).map(|_| ())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if fs::remove_file(&self.0).is_err() {
            eprintln!("vm: cannot remove {}", self.0.display());
        }
    }
}

/// The command that runs the machine until it switches itself off.
pub(super) fn machine(kernel: &Kernel, memory: &Path, disk: &Disk, workspace: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-accel",
        accelerator(),
        "-cpu",
        "max",
        "-smp",
        &processors(),
    ]);
    command.args(["-m", &MEMORY_MIB.to_string(), "-nic", "none", "-no-reboot"]);
    command.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
    command
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(memory);
    command.args([
        "-append",
        "console=ttyS0 quiet panic=-1 systemd.unit=vm.service",
    ]);
    let drive = format!(
        "file={},format=raw,if=virtio,cache=unsafe",
        disk.0.display()
    );
    command.args(["-drive", &drive]);
    let shares = [
        ("programs", Path::new("/usr")),
        ("workspace", workspace),
        ("modules", &kernel.modules),
    ];
    for (tag, path) in shares {
        let path = path.display();
        let share = format!(
            "local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"
        );
        command.args(["-virtfs", &share]);
    }
    command
}

/// Whether the machine's processors are a program, which is no place to measure times.
pub(super) fn is_emulated() -> bool {
    accelerator() != HARDWARE
}

/// Real processors where the host's can do it; the mere presence of the device says nothing.
fn accelerator() -> &'static str {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let can = text
        .split_ascii_whitespace()
        .any(|flag| flag == "vmx" || flag == "svm");
    if can && File::options().write(true).open("/dev/kvm").is_ok() {
        HARDWARE
    } else {
        "tcg,thread=multi"
    }
}

fn processors() -> String {
    std::thread::available_parallelism()
        .map_or(2, |count| count.get().clamp(2, 4))
        .to_string()
}
