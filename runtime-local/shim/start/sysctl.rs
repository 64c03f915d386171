//! Kernel parameters of the replica's own namespaces, from a closed list of names.

use std::os::fd::AsFd;

use crate::fault::{Outcome, Step, failure, refuse};
use crate::sys::fs::{self, At};
use crate::sys::{Errno, abi};
use crate::wire::plan::Plan;
use crate::wire::report::SET_PARAMETER as STEP;

/// A parameter and its value.
pub(crate) type Parameter = (String, String);

/// Writes what is not the network's, as the host's root; returns what that may not write, since
/// newer kernels give it to the root inside.
pub(crate) fn write_early(plan: &Plan) -> Outcome<Vec<&Parameter>> {
    let mut refused = Vec::new();
    for parameter in plan.sysctls.iter().filter(|(name, _)| !is_network(name)) {
        match write(parameter) {
            Err(error) if error.errno == Errno::ACCES.0 => refused.push(parameter),
            other => other?,
        }
    }
    Ok(refused)
}

/// Writes what the host's root may not write; runs as the root inside.
pub(crate) fn write_late(refused: &[&Parameter]) -> Outcome<()> {
    refused.iter().try_for_each(|parameter| write(parameter))
}

/// Writes what is the network's, after what its set-up writes itself.
pub(crate) fn write_network(plan: &Plan) -> Outcome<()> {
    let network = plan.sysctls.iter().filter(|(name, _)| is_network(name));
    network.into_iter().try_for_each(write)
}

/// Refuses parameters of a network that is not the replica's own.
pub(crate) fn refuse_network(plan: &Plan) -> Outcome<()> {
    match plan.sysctls.iter().find(|(name, _)| is_network(name)) {
        Some((name, _)) => {
            let why = format_args!("{name} is the node's, whose network the replica uses");
            Err(refuse(STEP, why))
        }
        None => Ok(()),
    }
}

fn is_network(name: &str) -> bool {
    name.starts_with("net.")
}

/// Writes one parameter through the host's `/proc`, which the kernel answers by the writer's
/// namespaces.
fn write((name, value): &Parameter) -> Outcome<()> {
    if !is_allowed(name) {
        return Err(refuse(
            STEP,
            format_args!("{name} is not one of the replica's own"),
        ));
    }
    if value.contains(['\n', '\0']) {
        return Err(refuse(
            STEP,
            format_args!("the value of {name} holds a line break"),
        ));
    }
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let flags = abi::O_WRONLY | abi::O_NOFOLLOW;
    let file = fs::open(At::Cwd, &path, flags, 0).step(STEP, name)?;
    if fs::file_system(file.as_fd()).step(STEP, name)? != abi::PROC_SUPER_MAGIC {
        return Err(refuse(
            STEP,
            format_args!("{path} is not in a proc file system"),
        ));
    }
    let detail = format!("{name} = {value}");
    match fs::write(file.as_fd(), value.as_bytes()).step(STEP, &detail)? {
        written if written == value.len() => Ok(()),
        _ => Err(failure(STEP, Errno::IO, detail)),
    }
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
