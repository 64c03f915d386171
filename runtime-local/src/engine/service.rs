//! Services: their stable addresses, names, links and published ports, before any replica runs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rusqlite::Connection;
use unmoor_core::backend::{Applied, DesiredService};
use unmoor_core::name::{ServiceName, StackName};
use unmoor_core::signal::Signal;
use unmoor_core::spec::{AddressMode, Protocol, Published, Service};
use unmoor_image::{ImageError, LayerId};

use super::compile::is_on_node;
use super::environment::ports_of;
use super::publish::found;
use super::{Runtime, devices, subnet};
use crate::error::LocalError;
use crate::failpoint::failpoint;
use crate::net;
use crate::sandbox::caps::LinuxCaps;
use crate::sandbox::rlimits;
use crate::state::{
    DbFailure, Durability, Intent, IntentKind, NetworkRecord, ServiceRecord, addresses,
    make_private_dir, remove_file, replicas, services, write_json,
};
use crate::wire::netplan::Proto;
use crate::wire::zone::{Mode, NamedPort, ServiceFile};

impl Runtime {
    /// Declares a service: its names and stable addresses resolve from now on.
    pub(crate) fn ensure_service(
        &self,
        stack: &StackName,
        desired: &Arc<DesiredService>,
    ) -> Result<Applied, LocalError> {
        let name = &desired.name;
        let (former, on) = self.db().read("read services", |c| {
            let on = Self::networks_in(c, stack, &desired.spec)?;
            Ok((services::load(c, stack, name)?, on))
        })?;
        if let Some(former) = &former
            && same_service(&former.desired, desired)
        {
            return Ok(Applied::Unchanged);
        }
        check(&desired.spec)?;
        self.hierarchies().plan("unmoor", &desired.spec.resources)?;
        let on = found(on, name)?;
        let ports = Self::fixed_ports(&desired.spec, &on)?;
        let publication = self.publication(name, ports, &on)?;
        let (record, relinked, intent) = self.declare(stack, desired, &on)?;
        failpoint("service.declared");
        if let Err(error) = net::publish(&publication) {
            // A port that is taken must not leave half a service.
            self.take_back_declaration(former.as_ref(), &record, intent)?;
            return Err(self.name_owner(error)?);
        }
        failpoint("service.recorded");
        self.write_zone(&record, &on)?;
        if let Some(former) = former {
            // Before any is taken back: nobody is to miss it then.
            if former.desired.spec.ports != desired.spec.ports {
                self.renew_ports(&record, &publication.ports)?;
            }
            self.withdraw_former(stack, &former, &record)?;
        }
        for changed in relinked.iter().chain([&record]) {
            self.renew_links(changed)?;
        }
        self.renew_across_to(stack, name)?;
        failpoint("service.written");
        self.db().end("record a service", intent)?;
        Ok(Applied::Changed)
    }

    /// Finds the image's layers and records the service with its addresses.
    fn declare(
        &self,
        stack: &StackName,
        desired: &Arc<DesiredService>,
        on: &[NetworkRecord],
    ) -> Result<(ServiceRecord, Vec<ServiceRecord>, i64), LocalError> {
        // Nothing may be pruned between the look at the layers and the record of their use.
        let _hold = self.images().hold()?;
        let layers = self.layers(stack, desired)?;
        self.db()
            .write("record a service", Durability::Process, |c| {
                let former = services::load(c, stack, &desired.name)?;
                let owner = format!("service {stack} {}", desired.name);
                let kept = former
                    .as_ref()
                    .map(|former| former.addresses.clone())
                    .unwrap_or_default();
                let mut given = BTreeMap::new();
                for network in on {
                    let address = match kept.get(&network.name) {
                        Some(address) => *address,
                        None => stable_address(c, network, &owner)?,
                    };
                    given.insert(network.name.clone(), address);
                }
                let links = self.link_addresses(c, stack, desired, former.as_ref())?;
                let desired = Arc::clone(desired);
                let record = ServiceRecord {
                    stack: stack.clone(),
                    desired,
                    addresses: given,
                    links,
                    layers,
                };
                services::store(c, &record)?;
                let name = record.desired.name.as_str();
                let intent = Intent::begin(c, IntentKind::EnsureService, stack, name)?;
                let relinked = self.relink(c, &record)?;
                Ok((record, relinked, intent))
            })
    }

