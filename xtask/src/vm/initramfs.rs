//! What the machine has in memory when it begins: a shell, the modules to reach its disk and the
//! host's files, and the settings of this run.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::kernel::Kernel;
use crate::process::{output, root, target_dir};
use crate::{Failure, Outcome};

const FILES: [(&str, &str); 5] = [
    ("init", include_str!("guest/init")),
    ("begin", include_str!("guest/begin")),
    ("command", include_str!("guest/command")),
    (
        "etc/systemd/system/vm.service",
        include_str!("guest/vm.service"),
    ),
    // Without a name a machine is taken for new, and somebody is asked to configure it.
    ("etc/machine-id", "00000000000000000000000000000001\n"),
];

/// Modules loaded before anything else; all others the kernel asks for.
const MODULES: [&str; 6] = [
    "virtio_pci",
    "virtio_blk",
    "9pnet_virtio",
    "9p",
    "ext4",
    "overlay",
];
/// The implementation of checksums that ext4 asks for; part of the kernel in newer ones.
const MODULES_IF_THERE: [&str; 1] = ["crc32c_generic"];

/// The host's settings that its programs rely on. Nothing secret is among them.
const ETC: [&str; 9] = [
    "alternatives",
    "group",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "nsswitch.conf",
    "passwd",
    "ssl/certs",
];

/// Packs it; `first` is the process that takes over, `command` what the machine is for.
pub(super) fn build(kernel: &Kernel, first: &str, command: &str) -> Result<PathBuf, Failure> {
    let dir = target_dir().join("vm/initramfs");
    let archive = target_dir().join("vm/initramfs.cpio");
    let _ = fs::remove_dir_all(&dir);
    fill(&dir, kernel, first, command)
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", dir.display())))?;
    copy_etc(&dir)?;
    pack(&dir, &archive)?;
    Ok(archive)
}

fn fill(dir: &Path, kernel: &Kernel, first: &str, command: &str) -> io::Result<()> {
    for name in ["bin", "modules", "etc/systemd/system"] {
        fs::create_dir_all(dir.join(name))?;
    }
    for (name, text) in FILES {
        write_executable(&dir.join(name), text)?;
    }
    fs::copy(busybox(), dir.join("bin/busybox"))?;
    let settings = [
        ("WORKSPACE", root().display().to_string()),
        ("FIRST", first.to_owned()),
        ("COMMAND", command.to_owned()),
    ];
    let line = |(name, value): &(&str, String)| format!("{name}={}\n", quoted(value));
    fs::write(
        dir.join("settings"),
        settings.iter().map(line).collect::<String>(),
    )?;
    let modules = kernel.modules.join(&kernel.release);
    let index = fs::read_to_string(modules.join("modules.dep"))?;
    let mut list = String::new();
    for file in in_order(&index)? {
        let name = file.rsplit('/').next().unwrap_or(&file);
        fs::copy(modules.join(&file), dir.join("modules").join(name))?;
        list.push_str(&format!("{name}\n"));
    }
    fs::write(dir.join("modules/list"), list)
}

fn write_executable(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

fn busybox() -> PathBuf {
    let usual = ["/bin/busybox", "/usr/bin/busybox"];
    let found = usual.into_iter().find(|path| Path::new(path).exists());
    PathBuf::from(found.unwrap_or(usual[0]))
}

/// A value for the shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// The files of the wanted modules, each after those it needs.
fn in_order(index: &str) -> io::Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for (name, must) in MODULES_IF_THERE
        .map(|name| (name, false))
        .into_iter()
        .chain(MODULES.map(|name| (name, true)))
    {
        let file_of = |line: &str| {
            let (file, needs) = line.split_once(':')?;
            let stem = file.rsplit('/').next()?.split('.').next()?;
            (stem.replace('-', "_") == name).then(|| (file.to_owned(), needs.to_owned()))
        };
        let Some((file, needs)) = index.lines().find_map(file_of) else {
            if must {
                let text = format!("the kernel has no module {name}");
                return Err(io::Error::new(io::ErrorKind::NotFound, text));
            }
            continue;
        };
        // The index names what a module needs in the order of unloading.
        let needs = needs.split_ascii_whitespace().rev().map(ToOwned::to_owned);
        for file in needs.chain([file]) {
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    Ok(order)
}

fn copy_etc(dir: &Path) -> Outcome {
    let etc = Path::new("/etc");
    let there = ETC.iter().filter(|name| etc.join(name).exists());
    let mut copy = Command::new("cp");
    copy.args(["-a", "--parents"])
        .args(there)
        .arg(dir.join("etc"));
    output(copy.current_dir(etc)).map(|_| ())
}

fn pack(dir: &Path, archive: &Path) -> Outcome {
    let file = File::create(archive)
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", archive.display())))?;
    let mut command = Command::new("sh");
    // Whoever packs, the machine's files are root's.
    command.args(["-c", "find . | busybox cpio -o -H newc -R 0:0"]);
    let status = command.current_dir(dir).stdout(file).status();
    if status.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err(Failure::new(format!("cannot pack {}", archive.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need() {
        let index = "a/virtio_pci.ko: a/virtio.ko a/ring.ko\na/virtio_blk.ko: a/virtio.ko a/ring.ko\n\
                     a/ext4.ko.xz: a/jbd2.ko\na/overlay.ko:\na/9p.ko: a/9pnet.ko\n\
                     a/9pnet_virtio.ko: a/9pnet.ko\n";
        let order = in_order(index).expect("all there");
        let expected = "a/ring.ko a/virtio.ko a/virtio_pci.ko a/virtio_blk.ko a/9pnet.ko \
                        a/9pnet_virtio.ko a/9p.ko a/jbd2.ko a/ext4.ko.xz a/overlay.ko";
        assert_eq!(order.join(" "), expected);
        assert!(in_order("a/overlay.ko:\n").is_err());
    }

    #[test]
    fn the_shell_reads_a_value_back() {
        let value = "it's $HOME; \"two\"";
        let script = format!("printf %s {}", quoted(value));
        let said = output(Command::new("sh").args(["-c", &script])).expect("it runs");
        assert_eq!(said, value);
    }
}
