//! Interface pairs between the host's bridges and a replica's namespace.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::NetError;
use super::nl::{Netlink, Refusal};
use crate::wire::netlink::{
    Batch, NO_SUCH_FAMILY, Pair, add_address, add_default_route, add_pair, carries, del_link,
    get_link, no_ipv6_address, set_hairpin, set_up,
};
use crate::wire::netplan::{Attachment, NetPlan};

const LOOPBACK_INDEX: u32 = 1;
const DEFAULT_NO_IPV6: &str = "ipv6/conf/default/disable_ipv6";

/// Makes the pairs; runs in the host's namespace.
pub(super) fn make(plan: &NetPlan, pid: i32) -> Result<(), NetError> {
    if plan.attachments.is_empty() {
        return Ok(());
    }
    let netlink = Netlink::route().map_err(NetError::io("open a netlink socket"))?;
    let pid = u32::try_from(pid).map_err(|_| NetError::plain("the child has no process id"))?;
    for (n, attachment) in plan.attachments.iter().enumerate() {
        make_one(&netlink, attachment, n, pid)?;
        let name = &attachment.host_if;
        // A replica that calls its own published port gets the frame back on its own port.
        if plan
            .ports
            .iter()
            .any(|port| port.network == attachment.network)
        {
            hairpin(&netlink, name)?;
        }
    }
    Ok(())
}

fn make_one(
    netlink: &Netlink,
    attachment: &Attachment,
    n: usize,
    pid: u32,
) -> Result<(), NetError> {
    let (host_if, bridge) = (&attachment.host_if, &attachment.bridge);
    let found = netlink.interface(bridge);
    let bridge_index = found.map_err(NetError::io(format!("find the bridge {bridge}")))?;
    let pair = Pair {
        host_if,
        bridge: bridge_index,
        pid,
        n,
        address: attachment.address,
        mtu: attachment.mtu,
    };
    let mut batch = Batch::new();
    add_pair(&mut batch, &pair);
    no_ipv6_address(&mut batch, host_if);
    let message = batch.finish();
    let mut made = change_links(netlink, &message);
    if made.is_err_and(|refusal| refusal.errno == Refusal::EXIST) {
        // Left by a replica that is gone: the address, and so the name, is ours now.
        remove_one(netlink, host_if)?;
        made = change_links(netlink, &message);
    }
    made.map_err(NetError::refused(format!(
        "make the interface {host_if} on {bridge}"
    )))
}

/// Makes changes of which those about IPv6 may be refused where there is none.
fn change_links(netlink: &Netlink, message: &[u8]) -> Result<(), Refusal> {
    match netlink.change(message) {
        Err(refusal) if refusal.errno == NO_SUCH_FAMILY => Ok(()),
        other => other,
    }
}

fn hairpin(netlink: &Netlink, name: &str) -> Result<(), NetError> {
    let what = || format!("let {name} send back what came from it");
    let index = netlink.interface(name).map_err(NetError::io(what()))?;
    let mut batch = Batch::new();
    set_hairpin(&mut batch, index);
    netlink
        .change(&batch.finish())
        .map_err(NetError::refused(what()))
}

fn remove_one(netlink: &Netlink, name: &str) -> Result<(), NetError> {
    let mut batch = Batch::new();
    del_link(&mut batch, name);
    match netlink.change(&batch.finish()) {
        Err(refusal) if refusal.errno != Refusal::NODEV => Err(NetError::refused(format!(
            "remove the interface {name}"
        ))(refusal)),
        _ => Ok(()),
    }
}

/// Removes the pairs from the host's side; both ends go.
pub(super) fn remove(plan: &NetPlan) -> Result<(), NetError> {
    if plan.attachments.is_empty() {
        return Ok(());
    }
    let netlink = Netlink::route().map_err(NetError::io("open a netlink socket"))?;
    let mut first = Ok(());
    for attachment in &plan.attachments {
        let removed = remove_one(&netlink, &attachment.host_if);
        first = first.and(removed);
    }
    first
}

