//! Published ports: taking them on the host, and keeping their targets the ready replicas.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use super::NetError;
use super::nl::{Netlink, Refusal};
use super::sys;
use super::zones::endpoints_now;
use crate::wire::names::slots;
use crate::wire::netplan::{Attachment, NetPlan, Proto, PublishedPort};
use crate::wire::nft::ask_chain;
use crate::wire::nft_client::TABLE;
use crate::wire::nft_host::{
    HostNetwork, across_chain, base, change, lead_across, publish, set_targets,
};

/// How often a change is made anew because others changed the rules meanwhile.
const ATTEMPTS: u32 = 200;

/// The ports of the host that lead to one service.
#[derive(Debug)]
pub(super) struct Ports {
    netlink: Netlink,
    /// Held for as long as the replica runs, so that others find the ports taken.
    _reserved: Vec<OwnedFd>,
}

impl Ports {
    /// Takes the ports; runs in the host's namespace.
    pub(super) fn open(plan: &NetPlan) -> Result<Option<Self>, NetError> {
        if plan.ports.is_empty() {
            return Ok(None);
        }
        let netlink = Netlink::netfilter().map_err(NetError::io("open a netfilter socket"))?;
        let reserved = plan.ports.iter().map(reserve).collect::<Result<_, _>>()?;
        Ok(Some(Self {
            netlink,
            _reserved: reserved,
        }))
    }

    /// Makes the ports lead to the replicas that are ready by the zone on disk, or to this one alone.
    ///
    /// The zone is read between asking for the generation of the rules and changing them, so
    /// the last change of all is always made from what is true last.
    pub(super) fn converge(&self, plan: &NetPlan, ready: bool) -> Result<(), NetError> {
        let mut missing = false;
        for _ in 0..ATTEMPTS {
            let generation = self.netlink.generation().map_err(refused(plan))?;
            let mut c = change(Some(generation));
            if missing {
                rebuild(&mut c, plan);
            }
            let slots = Ready::now(plan);
            for port in &plan.ports {
                set_targets(&mut c, port, &plan.service, slots.targets(plan, port));
            }
            match self.netlink.change(&c.finish()) {
                Ok(()) => return Ok(()),
                Err(refusal) if refusal.errno == Refusal::RESTART => {}
                // The rules were flushed, or the ports taken back while this replica stops.
                Err(refusal) if refusal.errno == Refusal::NOENT && !missing => {
                    if !ready {
                        return Ok(());
                    }
                    missing = true;
                }
                Err(refusal) => return Err(refused(plan)(refusal)),
            }
        }
        Err(refused(plan)(Refusal {
            seq: 0,
            errno: Refusal::BUSY,
        }))
    }
}

/// Makes links from other networks lead to the replicas of this service that are ready by the
/// zones on disk; nothing where there are none.
pub(super) fn converge_across(plan: &NetPlan) -> Result<(), NetError> {
    let netlink = Netlink::netfilter().map_err(NetError::io("open a netfilter socket"))?;
    for attachment in &plan.attachments {
        let chain = across_chain(&attachment.network, &plan.service);
        let mut there = true;
        let asked = netlink.exchange(&ask_chain(TABLE, &chain), |answer| {
            there &= answer.errno().is_none_or(|errno| errno == 0);
        });
        if asked.is_ok() && there {
            let what = format!("lead links to {} on {}", plan.service, attachment.network);
            lead(&netlink, attachment, &plan.service, &chain).map_err(NetError::refused(what))?;
        }
    }
    Ok(())
}

fn lead(
    netlink: &Netlink,
    attachment: &Attachment,
    service: &str,
    chain: &str,
) -> Result<(), Refusal> {
    for _ in 0..ATTEMPTS {
        let generation = netlink.generation()?;
        let mut c = change(Some(generation));
        lead_across(
            &mut c,
            chain,
            &ready_of(&attachment.zone_dir, service, None),
        );
        match netlink.change(&c.finish()) {
            Err(refusal) if refusal.errno == Refusal::RESTART => {}
            // The last link has just been taken back.
            Err(refusal) if refusal.errno == Refusal::NOENT => return Ok(()),
            other => return other,
        }
    }
    Err(Refusal {
        seq: 0,
        errno: Refusal::BUSY,
    })
}

/// Moves the datagram flows of a replica that has ended to those that are left.
pub(super) fn forget_flows(plan: &NetPlan) -> Result<(), NetError> {
    if !plan.ports.iter().any(|port| port.proto == Proto::Udp) {
        return Ok(());
    }
    let netlink = Netlink::netfilter().map_err(NetError::io("open a netfilter socket"))?;
    for attachment in &plan.attachments {
        let target = attachment.address;
        let forgotten = netlink.forget_flows(&[target], |flow| flow.destination != target);
        forgotten.map_err(NetError::refused(format!("forget flows to {target}")))?;
    }
    Ok(())
}

fn rebuild(c: &mut crate::wire::nft::Change, plan: &NetPlan) {
    base(c);
    for attachment in &plan.attachments {
        network(attachment).add(c);
    }
    for port in &plan.ports {
        publish(c, port, &plan.service);
    }
}

fn network(attachment: &Attachment) -> HostNetwork<'_> {
    HostNetwork {
        bridge: &attachment.bridge,
        subnet: attachment.address,
        prefix: attachment.prefix,
        internal: attachment.internal,
    }
}

/// Where ports lead: for each attachment, those of the whole service and those of this replica.
struct Ready(Vec<[Vec<Ipv4Addr>; 2]>);

impl Ready {
    fn now(plan: &NetPlan) -> Self {
        let slots = |attachment: &Attachment| {
            let of = |only| ready_of(&attachment.zone_dir, &plan.service, only);
            [of(None), of(Some(plan.replica.as_str()))]
        };
        Self(plan.attachments.iter().map(slots).collect())
    }

    fn targets(&self, plan: &NetPlan, port: &PublishedPort) -> &[Ipv4Addr] {
        let on = |attachment: &Attachment| attachment.network == port.network;
        let found = plan.attachments.iter().position(on);
        let found = found.and_then(|at| self.0.get(at));
        found.map_or(&[], |slots| &slots[usize::from(port.own)])
    }
}

/// The ready replicas of a service, or one of them.
fn ready_of(zone: &str, service: &str, only: Option<&str>) -> Vec<Ipv4Addr> {
    let ready: Vec<_> = endpoints_now(zone)
        .into_values()
        .filter(|endpoint| endpoint.service == service)
        .filter(|endpoint| only.is_none_or(|only| endpoint.replica == only))
        .filter_map(|endpoint| Some((endpoint.address?, endpoint.weight)))
        .collect();
    slots(&ready, 0)
}

fn reserve(port: &PublishedPort) -> Result<OwnedFd, NetError> {
    let address = SocketAddrV4::new(port.host_ip, port.host_port);
    let taken = sys::reserve(port.proto == Proto::Tcp, address);
    taken.map_err(NetError::io(format!(
        "publish port {address}/{}",
        port.proto.name()
    )))
}

fn refused(plan: &NetPlan) -> impl Fn(Refusal) -> NetError {
    let ports: Vec<_> = plan
        .ports
        .iter()
        .map(|port| format!("{}:{}/{}", port.host_ip, port.host_port, port.proto.name()))
        .collect();
    let what = format!("lead port {} to service {}", ports.join(", "), plan.service);
    move |refusal| NetError {
        what: what.clone(),
        errno: refusal.errno,
    }
}