    /// The unpacked layers of the image, lowest first.
    fn layers(
        &self,
        stack: &StackName,
        desired: &DesiredService,
    ) -> Result<Vec<LayerId>, LocalError> {
        let pinned = desired
            .image
            .reference
            .with_digest(desired.image.digest.clone());
        if let Some(image) = self.images().resolve(&pinned)? {
            return Ok(self.images().unpack(&image)?);
        }
        // The name leads elsewhere by now, but what runs on the image keeps it.
        let load = |c: &_| services::load(c, stack, &desired.name);
        let former = self.db().read("read services", load)?;
        former
            .filter(|former| former.desired.image.digest == desired.image.digest)
            .map(|former| former.layers)
            .ok_or_else(|| ImageError::NotFound(pinned).into())
    }

    /// Puts the former declaration back, or withdraws one that had none before.
    fn take_back_declaration(
        &self,
        former: Option<&ServiceRecord>,
        record: &ServiceRecord,
        intent: i64,
    ) -> Result<(), LocalError> {
        let Some(former) = former else {
            return self.finish_remove_service(record, intent);
        };
        self.db()
            .write("put a service back", Durability::Power, |c| {
                services::store(c, former)?;
                Intent::end(c, intent)
            })
    }

    /// Writes what every replica of the service's networks may know about it.
    pub(super) fn write_zone(
        &self,
        record: &ServiceRecord,
        on: &[NetworkRecord],
    ) -> Result<(), LocalError> {
        let spec = &record.desired.spec;
        for network in on {
            let aliases = spec
                .networks
                .get(&network.name)
                .map(|a| a.aliases.as_slice());
            let file = ServiceFile {
                name: record.desired.name.as_str().to_owned(),
                vip: record.addresses.get(&network.name).copied(),
                mode: match spec.address_mode {
                    Some(AddressMode::Replicas) => Mode::Replicas,
                    Some(AddressMode::Stable) | None => Mode::Stable,
                },
                aliases: aliases
                    .unwrap_or_default()
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                ports: named_ports(&record.desired),
            };
            let zone = self.zone(network)?;
            net::write_service(&zone, &file)?;
            let beside = zone.join("services");
            if write_json(&beside.join(&file.name), record).is_err() {
                // The first of the network.
                make_private_dir(&beside)?;
                write_json(&beside.join(&file.name), record)?;
            }
        }
        Ok(())
    }

    /// Removes what [`Self::write_zone`] wrote on one network.
    fn clear_zone(&self, network: &NetworkRecord, name: &ServiceName) -> Result<(), LocalError> {
        let zone = self.zone(network)?;
        net::remove_service(&zone, name.as_str())?;
        remove_file(&zone.join("services").join(name.as_str()))
    }

    /// Takes back what a former declaration had and the new one has not.
    fn withdraw_former(
        &self,
        stack: &StackName,
        former: &ServiceRecord,
        new: &ServiceRecord,
    ) -> Result<(), LocalError> {
        let name = &new.desired.name;
        let before = self.network_records(stack, name, &former.desired.spec);
        // Networks that are gone meanwhile took their part with them.
        let before = before.unwrap_or_default();
        for network in before
            .iter()
            .filter(|n| !new.addresses.contains_key(&n.name))
        {
            self.clear_zone(network, name)?;
        }
        let now = self.network_records(stack, name, &new.desired.spec)?;
        let kept = Self::fixed_ports(&new.desired.spec, &now)?;
        let mut gone = Self::fixed_ports(&former.desired.spec, &before).unwrap_or_default();
        gone.retain(|port| !kept.contains(port));
        net::unpublish(name.as_str(), &gone)?;
        let owner = format!("service {stack} {name}");
        self.db()
            .write("take addresses back", Durability::Process, |c| {
                for network in before
                    .iter()
                    .filter(|n| !new.addresses.contains_key(&n.name))
                {
                    addresses::take_back_on(c, &network.id, &owner)?;
                }
                for alias in former
                    .links
                    .keys()
                    .filter(|alias| !new.links.contains_key(*alias))
                {
                    addresses::take_back(c, &format!("link {stack} {name} {alias}"))?;
                }
                Ok(())
            })
    }

