//! What the host must have, said before anything is tried.

use std::path::Path;

use crate::error::LocalError;
use crate::sandbox::caps::{self, LinuxCap};

/// The oldest kernel with idmapped overlay layers.
const OLDEST: (u32, u32) = (5, 19);

/// What the runtime does with each right it needs.
const NEEDED: [(&str, &str); 5] = [
    ("SYS_ADMIN", "mount and make namespaces"),
    ("NET_ADMIN", "make networks"),
    ("SETUID", "give replicas user ids of their own"),
    ("SETGID", "give replicas group ids of their own"),
    ("CHOWN", "own the files of replicas"),
];

/// Checks this process and kernel.
///
/// # Errors
/// `Forbidden` or `Unsupported` with what is missing and what to do.
pub(crate) fn check() -> Result<(), LocalError> {
    let uname = rustix::system::uname();
    check_kernel(&uname.release().to_string_lossy())?;
    if !rustix::process::geteuid().is_root() {
        return Err(LocalError::Forbidden {
            what: "the local backend needs root, and this user is not root".to_owned(),
            hint: "run it as root (sudo); an unprivileged user lacks the rights to make \
                   networks, to mount and to set limits"
                .to_owned(),
        });
    }
    check_rights()?;
    check_user_namespaces()?;
    check_file_systems()
}

fn check_kernel(release: &str) -> Result<(), LocalError> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or_default());
    let found = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    if found >= OLDEST {
        return Ok(());
    }
    Err(LocalError::Unsupported {
        what: format!("the local backend needs Linux 5.19 or later, this is {release}"),
        hint: "update the kernel, or use another backend".to_owned(),
    })
}

fn check_rights() -> Result<(), LocalError> {
    let own = caps::effective();
    for (name, purpose) in NEEDED {
        if !LinuxCap::parse(name).is_some_and(|cap| own.has(cap)) {
            return Err(LocalError::Forbidden {
                what: format!("this root has not the right to {purpose} (CAP_{name})"),
                hint: "run it outside of a restricted container".to_owned(),
            });
        }
    }
    Ok(())
}

fn check_user_namespaces() -> Result<(), LocalError> {
    let path = Path::new("/proc/sys/user/max_user_namespaces");
    let missing = |what: String| LocalError::Unsupported {
        what,
        hint: "set user.max_user_namespaces to some thousands, or boot a kernel with \
               CONFIG_USER_NS"
            .to_owned(),
    };
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim() == "0" => Err(missing(
            "user namespaces are switched off (user.max_user_namespaces is 0)".into(),
        )),
        Ok(_) => Ok(()),
        Err(_) => Err(missing("this kernel has no user namespaces".into())),
    }
}

fn check_file_systems() -> Result<(), LocalError> {
    let path = Path::new("/proc/filesystems");
    let known =
        std::fs::read_to_string(path).map_err(|source| LocalError::io("read", path, source))?;
    let has = known
        .lines()
        .any(|line| line.split_ascii_whitespace().last() == Some("overlay"));
    // A module is loaded by the first mount; only its file tells before.
    if has || Path::new("/sys/module/overlay").exists() || module_there() {
        return Ok(());
    }
    Err(LocalError::Unsupported {
        what: "this kernel has no overlayfs".to_owned(),
        hint: "load the module `overlay`".to_owned(),
    })
}

fn module_there() -> bool {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let folder = Path::new("/lib/modules")
        .join(release)
        .join("kernel/fs/overlayfs");
    folder.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        for good in ["5.19.0", "6.1.0-13-amd64", "10.0", "6.18.44-fc"] {
            assert!(check_kernel(good).is_ok(), "{good}");
        }
        for old in ["5.4.0-150-generic", "5.18.19", "4.19", ""] {
            assert!(check_kernel(old).is_err(), "{old}");
        }
    }
}
