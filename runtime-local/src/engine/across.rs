//! Links to services of other stacks: the alias resolves to the target's own stable address, and the
//! host lets exactly the replicas that have the link reach it.

use std::net::Ipv4Addr;

use rusqlite::Connection;
use unmoor_core::name::{ServiceName, StackName};
use unmoor_core::spec::Link;

use super::{Runtime, networks_of};
use crate::error::LocalError;
use crate::net::{self, Across};
use crate::state::{
    DbFailure, NetworkRecord, ReplicaRecord, ServiceRecord, networks, replicas, services,
};

/// The other stack that a link leads to, if it does.
pub(super) fn other_stack<'a>(link: &'a Link, own: &StackName) -> Option<&'a StackName> {
    link.target.stack.as_ref().filter(|stack| *stack != own)
}

impl Runtime {
    /// Refuses a link that could never lead anywhere: who has it needs a way out of its networks.
    pub(super) fn check_across(
        c: &Connection,
        stack: &StackName,
        link: &Link,
        own: &[unmoor_core::name::NetworkName],
    ) -> Result<(), DbFailure> {
        for name in own {
            // One that is made later is as good as one that is open.
            if networks::load(c, stack, name)?.is_none_or(|network| !network.spec.internal) {
                return Ok(());
            }
        }
        let text = format!(
            "link {}: it leads to another stack, and nothing leaves the internal networks of this \
             service; put it on one that is not internal",
            link.alias
        );
        Err(LocalError::Spec(text).into())
    }

    /// Where a link to another stack leads now: the first network of the target that is open.
    pub(super) fn across(
        &self,
        own: &StackName,
        link: &Link,
    ) -> Result<Option<Across>, LocalError> {
        let Some(stack) = other_stack(link, own) else {
            return Ok(None);
        };
        let service = &link.target.service;
        let found = self.db().read("read services", |c| {
            let Some(target) = services::load(c, stack, service)? else {
                return Ok(None);
            };
            for name in networks_of(&target.desired.spec) {
                let network = networks::load(c, stack, &name)?;
                if let (Some(network), Some(address)) = (network, target.addresses.get(&name))
                    && !network.spec.internal
                {
                    return Ok(Some((network, *address)));
                }
            }
            Ok(None)
        })?;
        let Some((network, address)) = found else {
            return Ok(None);
        };
        Ok(Some(Across {
            zone: self.zone(&network)?,
            network: network.id,
            service: service.as_str().to_owned(),
            address,
        }))
    }

    /// Lets a replica reach what its service has links to in other stacks, and nothing else there.
    pub(super) fn permit_across(
        &self,
        service: &ServiceRecord,
        replica: &ReplicaRecord,
    ) -> Result<(), LocalError> {
        let from: Vec<Ipv4Addr> = replica.addresses.values().copied().collect();
        if from.is_empty() {
            return Ok(());
        }
        let mut wanted = Vec::new();
        for link in &service.desired.links {
            wanted.extend(self.across(&service.stack, link)?);
        }
        for to in &wanted {
            net::link(&from, to)?;
        }
        let stale = |source, to| from.contains(&source) && !wanted.iter().any(|w| w.address == to);
        Ok(net::unlink(stale)?)
    }

    /// Takes back what a replica could reach in other stacks.
    pub(super) fn forbid_across(&self, replica: &ReplicaRecord) -> Result<(), LocalError> {
        let from: Vec<Ipv4Addr> = replica.addresses.values().copied().collect();
        if from.is_empty() {
            return Ok(());
        }
        Ok(net::unlink(|source, _| from.contains(&source))?)
    }

    /// Sets where links from other stacks lead anew, for a replica whose shim could not.
    pub(super) fn relead_across(
        &self,
        replica: &ReplicaRecord,
        on: &[NetworkRecord],
    ) -> Result<(), LocalError> {
        for network in on {
            net::relead(&Across {
                network: network.id.clone(),
                zone: self.zone(network)?,
                service: replica.id.service.as_str().to_owned(),
                address: Ipv4Addr::UNSPECIFIED,
            })?;
        }
        Ok(())
    }

    /// Lets links of other stacks follow a service that was declared, changed or withdrawn.
    pub(super) fn renew_across_to(
        &self,
        stack: &StackName,
        name: &ServiceName,
    ) -> Result<(), LocalError> {
        let all = self
            .db()
            .read("read services", |c| services::of_others(c, stack))?;
        let leads =
            |link: &Link| link.target.stack.as_ref() == Some(stack) && link.target.service == *name;
        for other in &all {
            if other.desired.links.iter().any(leads) {
                self.renew_links(other)?;
            }
        }
        Ok(())
    }

    /// Puts back the links across stacks that others have flushed with their rules.
    pub(super) fn restore_across(&self, service: &ServiceRecord) -> Result<(), LocalError> {
        if !has_across(service) {
            return Ok(());
        }
        let (stack, name) = (&service.stack, &service.desired.name);
        let all = self
            .db()
            .read("read replicas", |c| replicas::of_service(c, stack, name))?;
        for replica in &all {
            self.permit_across(service, replica)?;
        }
        Ok(())
    }
}

/// True for a service with links to other stacks.
pub(super) fn has_across(service: &ServiceRecord) -> bool {
    let mut links = service.desired.links.iter();
    links.any(|link| other_stack(link, &service.stack).is_some())
}
