//! Paths inside a replica that show or change the node: hidden, or read-only.

use std::sync::OnceLock;

/// Docker's masked paths; the thermal counters are one folder a processor.
pub(crate) fn masked() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let fixed = [
            "/proc/acpi",
            "/proc/asound",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/sys/devices/virtual/powercap",
            "/sys/firmware",
        ];
        let mut paths: Vec<String> = fixed.iter().map(|path| (*path).to_owned()).collect();
        paths.extend(thermal());
        // A mask costs a mount: leave out what this kernel does not have.
        paths.retain(|path| std::fs::symlink_metadata(path).is_ok());
        paths
    })
}

fn thermal() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/devices/system/cpu") else {
        return Vec::new();
    };
    let mut paths: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            let number = name.strip_prefix("cpu").unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
        .map(|name| format!("/sys/devices/system/cpu/{name}/thermal_throttle"))
        .collect();
    paths.sort();
    paths
}

/// Docker's read-only paths.
pub(crate) fn read_only() -> Vec<String> {
    [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ]
    .map(str::to_owned)
    .to_vec()
}
