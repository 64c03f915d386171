//! From a service and what was given to a replica to the plan that its shim carries out.

use std::net::SocketAddr;
use std::time::Duration;

use unmoor_core::backend::DesiredService;
use unmoor_core::signal::Signal;
use unmoor_core::spec::{Health, HealthTest, HealthWish, NetworkMode, RestartPolicy, Service};
use unmoor_image::RootfsUser;

use super::across::other_stack;
use super::environment::{Reach, Surroundings, ports_of, variables};
use super::{Runtime, files, networks_of, subnet};
use crate::error::LocalError;
use crate::layout::Layout;
use crate::logs::FILES_MAX;
use crate::net;
use crate::sandbox::caps::{self, LinuxCaps};
use crate::sandbox::seccomp::{self, Arch};
use crate::sandbox::{idmap, paths, rlimits};
use crate::state::{NetworkRecord, ReplicaRecord, ServiceRecord, random_hex, services};
use crate::wire::codec::Writer;
use crate::wire::netplan::{Attachment, NetPlan, PublishedPort};
use crate::wire::plan::{self, Capabilities, IdMap, LogLimits, Plan, Process, Restart, Root};
use crate::wire::zone::is_name;

/// Size of `/dev/shm`, as docker's.
const SHM_SIZE: u64 = 64 << 20;
/// The port where servers are asked for names.
const DNS: u16 = 53;
/// Bounds of a replica's log.
const LOG: LogLimits = LogLimits {
    max_bytes: 10 << 20,
    files: 3,
};
/// Length of the tokens by which replicas ask about their services, in bytes.
const TOKEN: usize = 16;
/// Time between the stop signal and SIGKILL if the service does not say.
pub(super) const GRACE: Duration = Duration::from_secs(10);

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The program with its arguments: the service's words, else the image's.
pub(super) fn command(desired: &DesiredService) -> Result<Vec<String>, LocalError> {
    let mut words = desired.command();
    words.retain(|word| !word.contains('\0'));
    if words.first().is_none_or(String::is_empty) {
        let text = format!(
            "{}: neither the service nor its image has a command",
            desired.name
        );
        return Err(LocalError::Spec(text));
    }
    Ok(words)
}

/// The supplementary groups of a user: its own group is one of them, so that a file that its
/// group may not read stays unreadable after a change of the effective group.
pub(crate) fn groups(user: &RootfsUser) -> Vec<u32> {
    let mut groups = vec![user.gid];
    groups.extend(user.groups.iter().filter(|gid| **gid != user.gid));
    groups
}

/// The domains behind which a replica's names are looked up: its service's, else the node's.
fn search(record: &ReplicaRecord) -> Result<Vec<String>, LocalError> {
    match record.desired.spec.dns.search.as_slice() {
        [] => Ok(net::host_resolvers()?.search),
        // As docker has it: none at all.
        [only] if only == "." => Ok(Vec::new()),
        asked => Ok(asked.to_vec()),
    }
}

/// How a user is written whose group is this one: the group is looked up with it.
pub(crate) fn member_of(group: &str) -> String {
    format!("0:{group}")
}

/// The bounds of a replica's log, where its service says some over the usual ones.
fn log_limits(spec: &Service) -> LogLimits {
    let bounds = spec.log;
    let files = bounds.max_files.map(|files| files.clamp(1, FILES_MAX));
    LogLimits {
        max_bytes: bounds.max_size.map_or(LOG.max_bytes, |size| size.0),
        files: files.unwrap_or(LOG.files),
    }
}

/// How long a replica of this service has to end.
pub(super) fn grace(spec: &Service) -> Duration {
    spec.stop.grace.unwrap_or(GRACE)
}

fn restart(policy: RestartPolicy) -> Restart {
    match policy {
        RestartPolicy::No => Restart::No,
        RestartPolicy::OnFailure { max } => Restart::OnFailure {
            max: max.unwrap_or(0),
        },
        RestartPolicy::Always => Restart::Always,
        RestartPolicy::UnlessStopped => Restart::UnlessStopped,
    }
}