/// Sets up loopback, addresses and the way out; runs in the replica's namespace.
pub(super) fn configure(plan: &NetPlan) -> Result<(), NetError> {
    let netlink = Netlink::route().map_err(NetError::io("open a netlink socket"))?;
    for n in 0..plan.attachments.len() {
        write_sysctl(&format!("ipv6/conf/eth{n}/accept_ra"), "0")?;
    }
    if !plan.attachments.is_empty() {
        // What the program makes itself is its own business again.
        write_sysctl(DEFAULT_NO_IPV6, "0")?;
    }
    // What any user may do in a namespace of its own: low ports, and ping where ids allow.
    write_sysctl("ipv4/ip_unprivileged_port_start", "0")?;
    let _ = write_sysctl("ipv4/ping_group_range", "0 65535");
    let mut batch = Batch::new();
    set_up(&mut batch, LOOPBACK_INDEX);
    for (n, attachment) in plan.attachments.iter().enumerate() {
        let name = format!("eth{n}");
        let index = netlink
            .interface(&name)
            .map_err(NetError::io(format!("find {name}")))?;
        add_address(&mut batch, index, attachment.address, attachment.prefix);
        set_up(&mut batch, index);
    }
    if let Some(gateway) = plan.attachments.iter().find_map(way_out) {
        add_default_route(&mut batch, gateway);
    }
    let changed = netlink.change(&batch.finish());
    changed.map_err(NetError::refused(
        "set up the replica's interfaces, addresses and routes",
    ))
}

/// Waits until packets can pass between the host's bridges and the replica.
///
/// The kernel opens a bridge's port a little after both ends of the pair are up. A packet sent in
/// between is lost, and is sent again only after a second. A link that does not come up in that
/// time is not waited for: the start is late, not wrong.
pub(super) fn settle(plan: &NetPlan) -> Result<(), NetError> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let netlink = Netlink::route().map_err(NetError::io("open a netlink socket"))?;
    let deadline = Instant::now() + PATIENCE;
    for attachment in &plan.attachments {
        for name in [&attachment.host_if, &attachment.bridge] {
            let index = netlink.interface(name);
            let index = index.map_err(NetError::io(format!("find the interface {name}")))?;
            let settled = settle_one(&netlink, index, deadline);
            settled.map_err(NetError::refused(format!("ask for the state of {name}")))?;
        }
    }
    Ok(())
}

fn settle_one(netlink: &Netlink, index: u32, deadline: Instant) -> Result<(), Refusal> {
    let mut batch = Batch::new();
    get_link(&mut batch, index);
    let question = batch.finish();
    let mut follows = false;
    loop {
        let mut ready = false;
        netlink.exchange(&question, |answer| ready |= carries(answer, index))?;
        let left = deadline.saturating_duration_since(Instant::now());
        if ready || left.is_zero() {
            return Ok(());
        }
        // Recent kernels are ready when asked. Older ones tell when they are.
        if follows {
            netlink.wait(left)?;
        }
        netlink.follow_links()?;
        follows = true;
    }
}

fn way_out(attachment: &Attachment) -> Option<std::net::Ipv4Addr> {
    if attachment.internal {
        None
    } else {
        attachment.gateway
    }
}

/// Sets that interfaces still to come have no IPv6, for which nobody asked; runs in the replica's
/// namespace before there are any.
///
/// For one that is there it would not be done at once: the kernel makes the writer try again
/// until nobody works on any link, and a writer that tries keeps a processor from those who do.
pub(super) fn no_ipv6() -> Result<(), NetError> {
    write_sysctl(DEFAULT_NO_IPV6, "1")
}

/// Writes a setting of the current network namespace; one that this kernel lacks is fine.
fn write_sysctl(name: &str, value: &str) -> Result<(), NetError> {
    match fs::write(format!("/proc/sys/net/{name}"), value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NetError::io(format!("set net/{name} to {value}"))(error))
        }
        _ => Ok(()),
    }
}
