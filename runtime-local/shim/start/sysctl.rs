//! Kernel parameters of the replica's own namespaces, from a closed list of names.

use std::os::fd::AsFd;

use crate::fault::{Outcome, Step, failure, refuse};
use crate::sys::fs::{self, At};
use crate::sys::{Errno, abi};
use crate::wire::plan::Plan;

/// Which parameters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Those of the network; they come after what the network's set-up writes itself.
    Network,
    /// All others; they take the user id of the host's root.
    Others,
}

/// Writes the plan's parameters through the host's `/proc`, which the kernel answers by the
/// writer's namespaces.
pub(crate) fn write(plan: &Plan, part: Part) -> Outcome<()> {
    let wanted = |name: &str| name.starts_with("net.") == (part == Part::Network);
    for (name, value) in plan.sysctls.iter().filter(|(name, _)| wanted(name)) {
        let step = "set kernel parameter";
        if !is_allowed(name) {
            return Err(refuse(
                step,
                format_args!("{name} is not one of the replica's own"),
            ));
        }
        if value.contains(['\n', '\0']) {
            return Err(refuse(
                step,
                format_args!("the value of {name} holds a line break"),
            ));
        }
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let flags = abi::O_WRONLY | abi::O_NOFOLLOW;
        let file = fs::open(At::Cwd, &path, flags, 0).step(step, name)?;
        if fs::file_system(file.as_fd()).step(step, name)? != abi::PROC_SUPER_MAGIC {
            return Err(refuse(
                step,
                format_args!("{path} is not in a proc file system"),
            ));
        }
        let detail = format!("{name} = {value}");
        let written = fs::write(file.as_fd(), value.as_bytes()).step(step, &detail)?;
        if written != value.len() {
            return Err(failure(step, Errno::IO, detail));
        }
    }
    Ok(())
}

/// Parameters that belong to the network, ipc and uts namespaces, and nothing else.
fn is_allowed(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.split('.').any(str::is_empty) || !name.chars().all(is_plain) {
        return false;
    }
    let exact = ["kernel.sem", "kernel.domainname"];
    let families = ["net.", "kernel.shm", "kernel.msg", "fs.mqueue."];
    exact.contains(&name) || families.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_own_namespaces_pass() {
        for name in [
            "net.core.somaxconn",
            "kernel.shmmax",
            "kernel.sem",
            "fs.mqueue.msg_max",
        ] {
            assert!(is_allowed(name), "{name}");
        }
        for name in [
            "kernel.core_pattern",
            "net..kernel.x",
            "net/../kernel/core_pattern",
            "net.a+kernel.core_pattern=x",
            "net.core\n",
            "fs.file-max",
            "",
            "net.",
        ] {
            assert!(!is_allowed(name), "{name:?}");
        }
    }
}