fn health(desired: &DesiredService) -> Option<plan::Health> {
    let wanted: &Health = match &desired.spec.health {
        HealthWish::Disabled => return None,
        HealthWish::Check(health) => health,
        HealthWish::FromImage => desired.image.defaults.health.as_ref()?,
    };
    let test = match &wanted.test {
        HealthTest::Exec(argv) => plan::HealthTest::Exec { argv: argv.clone() },
        HealthTest::Shell(line) => plan::HealthTest::Exec {
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
        },
        HealthTest::Tcp { port } => plan::HealthTest::Tcp { port: *port },
        HealthTest::Http { port, path } => plan::HealthTest::Http {
            port: *port,
            path: path.clone(),
        },
        _ => return None,
    };
    Some(plan::Health {
        test,
        interval_ms: millis(wanted.interval),
        timeout_ms: millis(wanted.timeout),
        start_period_ms: millis(wanted.start_period),
        start_interval_ms: millis(wanted.start_interval),
        retries: wanted.retries,
    })
}

/// Whether a service uses the network of its node.
pub(super) fn is_on_node(spec: &Service) -> bool {
    spec.network_mode == NetworkMode::Host
}

fn capabilities(spec: &Service) -> Result<LinuxCaps, LocalError> {
    let wanted = if spec.security.privileged {
        LinuxCaps::ALL
    } else {
        LinuxCaps::of(&spec.security).map_err(|error| LocalError::Spec(error.to_string()))?
    };
    // Nothing that this process was denied comes back through a replica.
    Ok(wanted.intersect(caps::bounding()))
}

/// What one replica is made of beyond its record.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) service: &'a ServiceRecord,
    pub(super) networks: &'a [NetworkRecord],
    pub(super) ports: Vec<PublishedPort>,
}

impl Runtime {
    /// The plan of a recorded replica; its directories are there.
    pub(super) fn compile(
        &self,
        record: &ReplicaRecord,
        parts: &Parts<'_>,
    ) -> Result<Plan, LocalError> {
        let desired = &record.desired;
        let spec = &desired.spec;
        let on_node = is_on_node(spec);
        let replica_dir = self.layout().replica(&record.key);
        let hostname = spec.hostname.clone().unwrap_or_else(|| match on_node {
            true => files::node_name(),
            false => files::hostname(&record.id),
        });
        let net = self.net_plan(record, parts)?;
        let mut mounts = self.etc_files(record, &hostname, &net)?;
        mounts.extend(self.plan_mounts(&record.id.stack, desired, &replica_dir)?);
        let privileged = spec.security.privileged;
        let image = &desired.image.defaults;
        let stop = spec.stop.signal.as_deref().or(image.stop_signal.as_deref());
        let mut writer = Writer::new();
        net.encode(&mut writer);
        Ok(Plan {
            replica: record.id.to_string(),
            replica_dir: Layout::text(&replica_dir)?,
            run_dir: Layout::text(&self.layout().run(&record.key))?,
            id_map: Some(IdMap {
                base: record.id_base,
                size: idmap::SIZE,
            }),
            process: self.process(record, parts, &hostname)?,
            hostname,
            root: Root::Layers {
                store: Layout::text(&self.images().layer_dir())?,
                layers: record
                    .layers
                    .iter()
                    .rev()
                    .map(ToString::to_string)
                    .collect(),
            },
            read_only_root: spec.security.read_only,
            mounts,
            masked_paths: if privileged {
                Vec::new()
            } else {
                paths::masked().to_vec()
            },
            read_only_paths: if privileged {
                Vec::new()
            } else {
                paths::read_only()
            },
            shm_size: SHM_SIZE,
            sysctls: spec.security.sysctls.clone().into_iter().collect(),
            cgroups: self
                .hierarchies()
                .plan(&self.cgroup_path(&record.key), &spec.resources)?,
            stop_signal: u32::from(
                stop.and_then(Signal::parse)
                    .unwrap_or(Signal::TERM)
                    .number(),
            ),
            stop_grace_ms: millis(grace(spec)),
            restart: restart(spec.restart),
            health: health(desired),
            log: log_limits(spec),
            net: (!on_node).then(|| writer.finish()),
            init: spec.init,
            host_network: on_node,
        })
    }

