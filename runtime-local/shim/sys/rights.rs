//! What a process may do: ids, capabilities, limits, seccomp, prctl.

use std::ptr::null;

use super::abi::{
    CAP_LAST_KNOWN, CAPABILITY_VERSION_3, CapData, CapHeader, PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL, PR_CAP_AMBIENT_RAISE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME, PR_SET_NO_NEW_PRIVS, Rlimit64,
    SECCOMP_SET_MODE_FILTER, SockFprog, c_int, nr,
};
use super::{Errno, Result, c_text, sys};

fn prctl(option: c_int, a: u64, b: u64) -> Result<()> {
    // SAFETY: the options used here take numbers only.
    unsafe { sys!(nr::PRCTL, option, a, b, 0, 0) }.map(drop)
}

/// Hides memory and descriptors of this process from all but the host's root.
pub(crate) fn set_undumpable() -> Result<()> {
    prctl(PR_SET_DUMPABLE, 0, 0)
}

/// Makes orphans among the descendants children of this process.
pub(crate) fn set_subreaper() -> Result<()> {
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0)
}

/// Makes exec never raise rights.
pub(crate) fn set_no_new_privileges() -> Result<()> {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// Keeps permitted capabilities when the user changes from root.
pub(crate) fn set_keep_capabilities() -> Result<()> {
    prctl(PR_SET_KEEPCAPS, 1, 0)
}

/// Names this process, at most 15 bytes.
pub(crate) fn set_name(name: &str) -> Result<()> {
    let name = c_text(name)?;
    // SAFETY: the name outlives the call.
    unsafe { sys!(nr::PRCTL, PR_SET_NAME, name.as_ptr(), 0, 0, 0) }.map(drop)
}

/// Leaves the session's keys behind for an empty ring; a kernel without keys is fine.
pub(crate) fn leave_keys() -> Result<()> {
    const JOIN_SESSION_KEYRING: c_int = 1;
    let unnamed = null::<u8>();
    // SAFETY: an unnamed ring takes no memory.
    match unsafe { sys!(nr::KEYCTL, JOIN_SESSION_KEYRING, unnamed) } {
        Err(Errno::NOSYS) => Ok(()),
        other => other.map(drop),
    }
}

/// Sets the host name of this process's uts namespace.
pub(crate) fn set_host_name(name: &str) -> Result<()> {
    // SAFETY: the bytes are readable and as many as said.
    unsafe { sys!(nr::SETHOSTNAME, name.as_ptr(), name.len()) }.map(drop)
}

/// Sets supplementary groups.
pub(crate) fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the list is readable and as long as said.
    unsafe { sys!(nr::SETGROUPS, groups.len(), groups.as_ptr()) }.map(drop)
}

/// Sets real, effective and saved user and group.
pub(crate) fn set_user(uid: u32, gid: u32) -> Result<()> {
    // SAFETY: takes no memory.
    unsafe { sys!(nr::SETRESGID, gid, gid, gid) }?;
    // SAFETY: takes no memory.
    unsafe { sys!(nr::SETRESUID, uid, uid, uid) }.map(drop)
}

/// Removes from the bounding set every capability that is not in `keep`.
pub(crate) fn limit_bounding(keep: u64) -> Result<()> {
    for cap in 0..=CAP_LAST_KNOWN {
        if keep & (1 << cap) != 0 {
            continue;
        }
        match prctl(PR_CAPBSET_DROP, u64::from(cap), 0) {
            // Past the last capability of this kernel.
            Err(Errno::INVAL) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// Sets the effective, permitted and inheritable capabilities.
pub(crate) fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let half = |shift: u32| CapData {
        effective: low(effective >> shift),
        permitted: low(permitted >> shift),
        inheritable: low(inheritable >> shift),
    };
    let header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let halves = [half(0), half(32)];
    // SAFETY: version 3 reads two halves.
    unsafe { sys!(nr::CAPSET, &raw const header, halves.as_ptr()) }.map(drop)
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

/// Sets the ambient capabilities.
pub(crate) fn set_ambient(set: u64) -> Result<()> {
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)?;
    for cap in 0..=CAP_LAST_KNOWN {
        if set & (1 << cap) != 0 {
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE as u64, u64::from(cap))?;
        }
    }
    Ok(())
}

/// Loads a seccomp filter: 8 bytes an instruction.
pub(crate) fn set_seccomp(program: &[u8]) -> Result<()> {
    if program.is_empty() || !program.len().is_multiple_of(8) {
        return Err(Errno::INVAL);
    }
    let len = u16::try_from(program.len() / 8).map_err(|_| Errno::INVAL)?;
    let prog = SockFprog {
        len,
        filter: program.as_ptr(),
    };
    // SAFETY: the program is readable and has as many instructions as said.
    unsafe { sys!(nr::SECCOMP, SECCOMP_SET_MODE_FILTER, 0, &raw const prog) }.map(drop)
}

/// Takes back what a launcher may have set for itself and its children: niceness, processors,
/// policy, rank at the disk, execution domain. What may not be taken back stays.
pub(crate) fn forget_scheduling() {
    const ALL_PROCESSORS: [u64; 128] = [u64::MAX; 128];
    const USUAL: c_int = 0;
    const OWN_PROCESS: c_int = 1;
    let rank = 0_i32;
    // SAFETY: the rank is what the kernel reads and outlives the call.
    let _ = unsafe { sys!(nr::SCHED_SETSCHEDULER, 0, USUAL, &raw const rank) };
    // SAFETY: takes no memory.
    let _ = unsafe { sys!(nr::SETPRIORITY, 0, 0, USUAL) };
    // SAFETY: takes no memory.
    let _ = unsafe { sys!(nr::IOPRIO_SET, OWN_PROCESS, 0, USUAL) };
    let (mask, size) = (ALL_PROCESSORS.as_ptr(), size_of_val(&ALL_PROCESSORS));
    // SAFETY: the mask is readable and as long as said.
    let _ = unsafe { sys!(nr::SCHED_SETAFFINITY, 0, size, mask) };
    // SAFETY: takes no memory.
    let _ = unsafe { sys!(nr::PERSONALITY, USUAL) };
}

/// Raises a limit of this process as far as it may.
pub(crate) fn raise_limit(resource: u32) -> Result<()> {
    let mut limit = Rlimit64 { soft: 0, hard: 0 };
    let new = null::<u8>();
    // SAFETY: the structure is what the kernel fills in; no new limit is given.
    unsafe { sys!(nr::PRLIMIT64, 0, resource, new, &raw mut limit) }?;
    set_limit(0, resource, limit.hard, limit.hard)
}

/// Sets a resource limit of a process; 0 means this one.
pub(crate) fn set_limit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = Rlimit64 { soft, hard };
    let old = null::<u8>();
    // SAFETY: the new limit outlives the call; the old one is not asked for.
    unsafe { sys!(nr::PRLIMIT64, pid, resource, &raw const limit, old) }.map(drop)
}
