//! Putting right what earlier commands left half-made, what died, and what a reboot took away.

use super::Runtime;
use crate::error::LocalError;
use crate::net;
use crate::shim::{self, Control, Seen};
use crate::state::{
    Durability, Intent, IntentKind, Lock, NetworkRecord, ReplicaRecord, ServiceRecord, boot_id,
    meta, networks, remove_if_empty, replicas, services, volumes,
};
use crate::wire::control::Request;
use crate::wire::plan::{Plan, Restart};

/// Reading what an intent is about.
const READ: &str = "read what an intent is about";
/// The boot in which the kernel's objects were made.
pub(super) const BOOT: &str = "boot";

/// What is found of the host's side of networks, and done about it.
struct Host {
    side: net::HostSide,
    /// Nobody has changed the rules since they were found right.
    intact: bool,
    /// Everything could be looked at.
    whole: bool,
    /// Networks whose zones are gone.
    lost: Vec<String>,
}

impl Runtime {
    /// Looks for what is left over and puts it right.
    pub(super) fn recover(&self) -> Result<(), LocalError> {
        let last = self.db().read("read the boot", |c| meta::load(c, BOOT))?;
        self.finish_orphans()?;
        if last.as_deref() != Some(boot_id()) {
            if last.is_some() {
                self.after_reboot()?;
            }
            let note = |c: &_| meta::store(c, BOOT, boot_id());
            self.db().write("note the boot", Durability::Power, note)?;
        }
        self.sweep_locks();
        self.sweep_shim_groups();
        self.restore_host()?;
        self.adopt_orphans()
    }

    /// Removes the files of locks whose holders have died.
    fn sweep_locks(&self) {
        let entries = std::fs::read_dir(self.layout().locks())
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries {
            // Whoever gets the lock removes its file when it lets go; one that is held stays.
            drop(Lock::attempt(&entry.path()));
        }
    }

    /// Removes the groups of shims whose replicas are gone: a shim that came too late is in its own
    /// until its end, and the command that launched it may have been killed.
    pub(super) fn sweep_shim_groups(&self) {
        // Listed before the record is read: who starts a replica records it before its shim begins.
        let found = self.hierarchies().shim_groups(&self.cgroup_path(""));
        if found.is_empty() {
            return;
        }
        let all = self.db().read("read replicas", |c| replicas::list(c, None));
        let Ok(all) = all else { return };
        for (key, path) in found {
            if !all.iter().any(|record| record.key == key) {
                // One that is not empty stays for the next.
                let _ = std::fs::remove_dir(&path);
                for parent in path.ancestors().skip(1).take(2) {
                    remove_if_empty(parent);
                }
            }
        }
    }

    /// Puts back bridges and rules that others have removed, as a reload of the firewall does.
    ///
    /// What another command works on is left to it. Rules that nobody has changed since they were
    /// found right are not looked at.
    fn restore_host(&self) -> Result<(), LocalError> {
        let (all_networks, all_services) = self.db().read("read the record", |c| {
            Ok((networks::list(c, None)?, services::list(c, None)?))
        })?;
        if all_networks.is_empty() {
            return Ok(());
        }
        let before = net::Rules::now()?;
        let mut host = Host {
            side: net::host_side()?,
            intact: self.was_right(&before),
            whole: true,
            lost: Vec::new(),
        };
        // What cannot be put right keeps nobody from the rest.
        for network in &all_networks {
            if let Err(error) = self.restore_network(network, &mut host) {
                let (stack, name) = (&network.stack, &network.name);
                host.whole = false;
                tracing::warn!(%stack, network = %name, %error, "it could not be put right");
            }
        }
        if !host.side.loose.is_empty() {
            self.attach_loose(&all_networks, &host.side.loose)?;
        }
        if host.intact && host.lost.is_empty() {
            return Ok(());
        }
        for service in &all_services {
            let done = self.restore_rules_of(service, &host.lost);
            host.whole &= matches!(done, Ok(true));
            if let Err(error) = done {
                let (stack, name) = (&service.stack, &service.desired.name);
                tracing::warn!(%stack, service = %name, %error, "it could not be put right");
            }
        }
        self.announce_again(&host.lost)?;
        let after = net::Rules::now()?;
        if host.whole && host.lost.is_empty() && before.followed_by(&after) {
            self.found_right(&after);
        }
        Ok(())
    }

