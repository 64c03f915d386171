//! Loop devices, keyrings and the settings a network runtime is tempted to change.

use std::fs;

use super::snapshot::read_if_there;
use super::{Ledger, Section};

const SETTINGS: [&str; 9] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/ip_unprivileged_port_start",
    "net/ipv6/conf/all/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "kernel/unprivileged_userns_clone",
    "user/max_user_namespaces",
];

pub(super) fn read(ledger: &mut Ledger) {
    for setting in SETTINGS {
        if let Some(value) = read_if_there(format!("/proc/sys/{setting}")) {
            ledger.add(Section::Sysctl, format!("{setting} = {}", value.trim()));
        }
    }
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        if let Some(file) = read_if_there(entry.path().join("loop/backing_file")) {
            let name = entry.file_name();
            ledger.add(
                Section::Loop,
                format!("{} behind {}", file.trim(), name.display()),
            );
        }
    }
    for keyring in keyrings(&read_if_there("/proc/keys").unwrap_or_default()) {
        ledger.add(Section::Keyring, keyring);
    }
}

/// Key ids, use counts and times differ without cause; owner and name do not.
fn keyrings(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [_, flags, _, _, _, user, group, kind, name, ..] = fields.as_slice() else {
                return None;
            };
            // An invalidated or dead key waits only for the kernel's own collector.
            let alive = flags.starts_with('I') && !flags.contains(['R', 'D', 'i']);
            let name = name.trim_end_matches(':');
            (alive && *kind == "keyring").then(|| format!("{name} of {user}:{group}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyrings_are_listed_without_their_numbers() {
        let text = "0b7249a9 I--Q---     1 perm 0c030000     0 65534 keyring   .user_reg: 2\n\
                    1908d625 I------     1 perm 1f030000     0     0 user      secret: 4\n\
                    1908d626 IR-----     1 expd 1f030000     0     0 keyring   _ses: empty\n";
        assert_eq!(keyrings(text), [".user_reg of 0:65534"]);
    }
}