    fn process(
        &self,
        record: &ReplicaRecord,
        parts: &Parts<'_>,
        hostname: &str,
    ) -> Result<Process, LocalError> {
        let (spec, image) = (&record.desired.spec, &record.desired.image.defaults);
        let user = self.user(record)?;
        let set = capabilities(spec)?;
        let unfiltered = spec.security.seccomp_unconfined || spec.security.privileged;
        let cwd = spec.working_dir.as_deref().or(image.working_dir.as_deref());
        let token = match record.addresses.is_empty() {
            true => None,
            false => Some(random_hex(TOKEN)?),
        };
        let surroundings = Surroundings {
            spec,
            image,
            hostname,
            home: user.home.as_deref(),
            reaches: &self.reaches(parts.service)?,
            token: token.as_deref(),
        };
        Ok(Process {
            argv: record.command.clone(),
            env: variables(&surroundings),
            cwd: cwd
                .filter(|path| !path.is_empty())
                .unwrap_or("/")
                .to_owned(),
            uid: user.uid,
            gid: user.gid,
            groups: self.groups(record, &user)?,
            caps: Capabilities {
                bounding: set.bits(),
                effective: set.bits(),
                permitted: set.bits(),
                inheritable: 0,
                ambient: 0,
            },
            no_new_privs: spec.security.new_privileges == Some(false),
            seccomp: if unfiltered {
                Vec::new()
            } else {
                seccomp::filter(Arch::HOST, set).to_vec()
            },
            rlimits: rlimits::plan(&spec.security.ulimits)?,
            oom_score_adj: None,
            tty: spec.tty,
            open_stdin: spec.stdin_open,
        })
    }

    fn user(&self, record: &ReplicaRecord) -> Result<RootfsUser, LocalError> {
        let image = record.desired.image.defaults.user.as_deref();
        let wanted = record
            .desired
            .spec
            .user
            .as_deref()
            .or(image)
            .unwrap_or_default();
        Ok(self.images().rootfs_user(&record.layers, wanted)?)
    }

    /// The groups of the program: its user's, and those that the service adds.
    fn groups(&self, record: &ReplicaRecord, user: &RootfsUser) -> Result<Vec<u32>, LocalError> {
        let mut all = groups(user);
        for group in &record.desired.spec.security.groups {
            let found = self
                .images()
                .rootfs_user(&record.layers, &member_of(group))?;
            if !all.contains(&found.gid) {
                all.push(found.gid);
            }
        }
        Ok(all)
    }

    fn etc_files(
        &self,
        record: &ReplicaRecord,
        hostname: &str,
        net: &NetPlan,
    ) -> Result<Vec<plan::Mount>, LocalError> {
        let first = net.attachments.first();
        let gateway = net
            .attachments
            .iter()
            .find_map(|attachment| attachment.gateway);
        let address = first.map(|attachment| attachment.address);
        let extra = &record.desired.spec.extra_hosts;
        let hosts = match is_on_node(&record.desired.spec) {
            true => files::node_hosts(extra)?,
            false => files::hosts(hostname, address, extra, gateway)?,
        };
        let mut mounts = vec![
            files::file("/etc/hosts", hosts),
            files::file("/etc/hostname", format!("{hostname}\n")),
        ];
        if first.is_some() {
            let options = &record.desired.spec.dns.options;
            mounts.push(files::resolv_conf(&search(record)?, options));
        } else if is_on_node(&record.desired.spec) {
            mounts.extend(files::node_resolv_conf()?);
        }
        if record.desired.spec.security.read_only {
            mounts.iter_mut().for_each(files::make_read_only);
        }
        Ok(mounts)
    }