    /// True if the rules were found right in this very state.
    fn was_right(&self, rules: &net::Rules) -> bool {
        let noted = std::fs::read_to_string(self.layout().rules());
        noted.is_ok_and(|noted| noted == format!("{} {rules}", boot_id()))
    }

    /// Notes it. A note that cannot be written, or is torn, costs the next command a look.
    fn found_right(&self, rules: &net::Rules) {
        let _ = std::fs::write(self.layout().rules(), format!("{} {rules}", boot_id()));
    }

    fn restore_network(&self, network: &NetworkRecord, host: &mut Host) -> Result<(), LocalError> {
        let (stack, name) = (&network.stack, &network.name);
        let Some(_lock) = self.try_lock("network", stack, name.as_str())? else {
            host.whole = false;
            return Ok(());
        };
        let load = |c: &_| networks::load(c, stack, name);
        if self.db().read(READ, load)?.is_none() {
            return Ok(());
        }
        let config = self.network_config(network)?;
        let has_zone = net::has_zone(&self.zone(network)?);
        let there = host
            .side
            .bridges
            .iter()
            .any(|bridge| bridge.name == config.bridge);
        if !has_zone {
            host.lost.push(network.id.clone());
        }
        if !has_zone || !there {
            host.intact = false;
            self.make_network(network)
        } else if !host.intact {
            Ok(net::restore(&[config], &[])?)
        } else {
            Ok(())
        }
    }

    /// Puts interfaces whose bridge was removed into the one that was made in its place.
    fn attach_loose(&self, all: &[NetworkRecord], loose: &[String]) -> Result<(), LocalError> {
        let replicas = self
            .db()
            .read("read replicas", |c| replicas::list(c, None))?;
        for record in &replicas {
            for (name, address) in &record.addresses {
                let interface = net::veth_name(*address);
                let on = |network: &&NetworkRecord| {
                    network.stack == record.id.stack && network.name == *name
                };
                if let (true, Some(network)) = (loose.contains(&interface), all.iter().find(on)) {
                    let bridge = self.network_config(network)?.bridge;
                    net::attach(&interface, &bridge)?;
                    tracing::warn!(replica = %record.id, "its interface is in {bridge} again");
                }
            }
        }
        Ok(())
    }

    /// False where another command is at work.
    fn restore_rules_of(
        &self,
        service: &ServiceRecord,
        lost: &[String],
    ) -> Result<bool, LocalError> {
        let (stack, name) = (&service.stack, &service.desired.name);
        let Some(_lock) = self.try_lock("service", stack, name.as_str())? else {
            return Ok(false);
        };
        let load = |c: &_| services::load(c, stack, name);
        if self.db().read(READ, load)?.is_none() {
            return Ok(true);
        }
        let on = self.network_records(stack, name, &service.desired.spec)?;
        let ports = Self::fixed_ports(&service.desired.spec, &on)?;
        net::restore(&[], &[self.publication(name, ports, &on)?])?;
        if on.iter().any(|network| lost.contains(&network.id)) {
            self.write_zone(service, &on)?;
        }
        self.restore_across(service)?;
        Ok(true)
    }

    /// Has the shims on networks whose zones were lost follow the new ones, and say there what
    /// they have said before; and those whose own ports were taken from the rules put them back.
    fn announce_again(&self, lost: &[String]) -> Result<(), LocalError> {
        let all = self
            .db()
            .read("read replicas", |c| replicas::list(c, None))?;
        let mut told = Vec::new();
        for record in &all {
            let on = self.networks_of_replica(record)?;
            let run = self.layout().run(&record.key);
            let moved = on.iter().any(|network| lost.contains(&network.id));
            if !(moved || Self::lacks_own_ports(record, &on)?) || !shim::see(&run)?.runs() {
                continue;
            }
            told.push(record);
            let asked = Control::connect(&run, &record.id.to_string())
                .and_then(|mut control| control.ask(&Request::Reload { net: None }));
            if let Err(error) = asked {
                let error = unmoor_core::Error::from(error);
                tracing::warn!(replica = %record.id, "restore its names: {}", error.chain());
            }
        }
        // Those that were asked first have not heard the last ones yet.
        self.settle_these(told.into_iter());
        Ok(())
    }

