//! Debian packages the tests use: real servers and tools to test against.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::process::{on_path, run};
use crate::{Failure, Outcome};

const WANTED: [&str; 11] = [
    "busybox-static",
    "curl",
    "docker-registry",
    "iproute2",
    "nftables",
    "nginx-light",
    "postgresql",
    "python3",
    "redis-server",
    "skopeo",
    "strace",
];

/// Asked by Debian's install scripts before they start a service; 101 means: do not.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing, or says why it does not; a test that needs more says so itself.
pub(crate) fn install() {
    if !Path::new("/etc/debian_version").exists() || !on_path("apt-get") {
        return notice("this is not Debian");
    }
    let missing = missing();
    if missing.is_empty() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return notice(&format!(
            "not root, so not installed: {}",
            missing.join(" ")
        ));
    }
    if let Err(failure) = apt(&missing) {
        notice(&failure.to_string());
    }
}

fn notice(why: &str) {
    eprintln!("packages: skipped, {why}; tests that need them will say so");
}

fn missing() -> Vec<&'static str> {
    WANTED
        .into_iter()
        .filter(|package| !installed(package))
        .collect()
}

fn installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    let output = query
        .args(["-W", "-f", "${db:Status-Status}", package])
        .output();
    output.is_ok_and(|output| output.stdout == b"installed")
}

fn apt(packages: &[&str]) -> Outcome {
    let _quiet = NoServices::set()?;
    let apt_get = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        run(command.env("DEBIAN_FRONTEND", "noninteractive").args(args))
    };
    apt_get(&["update", "-q"])?;
    let mut args = vec!["install", "-q", "-y", "--no-install-recommends"];
    args.extend(packages);
    apt_get(&args)
}

/// Keeps freshly installed servers from starting on this machine while it lives.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn set() -> Result<Self, Failure> {
        let path = Path::new(POLICY);
        if path.exists() {
            return Ok(Self { ours: false });
        }
        fs::write(path, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
            .map_err(|error| Failure::new(format!("cannot write {POLICY}: {error}")))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours && fs::remove_file(POLICY).is_err() {
            eprintln!("packages: cannot remove {POLICY}; remove it to let services start again");
        }
    }
}
