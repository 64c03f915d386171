//! What the kernel says of this process: name, user, limits, way out.

use std::fs;
use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The host name in force.
pub(crate) fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| fs::read_to_string("/etc/hostname"))
        .unwrap_or_default();
    name.trim().to_owned()
}

/// User, groups, effective capabilities and process number.
pub(crate) fn id() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // The second number of four is the effective one.
    let second = |name: &str| {
        field(name)
            .get(1)
            .cloned()
            .unwrap_or_else(|| "?".to_owned())
    };
    let (uid, gid) = (second("Uid:"), second("Gid:"));
    let mut groups: Vec<u32> = field("Groups:")
        .iter()
        .filter_map(|word| word.parse().ok())
        .collect();
    groups.extend(gid.parse::<u32>());
    groups.sort_unstable();
    groups.dedup();
    let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
    let caps = field("CapEff:").concat();
    format!(
        "uid={uid} gid={gid} groups={} caps={caps} pid={}\n",
        groups.join(","),
        std::process::id()
    )
}

/// Soft and hard limit of open files.
pub(crate) fn limits() -> String {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    match words[..] {
        [soft, hard, ..] => format!("nofile={soft}:{hard}\n"),
        _ => "nofile=?\n".to_owned(),
    }
}

/// Processor time of this process so far, in steps of a hundredth of a second.
pub(crate) fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name, in parentheses, may hold blanks; what follows it does not.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let field = |at: usize| rest.split_whitespace().nth(at)?.parse::<u64>().ok();
    let ticks = field(11).unwrap_or(0) + field(12).unwrap_or(0);
    Duration::from_millis(ticks * 10)
}

/// True if standard output is a terminal.
pub(crate) fn has_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// The default route, if there is one.
pub(crate) fn route() -> String {
    let text = fs::read_to_string("/proc/net/route").unwrap_or_default();
    for line in text.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, "00000000", gateway, ..] = words[..]
            && let Ok(bits) = u32::from_str_radix(gateway, 16)
        {
            return format!("default via {}\n", Ipv4Addr::from(u32::from_be(bits)));
        }
    }
    "no default route\n".to_owned()
}