    /// Finishes or undoes what commands that have died were in the middle of. Cheap if there is
    /// nothing, so every command begins with it.
    pub(crate) fn finish_orphans(&self) -> Result<(), LocalError> {
        let orphans = self.db().read("read intents", Intent::orphans)?;
        for intent in orphans {
            let ours = self
                .db()
                .write("take over an intent", Durability::Process, |c| {
                    Intent::adopt(c, &intent)
                })?;
            if ours {
                tracing::info!(stack = %intent.stack, "finish what a dead command began: {:?} {}",
                    intent.kind, intent.subject);
                // One thing that cannot be put right must not keep every command from its work;
                // whoever changes that thing next is told, and the next command tries again.
                if let Err(error) = self.finish(&intent) {
                    let error = unmoor_core::Error::from(error);
                    tracing::warn!(stack = %intent.stack, "{:?} {}: {}",
                        intent.kind, intent.subject, error.chain());
                }
            }
        }
        Ok(())
    }

    fn finish(&self, intent: &Intent) -> Result<(), LocalError> {
        let (stack, subject) = (&intent.stack, intent.subject.as_str());
        match intent.kind {
            IntentKind::StartReplica => return self.finish_start(intent),
            IntentKind::RemoveReplica => {
                let load = |c: &_| replicas::by_key(c, subject);
                if let Some(record) = self.db().read("read replicas", load)? {
                    return self.erase(&record, Some(intent.id), Durability::Power);
                }
            }
            IntentKind::EnsureNetwork => {
                let load = |c: &_| networks::load(c, stack, &subject.parse()?);
                if let Some(record) = self.db().read(READ, load)? {
                    self.make_network(&record)?;
                }
            }
            IntentKind::RemoveNetwork => {
                let load = |c: &_| networks::load(c, stack, &subject.parse()?);
                if let Some(record) = self.db().read(READ, load)? {
                    self.unmake_network(&record)?;
                    return self.forget_network(&record, Some(intent.id), Durability::Power);
                }
            }
            IntentKind::EnsureVolume => {
                let load = |c: &_| volumes::load(c, stack, &subject.parse()?);
                if let Some(record) = self.db().read(READ, load)? {
                    self.make_volume(&record)?;
                }
            }
            IntentKind::RemoveVolume => {
                let load = |c: &_| volumes::load(c, stack, &subject.parse()?);
                if let Some(record) = self.db().read(READ, load)? {
                    return self.finish_remove_volume(&record, intent.id);
                }
            }
            IntentKind::EnsureService => {
                let load = |c: &_| services::load(c, stack, &subject.parse()?);
                if let Some(record) = self.db().read(READ, load)? {
                    return self.finish_declaration(&record, intent.id);
                }
            }
            IntentKind::RemoveService => {
                let load = |c: &_| services::load(c, stack, &subject.parse()?);
                if let Some(record) = self.db().read(READ, load)? {
                    return self.finish_remove_service(&record, intent.id);
                }
            }
        }
        self.db()
            .write("forget an intent", Durability::Process, |c| {
                Intent::end(c, intent.id)
            })
    }

    /// A declaration whose command has died: it is finished, or withdrawn if it cannot be and
    /// nothing depends on it yet.
    fn finish_declaration(&self, record: &ServiceRecord, intent: i64) -> Result<(), LocalError> {
        let result = self
            .restore_service(record)
            .and_then(|()| self.restore_ports(record))
            .and_then(|()| self.renew_links(record));
        let (stack, name) = (&record.stack, &record.desired.name);
        let replicas = self
            .db()
            .read("read replicas", |c| replicas::of_service(c, stack, name))?;
        let used = !replicas.is_empty();
        if let Err(error) = result {
            let error = unmoor_core::Error::from(error);
            tracing::warn!(service = %record.desired.name, "declare it: {}", error.chain());
            if !used {
                return self.finish_remove_service(record, intent);
            }
        }
        self.db().write("record a service", Durability::Power, |c| {
            Intent::end(c, intent)
        })
    }

    /// Its replicas may not have heard which ports it has.
    fn restore_ports(&self, record: &ServiceRecord) -> Result<(), LocalError> {
        let (stack, name) = (&record.stack, &record.desired.name);
        let on = self.network_records(stack, name, &record.desired.spec)?;
        let ports = Self::fixed_ports(&record.desired.spec, &on)?;
        self.renew_ports(record, &ports)
    }

