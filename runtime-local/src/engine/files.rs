//! The three files of `/etc` that belong to the replica's place, not to its image.

use std::net::Ipv4Addr;
use std::path::Path;

use unmoor_core::name::ReplicaId;

use crate::error::LocalError;
use crate::net;
use crate::wire::plan::{Mount, MountKind};

/// A host name's longest label; longer names would be refused by resolvers.
const LABEL_MAX: usize = 63;
/// What every `/etc/hosts` begins with.
const LOCALHOST: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// The host name of a replica that is given none.
pub(super) fn hostname(id: &ReplicaId) -> String {
    let mut name = id.to_string();
    if name.len() > LABEL_MAX {
        // The slot tells replicas apart: keep the end.
        name = name[name.len() - LABEL_MAX..]
            .trim_start_matches(['-', '.', '_'])
            .to_owned();
    }
    name
}

/// The host name of a replica in the network of its node that is given none: the node's.
pub(super) fn node_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// The text of `/etc/hosts`.
pub(super) fn hosts(
    hostname: &str,
    address: Option<Ipv4Addr>,
    extra: &[(String, String)],
    gateway: Option<Ipv4Addr>,
) -> Result<String, LocalError> {
    let mut text = LOCALHOST.to_owned();
    if let Some(address) = address {
        text.push_str(&format!("{address}\t{hostname}\n"));
    }
    add_hosts(text, extra, gateway)
}

/// The text of `/etc/hosts` in the network of the node: the node's, and what is asked for.
pub(super) fn node_hosts(extra: &[(String, String)]) -> Result<String, LocalError> {
    let mut text = match read_node("/etc/hosts")? {
        Some(text) => String::from_utf8_lossy(&text).into_owned(),
        None => LOCALHOST.to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    add_hosts(text, extra, Some(Ipv4Addr::LOCALHOST))
}

/// `/etc/resolv.conf` of the node; none where the node has none.
pub(super) fn node_resolv_conf() -> Result<Option<Mount>, LocalError> {
    let text = read_node("/etc/resolv.conf")?;
    Ok(text.map(|text| file("/etc/resolv.conf", text)))
}

fn read_node(path: &str) -> Result<Option<Vec<u8>>, LocalError> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LocalError::io("read", Path::new(path), source)),
    }
}

fn add_hosts(
    mut text: String,
    extra: &[(String, String)],
    gateway: Option<Ipv4Addr>,
) -> Result<String, LocalError> {
    for (name, wanted) in extra {
        let shown = || {
            wanted
                .chars()
                .take(60)
                .flat_map(char::escape_default)
                .collect::<String>()
        };
        let address = match (wanted.as_str(), gateway) {
            ("host-gateway", Some(gateway)) => gateway.to_string(),
            ("host-gateway", None) => {
                let text = format!("extra_hosts: {name}: the replica has no way to its host");
                return Err(LocalError::Spec(text));
            }
            _ => wanted
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .map_err(|_| LocalError::Spec(format!("extra_hosts: `{}` is no address", shown())))?
                .to_string(),
        };
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(LocalError::Spec(
                "extra_hosts: a name is empty or has spaces".to_owned(),
            ));
        }
        text.push_str(&format!("{address}\t{name}\n"));
    }
    Ok(text)
}

/// A file of the replica's own that its root may change.
pub(super) fn file(target: &str, content: impl Into<Vec<u8>>) -> Mount {
    let kind = MountKind::File {
        content: content.into(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        read_only: false,
    };
    Mount {
        target: target.to_owned(),
        kind,
    }
}

/// Nobody may change the file, as nobody may change a root that is read-only.
pub(super) fn make_read_only(mount: &mut Mount) {
    if let MountKind::File { read_only, .. } = &mut mount.kind {
        *read_only = true;
    }
}

/// `/etc/resolv.conf`: the replica's own shim answers.
pub(super) fn resolv_conf(search: &[String], options: &[String]) -> Mount {
    file(
        "/etc/resolv.conf",
        net::replica_resolv_conf(search, options),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_hosts_are_addresses_and_nothing_else() {
        let extra = |name: &str, value: &str| {
            let gateway = Some(Ipv4Addr::new(10, 0, 0, 1));
            hosts("h", None, &[(name.to_owned(), value.to_owned())], gateway)
        };
        assert!(
            extra("a", "host-gateway")
                .expect("valid")
                .ends_with("10.0.0.1\ta\n")
        );
        assert!(extra("a", "[::1]").expect("valid").ends_with("::1\ta\n"));
        assert!(extra("a", "1.2.3.4\n5.6.7.8 b").is_err());
        assert!(extra("a b", "1.2.3.4").is_err());
    }

    #[test]
    fn long_host_names_keep_their_slot() {
        let long = "s".repeat(60);
        let id = ReplicaId::new(long.parse().unwrap(), long.parse().unwrap(), 12);
        let name = hostname(&id);
        assert!(name.len() <= LABEL_MAX && name.ends_with("-12"), "{name}");
    }
}
