//! Explicit links: a stable address for each, on a network that both sides are on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use rusqlite::Connection;
use unmoor_core::backend::DesiredService;
use unmoor_core::name::{Alias, NetworkName, StackName};

use super::across::other_stack;
use super::service::stable_address;
use super::{Runtime, networks_of};
use crate::error::LocalError;
use crate::net;
use crate::state::{DbFailure, ServiceRecord, addresses, networks, replicas, services};
use crate::wire::zone::Link;

impl Runtime {
    /// A stable address for each explicit link that has a network to be on.
    pub(super) fn link_addresses(
        &self,
        c: &Connection,
        stack: &StackName,
        desired: &DesiredService,
        former: Option<&ServiceRecord>,
    ) -> Result<BTreeMap<Alias, (NetworkName, Ipv4Addr)>, DbFailure> {
        let mut given = BTreeMap::new();
        let own = networks_of(&desired.spec);
        for link in &desired.links {
            if other_stack(link, stack).is_some() {
                Self::check_across(c, stack, link, &own)?;
                continue;
            }
            let target = services::load(c, stack, &link.target.service)?;
            let theirs = match &target {
                Some(target) => networks_of(&target.desired.spec),
                // A service that links to itself, or whose target is declared later.
                None => own.clone(),
            };
            let Some(shared) = own.iter().find(|network| theirs.contains(network)) else {
                let text = format!(
                    "link {}: {} and {} have no network in common; put both on one",
                    link.alias, desired.name, link.target.service
                );
                return Err(LocalError::Spec(text).into());
            };
            let owner = format!("link {stack} {} {}", desired.name, link.alias);
            let kept = former.and_then(|former| former.links.get(&link.alias));
            let address = match kept {
                Some((network, address)) if network == shared => *address,
                _ => {
                    addresses::take_back(c, &owner)?;
                    let Some(network) = networks::load(c, stack, shared)? else {
                        continue;
                    };
                    stable_address(c, &network, &owner)?
                }
            };
            given.insert(link.alias.clone(), (shared.clone(), address));
        }
        Ok(given)
    }

    /// Gives the links of others to a service their addresses on the networks that it turned out
    /// to be on; returns the services whose links have changed.
    pub(super) fn relink(
        &self,
        c: &Connection,
        target: &ServiceRecord,
    ) -> Result<Vec<ServiceRecord>, DbFailure> {
        let mut changed = Vec::new();
        for mut other in services::list(c, Some(&target.stack))? {
            let name = &target.desired.name;
            let leads = other.desired.links.iter().any(|link| {
                link.target.service == *name && other_stack(link, &target.stack).is_none()
            });
            if !leads || other.desired.name == *name {
                continue;
            }
            let links = self.link_addresses(c, &other.stack, &other.desired, Some(&other))?;
            if links != other.links {
                other.links = links;
                services::store(c, &other)?;
                changed.push(other);
            }
        }
        Ok(changed)
    }

    /// The private links of a service's replicas, as their shims read them.
    pub(super) fn links_of(&self, record: &ServiceRecord) -> Result<Vec<Link>, LocalError> {
        let mut links = Vec::new();
        for link in &record.desired.links {
            if let Some(across) = self.across(&record.stack, link)? {
                links.push(Link {
                    alias: link.alias.as_str().to_owned(),
                    vip: Some(across.address),
                    network: across.network,
                    service: across.service,
                });
                continue;
            }
            let Some((network, vip)) = record.links.get(&link.alias) else {
                continue;
            };
            let load = |c: &_| networks::load(c, &record.stack, network);
            let Some(network) = self.db().read("read networks", load)? else {
                continue;
            };
            links.push(Link {
                alias: link.alias.as_str().to_owned(),
                vip: Some(*vip),
                network: network.id,
                service: link.target.service.as_str().to_owned(),
            });
        }
        Ok(links)
    }

    /// Lets the replicas that are there follow changed links; returns when they do.
    pub(super) fn renew_links(&self, record: &ServiceRecord) -> Result<(), LocalError> {
        let (stack, name) = (&record.stack, &record.desired.name);
        let all = self
            .db()
            .read("read replicas", |c| replicas::of_service(c, stack, name))?;
        if all.is_empty() {
            return Ok(());
        }
        let links = self.links_of(record)?;
        let mut told = Vec::new();
        for replica in &all {
            let run = self.layout().run(&replica.key);
            if run.is_dir() {
                // Permitted before it is named, and forbidden only when it is not named any more.
                self.permit_across(record, replica)?;
                net::write_links(&run.join("links"), &links)?;
                told.push(replica);
            }
        }
        self.settle_these(told.into_iter());
        Ok(())
    }
}