    /// Withdraws a service that has no replicas left; absent is success.
    pub(crate) fn remove_service(
        &self,
        stack: &StackName,
        name: &ServiceName,
    ) -> Result<Applied, LocalError> {
        let begun = self
            .db()
            .write("withdraw a service", Durability::Process, |c| {
                let Some(record) = services::load(c, stack, name)? else {
                    return Ok(None);
                };
                if let Some(replica) = replicas::of_service(c, stack, name)?.first() {
                    let text = format!("remove service {name}: replica {} is there", replica.id);
                    return Err(LocalError::WrongPhase(text).into());
                }
                let intent = Intent::begin(c, IntentKind::RemoveService, stack, name.as_str())?;
                Ok(Some((record, intent)))
            })?;
        let Some((record, intent)) = begun else {
            return Ok(Applied::Unchanged);
        };
        failpoint("service.leaving");
        self.finish_remove_service(&record, intent)?;
        Ok(Applied::Changed)
    }

    pub(super) fn finish_remove_service(
        &self,
        record: &ServiceRecord,
        intent: i64,
    ) -> Result<(), LocalError> {
        let (stack, name) = (&record.stack, &record.desired.name);
        let on = self
            .network_records(stack, name, &record.desired.spec)
            .unwrap_or_default();
        let ports = Self::fixed_ports(&record.desired.spec, &on).unwrap_or_default();
        net::unpublish(name.as_str(), &ports)?;
        let own: Vec<Ipv4Addr> = record.addresses.values().copied().collect();
        net::unlink(|_, to| own.contains(&to))?;
        for network in &on {
            self.clear_zone(network, name)?;
        }
        self.db()
            .write("forget a service", Durability::Power, |c| {
                addresses::take_back(c, &format!("service {stack} {name}"))?;
                for alias in record.links.keys() {
                    addresses::take_back(c, &format!("link {stack} {name} {alias}"))?;
                }
                services::remove(c, stack, name)?;
                Intent::end(c, intent)
            })?;
        self.renew_across_to(stack, name)
    }
}

/// The ports it is known to listen on, by their names, else by their numbers.
fn named_ports(desired: &DesiredService) -> Vec<NamedPort> {
    let mut found = Vec::new();
    for known in ports_of(desired) {
        let (port, proto) = match known.protocol {
            Protocol::Tcp => (known.port, Proto::Tcp),
            Protocol::Udp => (known.port, Proto::Udp),
        };
        let is = |p: &&Published| p.target == known.port && p.protocol == known.protocol;
        let published = desired.spec.ports.iter().filter(is);
        let mut names: Vec<_> = published.filter_map(|p| p.name.as_ref()).collect();
        names.sort();
        names.dedup();
        let mut names: Vec<String> = names.into_iter().map(ToString::to_string).collect();
        if names.is_empty() {
            names.push(port.to_string());
        }
        let named = names
            .into_iter()
            .map(|name| NamedPort { name, proto, port });
        found.extend(named);
    }
    found
}

pub(super) fn stable_address(
    c: &Connection,
    network: &NetworkRecord,
    owner: &str,
) -> Result<Ipv4Addr, DbFailure> {
    let subnet = subnet(network)?;
    let gateway = Some(subnet.gateway());
    let kind = addresses::Kind::Stable;
    let given = addresses::give_next(c, &network.id, kind, owner, |taken, after| {
        net::next_stable(subnet, gateway, taken, after)
    })?;
    let full = || LocalError::Taken(format!("network `{}` has no free address", network.name));
    Ok(given.ok_or_else(full)?)
}

/// True if nothing that a declaration decides differs; the count is the planner's business.
fn same_service(former: &DesiredService, new: &DesiredService) -> bool {
    former.spec_hash == new.spec_hash && former.links == new.links && {
        let mut plain = former.spec.clone();
        plain.replicas = new.spec.replicas;
        plain == new.spec
    }
}

/// What a replica would fail on, told before anything is made.
fn check(spec: &Service) -> Result<(), LocalError> {
    let of_network = |name: &&String| name.starts_with("net.");
    if is_on_node(spec)
        && let Some(name) = spec.security.sysctls.keys().find(of_network)
    {
        let text = format!("sysctls: {name} would be the node's, whose network the service uses");
        return Err(LocalError::Spec(text));
    }
    spec.security.devices.iter().try_for_each(devices::check)?;
    LinuxCaps::of(&spec.security).map_err(|error| LocalError::Spec(error.to_string()))?;
    rlimits::plan(&spec.security.ulimits)?;
    if let Some(text) = &spec.stop.signal
        && Signal::parse(text).is_none()
    {
        let shown: String = text
            .chars()
            .take(40)
            .flat_map(char::escape_default)
            .collect();
        return Err(LocalError::Spec(format!(
            "stop_signal: `{shown}` is not a signal"
        )));
    }
    Ok(())
}