    /// What the replica reaches by name: its explicit links, then services with known ports on
    /// networks that both are on.
    fn reaches(&self, service: &ServiceRecord) -> Result<Vec<Reach>, LocalError> {
        let stack = &service.stack;
        let all = self
            .db()
            .read("read services", |c| services::list(c, Some(stack)))?;
        let find = |name| all.iter().find(|other| other.desired.name == name);
        let mut reaches: Vec<Reach> = Vec::new();
        let own = networks_of(&service.desired.spec);
        for other in &all {
            let known = ports_of(&other.desired);
            let shared = networks_of(&other.desired.spec)
                .iter()
                .any(|n| own.contains(n));
            if shared && !known.is_empty() && other.desired.name != service.desired.name {
                reaches.push(Reach {
                    alias: (&other.desired.name).into(),
                    port: None,
                    known,
                });
            }
        }
        for link in &service.desired.links {
            let name = &link.target.service;
            let far = match other_stack(link, stack) {
                Some(other) => self
                    .db()
                    .read("read services", |c| services::load(c, other, name))?,
                None => None,
            };
            let near = || find(name.clone()).filter(|_| other_stack(link, stack).is_none());
            let target = far.as_ref().or_else(near);
            let known = target
                .map(|target| ports_of(&target.desired))
                .unwrap_or_default();
            reaches.retain(|reach| reach.alias != link.alias);
            reaches.push(Reach {
                alias: link.alias.clone(),
                port: link.port,
                known,
            });
        }
        Ok(reaches)
    }

    /// What the shim must know about the replica's networks.
    pub(super) fn net_plan(
        &self,
        record: &ReplicaRecord,
        parts: &Parts<'_>,
    ) -> Result<NetPlan, LocalError> {
        let root = self.layout().root();
        let long = record.id.to_string();
        // Who is too long for a name is known by another: SRV records and lists lead to it.
        let short = || format!("{}.{}", record.id.slot, record.id.service);
        let replica_name = if is_name(&long) { long } else { short() };
        let own = [
            Some(replica_name),
            record.desired.spec.container_name.clone(),
            record.desired.spec.hostname.clone(),
        ];
        let names: Vec<String> = own
            .into_iter()
            .flatten()
            .filter(|name| is_name(name))
            .collect();
        let mut attachments = Vec::new();
        let mut way_out = false;
        for network in parts.networks {
            let Some(address) = record.addresses.get(&network.name) else {
                continue;
            };
            let subnet = subnet(network)?;
            // One way out is enough; a second default route would only be chosen by accident.
            let gateway = (!network.spec.internal && !way_out).then(|| subnet.gateway());
            way_out |= gateway.is_some();
            attachments.push(Attachment {
                network: network.id.clone(),
                network_name: network.name.as_str().to_owned(),
                zone_dir: Layout::text(&self.zone(network)?)?,
                bridge: net::bridge_name(root, &network.id),
                host_if: net::veth_name(*address),
                address: *address,
                prefix: subnet.prefix(),
                gateway,
                mtu: network.mtu,
                internal: network.spec.internal,
                names: names.clone(),
            });
        }
        let links = self.layout().run(&record.key).join("links");
        let asked = &record.desired.spec.dns.servers;
        let upstreams = match (attachments.is_empty(), asked.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => net::host_resolvers()?.servers,
            (false, false) => asked.iter().map(|ip| SocketAddr::new(*ip, DNS)).collect(),
        };
        Ok(NetPlan {
            replica: record.key.clone(),
            service: record.id.service.as_str().to_owned(),
            links: if attachments.is_empty() {
                String::new()
            } else {
                Layout::text(&links)?
            },
            attachments,
            upstreams,
            ports: parts.ports.clone(),
            weight: 1,
        })
    }
}
