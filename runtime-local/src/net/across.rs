//! Links across networks: who may reach which stable address of another network, and where it leads.
//!
//! A replica sends to the address by its way out; the host leads it to a ready replica if there is a
//! key for the two, and drops it otherwise. The targets are kept by the shims of the target, as
//! those of published ports are.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use rustix::io::Errno;

use super::netlink::{CHANGED_MEANWHILE, Netlink};
use super::{NetError, read_endpoints};
use crate::wire::names::slots;
use crate::wire::nft_host::{
    ACROSS, across_chain, change, lead_across, link as link_key, pair_key, unlink as unlink_key,
};

/// How often a change is made anew because others changed the rules meanwhile.
const ATTEMPTS: u32 = 200;

/// A service that is reached from other networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Across {
    /// Id of the network on which it is reached.
    pub(crate) network: String,
    /// That network's zone.
    pub(crate) zone: PathBuf,
    /// The service.
    pub(crate) service: String,
    /// Its stable address there.
    pub(crate) address: Ipv4Addr,
}

fn open() -> Result<Netlink, NetError> {
    Netlink::netfilter().map_err(NetError::kernel("open a netfilter socket"))
}

/// Lets a replica with these addresses reach the service.
pub(crate) fn link(from: &[Ipv4Addr], to: &Across) -> Result<(), NetError> {
    make(to, true, from)
}

/// Sets the targets anew from the zone on disk, as after a shim was lost; nothing where no link
/// leads there.
pub(crate) fn relead(to: &Across) -> Result<(), NetError> {
    make(to, false, &[])
}

fn make(to: &Across, make: bool, from: &[Ipv4Addr]) -> Result<(), NetError> {
    let netlink = open()?;
    let chain = across_chain(&to.network, &to.service);
    let failed = || NetError::kernel(format!("lead links to {}", to.service));
    for _ in 0..ATTEMPTS {
        let generation = netlink.generation().map_err(failed())?;
        let ready: Vec<_> = read_endpoints(&to.zone)?
            .into_iter()
            .filter(|endpoint| endpoint.service == to.service)
            .filter_map(|endpoint| Some((endpoint.address?, endpoint.weight)))
            .collect();
        let mut c = change(Some(generation));
        if make {
            c.chain(&chain);
            for address in from {
                link_key(&mut c, pair_key(*address, to.address), &chain);
            }
        }
        lead_across(&mut c, &chain, &slots(&ready, 0));
        match netlink.change_rules(&c.finish()) {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(CHANGED_MEANWHILE) => {}
            Err(error) if !make && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed()(error)),
        }
    }
    Err(NetError::Busy("leading a link"))
}

/// Takes back the links that are picked by who has them and where they lead; the chain that the
/// last of them led to goes with it.
pub(crate) fn unlink(which: impl Fn(Ipv4Addr, Ipv4Addr) -> bool) -> Result<(), NetError> {
    let netlink = open()?;
    let failed = || NetError::kernel("take links across networks back");
    let known = match netlink.keys(ACROSS) {
        // There is no network, or a table that an older version has made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed())?,
    };
    for (key, chain) in known {
        let (Ok(key), Some(chain)) = (<[u8; 8]>::try_from(key), chain) else {
            continue;
        };
        let address = |at: usize| Ipv4Addr::new(key[at], key[at + 1], key[at + 2], key[at + 3]);
        if !which(address(0), address(4)) {
            continue;
        }
        let mut c = change(None);
        unlink_key(&mut c, key, &chain);
        fine(netlink.change_rules(&c.finish()), &[]).map_err(failed())?;
        let mut c = change(None);
        c.flush_chain(&chain);
        c.del_chain(&chain);
        // Others lead there still; then the batch changes nothing.
        fine(netlink.change_rules(&c.finish()), &[Errno::BUSY]).map_err(failed())?;
    }
    netlink.leave();
    Ok(())
}

fn fine(result: io::Result<()>, also: &[Errno]) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error)
            if also
                .iter()
                .any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) =>
        {
            Ok(())
        }
        other => other,
    }
}
