//! What a replica may do: capabilities, system calls, limits, ids. Decided here, done by the shim.

pub(crate) mod caps;
pub(crate) mod cgroup;
pub(crate) mod idmap;
pub(crate) mod paths;
pub(crate) mod rlimits;
pub(crate) mod seccomp;
pub(crate) mod usage;
pub(crate) mod vacate;
