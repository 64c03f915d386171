//! The Linux capabilities that this process has: what it starts can have no more.

pub(crate) use unmoor_core::spec::{LinuxCap, LinuxCaps};

/// A set from `/proc/self/status`, such as `CapBnd` or `CapEff`.
fn own(field: &str) -> Option<LinuxCaps> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16)
        .ok()
        .map(LinuxCaps::from_bits)
}

/// The bounding set of this process: nothing it starts may ever have more.
pub(crate) fn bounding() -> LinuxCaps {
    own("CapBnd").unwrap_or_default()
}

/// The capabilities this process has in force.
pub(crate) fn effective() -> LinuxCaps {
    let own = rustix::thread::capabilities(None);
    own.map_or_else(
        |_| LinuxCaps::default(),
        |own| LinuxCaps::from_bits(own.effective.bits()),
    )
}