    /// A start whose command has died: what runs stays, what does not goes.
    fn finish_start(&self, intent: &Intent) -> Result<(), LocalError> {
        let run = self.layout().run(&intent.subject);
        if shim::see(&run)?.runs() {
            let end = |c: &_| Intent::end(c, intent.id);
            return self.db().write("record a replica", Durability::Power, end);
        }
        self.undo_start(&intent.subject, intent.id)
    }

    /// Writes names and rules of a service again.
    pub(super) fn restore_service(&self, record: &ServiceRecord) -> Result<(), LocalError> {
        let (stack, name) = (&record.stack, &record.desired.name);
        let on = self.network_records(stack, name, &record.desired.spec)?;
        self.write_zone(record, &on)?;
        let ports = Self::fixed_ports(&record.desired.spec, &on)?;
        Ok(net::publish(&self.publication(name, ports, &on)?)?)
    }

    /// The kernel has forgotten every network and rule; what should always run is started again.
    fn after_reboot(&self) -> Result<(), LocalError> {
        let (all_networks, all_services, all_replicas) =
            self.db().read("read the record", |c| {
                Ok((
                    networks::list(c, None)?,
                    services::list(c, None)?,
                    replicas::list(c, None)?,
                ))
            })?;
        let mut failed: Vec<unmoor_core::Error> = Vec::new();
        for network in &all_networks {
            // Endpoints of the former boot answer no more.
            net::remove_zone(&self.zone(network)?)?;
            failed.extend(
                self.make_network(network)
                    .err()
                    .map(unmoor_core::Error::from),
            );
        }
        for service in &all_services {
            failed.extend(
                self.restore_service(service)
                    .err()
                    .map(unmoor_core::Error::from),
            );
        }
        for replica in &all_replicas {
            if self.is_wanted_after_reboot(replica)? {
                let restored = self
                    .restore_replica(replica)
                    .map_err(unmoor_core::Error::from);
                let problem = restored.as_ref().err().map(unmoor_core::Error::chain);
                self.update(replica, |record| record.problem = problem)?;
                failed.extend(restored.err());
            }
        }
        // One thing that cannot come back must not keep the others down.
        for error in failed {
            tracing::warn!("after the reboot: {}", error.chain());
        }
        Ok(())
    }

    fn is_wanted_after_reboot(&self, record: &ReplicaRecord) -> Result<bool, LocalError> {
        if record.waits {
            return Ok(false);
        }
        let path = self.layout().replica(&record.key).join("plan");
        let plan = std::fs::read(path)
            .ok()
            .and_then(|bytes| Plan::decode(&bytes).ok());
        let seen = shim::see(&self.layout().run(&record.key))?;
        let stopped = seen.status().is_some_and(|status| status.stop_requested);
        Ok(match plan.map(|plan| plan.restart) {
            Some(Restart::Always) => true,
            Some(Restart::UnlessStopped) => !stopped,
            Some(Restart::No | Restart::OnFailure { .. }) | None => false,
        })
    }

    /// True if ports that lead to this replica alone are not in the rules.
    fn lacks_own_ports(record: &ReplicaRecord, on: &[NetworkRecord]) -> Result<bool, LocalError> {
        let ports = Self::own_ports(record, on)?;
        let service = record.id.service.as_str();
        Ok(!ports.is_empty() && !net::is_published(service, &ports)?)
    }

    fn restore_replica(&self, record: &ReplicaRecord) -> Result<(), LocalError> {
        let on = self.networks_of_replica(record)?;
        let ports = Self::own_ports(record, &on)?;
        net::publish(&self.publication(&record.id.service, ports, &on)?)?;
        self.relaunch(record)
    }

    /// Gives replicas whose shim has died a new one.
    fn adopt_orphans(&self) -> Result<(), LocalError> {
        let all = self
            .db()
            .read("read replicas", |c| replicas::list(c, None))?;
        for record in all {
            let run = self.layout().run(&record.key);
            if let Ok(Seen::Orphan(_)) = shim::see(&run)
                && let Err(error) = self.see_alive(&record)
            {
                let error = unmoor_core::Error::from(error);
                tracing::warn!(replica = %record.id, "adopt it: {}", error.chain());
            }
        }
        Ok(())
    }
}
