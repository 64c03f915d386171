//! Where requests may go: which hosts are this machine, which belong together.

use std::net::IpAddr;

use reqwest::Url;

/// The address of a registry: scheme, host and port, ready to append a path.
pub(super) fn base(registry: &str, insecure: &[String]) -> String {
    if registry == "docker.io" {
        return "https://registry-1.docker.io".to_owned();
    }
    let plain = is_loopback(host_of(registry)) || insecure.iter().any(|name| name == registry);
    let scheme = if plain { "http" } else { "https" };
    format!("{scheme}://{registry}")
}

/// The host of `host[:port]`, without brackets.
pub(super) fn host_of(registry: &str) -> &str {
    match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => registry.split(':').next().unwrap_or(registry),
    }
}

fn host(url: &Url) -> &str {
    url.host_str()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']')
}

pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| plain(address).is_loopback())
}

/// An IPv4 address in IPv6 clothes is still that IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        v4 => v4,
    }
}

/// Addresses that mean this machine or its surroundings to whoever connects.
fn is_local(host: &str) -> bool {
    if is_loopback(host) || host.to_ascii_lowercase().ends_with(".localhost") {
        return true;
    }
    match host.parse::<IpAddr>().map(plain) {
        Ok(IpAddr::V4(v4)) => v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast(),
        Ok(IpAddr::V6(v6)) => v6.is_unicast_link_local() || v6.is_unspecified(),
        Err(_) => false,
    }
}

/// Whether a registry at `from` may send us to `to`.
pub(super) fn may_lead(from: &Url, to: &Url) -> Result<(), String> {
    if !matches!(to.scheme(), "http" | "https") {
        return Err(format!("it leads to the scheme \"{}\"", to.scheme()));
    }
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(format!(
            "it leads from an encrypted connection to plain http at {}",
            host(to)
        ));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err("it leads to an address with credentials in it".to_owned());
    }
    // A registry on this machine may use its other addresses; any other one has no business here.
    let own = host(from) == host(to) || (is_loopback(host(from)) && is_loopback(host(to)));
    if is_local(host(to)) && !own {
        return Err(format!(
            "it leads to {}, which is local to this machine",
            host(to)
        ));
    }
    Ok(())
}

/// Same scheme, host and port: what an authorization may be sent to again.
pub(super) fn same(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Whether a token service may see the credentials of a registry.
///
/// It may on the registry's own host, beneath its name, or on the domain the registry is in;
/// Docker Hub is the one that has them side by side.
pub(super) fn share_credentials(registry: &str, realm: &Url) -> bool {
    let (registry, realm) = (host_of(registry).to_ascii_lowercase(), host(realm));
    if registry == realm || (registry == "docker.io" && realm == "auth.docker.io") {
        return true;
    }
    if registry.parse::<IpAddr>().is_ok() || realm.parse::<IpAddr>().is_ok() {
        return false;
    }
    let beneath = |lower: &str, upper: &str| {
        upper.contains('.')
            && lower
                .strip_suffix(upper)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    beneath(realm, &registry) || beneath(&registry, realm)
}
