//! Networks: one bridge each, with a subnet of its own.

use unmoor_core::backend::Applied;
use unmoor_core::name::{NetworkName, StackName};
use unmoor_core::spec::Network;

use super::{Runtime, networks_of, subnet};
use crate::error::LocalError;
use crate::failpoint::failpoint;
use crate::net::{self, Subnet};
use crate::state::{
    Durability, Intent, IntentKind, NetworkRecord, addresses, networks, random_hex, replicas,
    services, write_json,
};

/// Length of the prefixes that are chosen: 509 replicas and 511 services a network.
const PREFIX: u8 = 22;

impl Runtime {
    /// Makes a network, or checks that it is as wanted.
    pub(crate) fn ensure_network(
        &self,
        stack: &StackName,
        name: &NetworkName,
        spec: &Network,
    ) -> Result<Applied, LocalError> {
        let known = self
            .db()
            .read("read networks", |c| networks::load(c, stack, name))?;
        if let Some(known) = known {
            let same = known.spec.internal == spec.internal
                && (spec.subnet.is_none() || known.spec.subnet == spec.subnet);
            if !same {
                let text = format!("network `{name}` of `{stack}` exists with other settings");
                return Err(LocalError::Conflict(text));
            }
            return Ok(Applied::Unchanged);
        }
        self.refuse_stray_network(stack, name)?;
        let host = net::host_subnets()?;
        let mtu = net::default_mtu()?;
        let id = random_hex(5)?;
        let (record, intent) = self
            .db()
            .write("record a network", Durability::Process, |c| {
                let taken: Vec<Subnet> = networks::list(c, None)?
                    .iter()
                    .filter_map(|n| subnet(n).ok())
                    .collect();
                let chosen = choose(spec, &taken, &host)?;
                let record = NetworkRecord {
                    stack: stack.clone(),
                    name: name.clone(),
                    id,
                    spec: spec.clone(),
                    subnet: chosen.base(),
                    prefix: chosen.prefix(),
                    mtu,
                };
                networks::store(c, &record)?;
                let intent = Intent::begin(c, IntentKind::EnsureNetwork, stack, name.as_str())?;
                Ok((record, intent))
            })?;
        failpoint("network.recorded");
        if let Err(error) = self.make_network(&record) {
            // What could not be made must not stay on record; its remains are found by the intent.
            self.unmake_network(&record)?;
            self.forget_network(&record, Some(intent), Durability::Process)?;
            return Err(error);
        }
        failpoint("network.made");
        self.db().end("record a network", intent)?;
        Ok(Applied::Changed)
    }

    /// Makes a recorded network, or puts right what is there.
    pub(super) fn make_network(&self, record: &NetworkRecord) -> Result<(), LocalError> {
        let zone = self.zone(record)?;
        for part in ["svc", "ep"] {
            let folder = zone.join(part);
            std::fs::create_dir_all(&folder)
                .map_err(|source| LocalError::io("make directory", &folder, source))?;
        }
        write_json(&zone.join("record"), record)?;
        Ok(net::create_network(&self.network_config(record)?)?)
    }

    pub(super) fn unmake_network(&self, record: &NetworkRecord) -> Result<(), LocalError> {
        net::remove_network(&self.network_config(record)?)?;
        net::remove_zone(&self.zone(record)?)?;
        Ok(())
    }

    /// Forgets a network whose traces are gone.
    pub(super) fn forget_network(
        &self,
        record: &NetworkRecord,
        intent: Option<i64>,
        durability: Durability,
    ) -> Result<(), LocalError> {
        self.db().write("forget a network", durability, |c| {
            networks::remove(c, &record.stack, &record.name)?;
            addresses::forget_network(c, &record.id)?;
            if let Some(intent) = intent {
                Intent::end(c, intent)?;
            }
            Ok(())
        })?;
        // Others may have a network of their own meanwhile: the folder is theirs too.
        crate::state::remove_if_empty(&self.layout().zones());
        Ok(())
    }

    /// Removes a network; absent is success.
    pub(crate) fn remove_network(
        &self,
        stack: &StackName,
        name: &NetworkName,
    ) -> Result<Applied, LocalError> {
        let begun = self
            .db()
            .write("remove a network", Durability::Process, |c| {
                let Some(record) = networks::load(c, stack, name)? else {
                    return Ok(None);
                };
                let in_use = |user: String| {
                    LocalError::WrongPhase(format!("remove network {name}: {user} uses it"))
                };
                for replica in replicas::list(c, Some(stack))? {
                    if replica.addresses.contains_key(name) {
                        return Err(in_use(format!("replica {}", replica.id)).into());
                    }
                }
                for service in services::list(c, Some(stack))? {
                    if networks_of(&service.desired.spec).contains(name) {
                        return Err(in_use(format!("service {}", service.desired.name)).into());
                    }
                }
                let intent = Intent::begin(c, IntentKind::RemoveNetwork, stack, name.as_str())?;
                Ok(Some((record, intent)))
            })?;
        let Some((record, intent)) = begun else {
            return Ok(Applied::Unchanged);
        };
        failpoint("network.leaving");
        self.unmake_network(&record)?;
        failpoint("network.gone");
        self.forget_network(&record, Some(intent), Durability::Power)?;
        Ok(Applied::Changed)
    }
}

fn choose(spec: &Network, taken: &[Subnet], host: &[Subnet]) -> Result<Subnet, LocalError> {
    let Some(text) = &spec.subnet else {
        return net::pick_subnet(taken, host, PREFIX).ok_or_else(|| LocalError::Unsupported {
            what: "no private subnet is left on this host".to_owned(),
            hint: "give the network a `subnet`, or remove networks".to_owned(),
        });
    };
    let shown: String = text
        .chars()
        .take(40)
        .flat_map(char::escape_default)
        .collect();
    let chosen: Subnet = text.parse().map_err(|()| {
        LocalError::Spec(format!(
            "`{shown}` is not an IPv4 subnet such as 10.5.0.0/24"
        ))
    })?;
    if chosen.prefix() > 29 || chosen.prefix() < 8 {
        let text = format!("subnet {chosen}: the prefix must be from /8 to /29");
        return Err(LocalError::Spec(text));
    }
    match taken
        .iter()
        .chain(host)
        .find(|other| other.overlaps(chosen))
    {
        None => Ok(chosen),
        Some(other) => Err(LocalError::Taken(format!(
            "subnet {chosen} overlaps with {other}, which this host uses already"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unmoor_core::ErrorKind;

    #[test]
    fn a_wanted_subnet_is_checked_before_it_is_given() {
        let host: Subnet = "10.5.0.0/16".parse().expect("a subnet");
        let wanted = |text: &str| {
            let spec = Network {
                subnet: Some(text.to_owned()),
                ..Network::default()
            };
            choose(&spec, &[], &[host]).map_err(|error| unmoor_core::Error::from(error).kind())
        };
        assert_eq!(wanted("10.6.0.0/24").map(Subnet::prefix), Ok(24));
        assert_eq!(wanted("10.5.9.0/24"), Err(ErrorKind::AlreadyExists));
        for wrong in ["10.6.0.0", "10.6.0.0/30", "0.0.0.0/0", "::/64", "x"] {
            assert_eq!(wanted(wrong), Err(ErrorKind::InvalidSpec), "{wrong}");
        }
        let any = choose(&Network::default(), &[], &[host]).expect("one is free");
        assert!(!any.overlaps(host));
    }
}
