//! The life of a replica: made, started, stopped, ended, restarted, removed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use unmoor_core::backend::{Channel, DesiredService, Exit, HealthState, LogLine, Phase};
use unmoor_core::name::ReplicaId;
use unmoor_core::signal::Signal;
use unmoor_core::spec::{BlobId, BlobKind, LinuxCaps, MountSource, RestartPolicy};
use unmoor_core::{Error, ErrorKind, Result};

use super::{Event, Model, MountPoint, Node, Replica, Source, Tree, health, normal};
use crate::bug::Bug;
use crate::image::Image;
use crate::probe::Start;

/// First pause before a restart; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A run of this length makes the next pause a first one again.
const GOOD_RUN: Duration = Duration::from_secs(10);

impl Model {
    /// Makes a replica's record: addresses, mounts, secrets; nothing runs yet.
    pub(super) fn make_replica(
        &mut self,
        id: &ReplicaId,
        service: &Arc<DesiredService>,
    ) -> Result<()> {
        let image = self.images.find(&service.image.digest).ok_or_else(|| {
            let text = format!(
                "start {id}: image {} is not loaded",
                service.image.reference.familiar()
            );
            Error::new(ErrorKind::NotFound, text)
        })?;
        LinuxCaps::of(&service.spec.security).map_err(|error| error.on(id))?;
        let given = self.given_files(id, service)?;
        let (mounts, own) = self.mounts(id, service, &image)?;
        let addresses = self.join_networks(id, &service.spec)?;
        let ports = match self.ports_of_replica(id, service) {
            Ok(ports) => ports,
            Err(error) => {
                self.give_back(&id.stack, &addresses);
                return Err(error);
            }
        };
        let mut hostname = service
            .spec
            .hostname
            .clone()
            .unwrap_or_else(|| id.to_string());
        hostname.truncate(63);
        let replica = Replica {
            id: id.clone(),
            service: Arc::clone(service),
            hostname,
            phase: Phase::Pending,
            health: HealthState::None,
            draining: false,
            exit: None,
            message: None,
            command: Vec::new(),
            created: self.wall(),
            started: None,
            ended: None,
            since: self.now,
            restarts: 0,
            in_a_row: 0,
            failed_checks: 0,
            stop_requested: false,
            run: 0,
            main: None,
            addresses,
            ports,
            root: image.files.clone(),
            mounts,
            own,
            given,
            logs: Vec::new(),
            held: Vec::new(),
        };
        let holding = self.stacks.entry(id.stack.clone()).or_default();
        holding
            .replicas
            .insert((id.service.clone(), id.slot), replica);
        self.touch();
        Ok(())
    }

    fn given_files(
        &self,
        id: &ReplicaId,
        service: &DesiredService,
    ) -> Result<BTreeMap<String, Node>> {
        let mut given = BTreeMap::new();
        let spec = &service.spec;
        for (kind, grants) in [
            (BlobKind::Secret, &spec.secrets),
            (BlobKind::Config, &spec.configs),
        ] {
            for grant in grants {
                let blob = BlobId {
                    kind,
                    name: grant.name.clone(),
                };
                let holding = self.holding(&id.stack);
                let Some(content) = holding.and_then(|holding| holding.blobs.get(&blob)) else {
                    let text = format!(
                        "start {id}: {} `{}` does not exist",
                        kind.as_str(),
                        grant.name
                    );
                    return Err(Error::new(ErrorKind::NotFound, text));
                };
                let loose = self.bugs.has(Bug::SecretModeIgnored);
                let mode = if loose { 0o644 } else { grant.mode };
                let node = Node::file(content.reveal().to_vec(), mode, grant.uid, grant.gid);
                given.insert(normal("/", &grant.target), node);
            }
        }
        Ok(given)
    }

    fn mounts(
        &mut self,
        id: &ReplicaId,
        service: &DesiredService,
        image: &Image,
    ) -> Result<(Vec<MountPoint>, Vec<Tree>)> {
        let mut mounts = Vec::new();
        let mut own = Vec::new();
        for mount in &service.spec.mounts {
            let target = normal("/", &mount.target);
            // As docker does it: a fresh volume begins with what the image has at its place.
            let first = image.files.below(&target).unwrap_or_else(Tree::new);
            let source = match &mount.source {
                MountSource::Volume(name) => {
                    let holding = self.stacks.get(&id.stack);
                    let known = holding
                        .and_then(|holding| holding.volumes.get(name))
                        .cloned();
                    let Some((physical, _)) = known else {
                        let text = format!("start {id}: volume `{name}` does not exist");
                        return Err(Error::new(ErrorKind::NotFound, text));
                    };
                    let tree = self
                        .volumes
                        .entry(physical.clone())
                        .or_insert_with(Tree::new);
                    if tree.is_bare() {
                        *tree = first;
                    }
                    Source::Volume(physical)
                }
                MountSource::Anonymous => {
                    own.push(first);
                    Source::Own(own.len() - 1)
                }
                MountSource::Tmpfs { mode, .. } => {
                    own.push(Tree::with_root(Node::folder(*mode, 0, 0)));
                    Source::Own(own.len() - 1)
                }
                _ => {
                    let text = format!("start {id}: the model cannot mount at {target}");
                    return Err(Error::new(ErrorKind::Unsupported, text));
                }
            };
            mounts.push(MountPoint {
                target,
                source,
                read_only: mount.read_only,
            });
        }
        Ok((mounts, own))
    }

    /// Runs the replica's program.
    pub(super) fn start_replica(&mut self, id: &ReplicaId) {
        let now = self.now;
        // No two starts have the same time, though virtual time may stand still between them.
        let wall = self.wall() + Duration::from_nanos(self.ticket());
        let Some(replica) = self.replica_mut(id) else {
            return;
        };
        replica.phase = Phase::Running;
        replica.stop_requested = false;
        replica.exit = None;
        replica.message = None;
        replica.started = Some(wall);
        replica.since = now;
        replica.run += 1;
        replica.failed_checks = 0;
        let checked = health::check_of(replica).is_some();
        replica.health = if checked {
            HealthState::Starting
        } else {
            HealthState::None
        };
        let service = Arc::clone(&replica.service);
        let argv = service.command();
        replica.command.clone_from(&argv);
        let secrets = self.bugs.has(Bug::SecretInMessage);
        if secrets && let Some(replica) = self.replica_mut(id) {
            let given: Vec<&[u8]> = replica.given.values().filter_map(Node::content).collect();
            let text = String::from_utf8_lossy(&given.concat()).into_owned();
            replica.message = Some(text);
        }
        let told = self.bugs.has(Bug::SecretInLog);
        let told = told.then(|| self.replica(id)).flatten().map(|replica| {
            let given: Vec<&[u8]> = replica.given.values().filter_map(Node::content).collect();
            String::from_utf8_lossy(&given.concat()).into_owned() + "\n"
        });
        self.touch();
        self.plan_check(id);
        let start = Start {
            replica: id.clone(),
            main: true,
            argv,
            env: BTreeMap::new(),
            cwd: None,
            user: None,
            tty: service.spec.tty,
            stdin: service.spec.stdin_open,
        };
        self.spawn(start);
        let main = self.replica(id).and_then(|replica| replica.main);
        if let (Some(told), Some(main)) = (told, main) {
            self.emit(main, Channel::Stdout, &told);
        }
    }

    /// The main process of a replica has ended.
    pub(crate) fn main_ended(&mut self, id: &ReplicaId, code: i32, out_of_memory: bool) {
        self.processes.retain(|_, process| {
            let inside = process.replica == *id;
            if inside && !process.main && process.exit.is_none() {
                // Commands inside die with the replica; their sessions still read the end.
                process.end(137);
            }
            !(inside && process.main)
        });
        let code = if self.bugs.has(Bug::FailureHidden) {
            0
        } else {
            code
        };
        let lost = self.bugs.has(Bug::ExitCodeLost) && code != 0;
        let policy = self.policy_of(id, code);
        let (now, wall) = (self.now, self.wall());
        let Some(replica) = self.replica_mut(id) else {
            return;
        };
        replica.main = None;
        replica.ended = Some(wall);
        replica.run += 1;
        replica.exit = Some(Exit {
            code: if lost { 1 } else { code },
            out_of_memory,
        });
        replica.health = match replica.health {
            HealthState::None => HealthState::None,
            _ => HealthState::Starting,
        };
        if now >= replica.since + GOOD_RUN {
            replica.in_a_row = 0;
        }
        let again = match policy {
            _ if replica.stop_requested => false,
            Some(None) => true,
            Some(Some(most)) => replica.in_a_row < most,
            None => false,
        };
        if again {
            let doubled = FIRST_PAUSE * 2u32.saturating_pow(replica.in_a_row.min(16));
            replica.phase = Phase::Starting;
            replica.restarts += 1;
            replica.in_a_row += 1;
            let event = Event::Restart(id.clone(), replica.run);
            self.schedule(doubled.min(LONGEST_PAUSE), event);
        } else if replica.stop_requested || code == 0 {
            replica.phase = Phase::Stopped;
        } else {
            replica.phase = Phase::Failed;
        }
        self.touch();
    }

    /// Whether a replica that ended so is started again: `Some(most)` times in a row.
    fn policy_of(&self, id: &ReplicaId, code: i32) -> Option<Option<u32>> {
        if self.bugs.has(Bug::NeverRestarts) {
            return None;
        }
        if self.bugs.has(Bug::AlwaysRestarts) {
            return Some(None);
        }
        match self.replica(id)?.service.spec.restart {
            RestartPolicy::No => None,
            RestartPolicy::OnFailure { .. } if code == 0 => None,
            RestartPolicy::OnFailure { max } => Some(max),
            RestartPolicy::Always | RestartPolicy::UnlessStopped => Some(None),
        }
    }

    pub(super) fn restart_due(&mut self, id: &ReplicaId, run: u64) {
        let due = self
            .replica(id)
            .is_some_and(|replica| replica.run == run && replica.phase == Phase::Starting);
        if due {
            self.start_replica(id);
        }
    }

    /// Sends the stop signal and plans the kill; what does not run is stopped at once.
    pub(super) fn begin_stop(&mut self, id: &ReplicaId, grace: Option<Duration>) {
        self.thaw(id);
        let no_grace = self.bugs.has(Bug::NoGrace);
        let plain_signal = self.bugs.has(Bug::StopSignalIgnored);
        let Some(replica) = self.replica_mut(id) else {
            return;
        };
        let named = (!plain_signal).then(|| replica.service.stop_signal());
        let signal = named.and_then(Signal::parse).unwrap_or(Signal::TERM);
        let wait = if no_grace {
            Duration::ZERO
        } else {
            grace.unwrap_or_else(|| replica.service.stop_grace())
        };
        match replica.phase {
            Phase::Running | Phase::Paused => {
                replica.phase = Phase::Stopping;
                replica.stop_requested = true;
                let event = Event::Kill(id.clone(), replica.run);
                let main = replica.main;
                self.touch();
                self.schedule(wait, event);
                if let Some(pid) = main {
                    self.signal(pid, i32::from(signal.number()));
                }
            }
            Phase::Pending | Phase::Starting => {
                replica.phase = Phase::Stopped;
                replica.stop_requested = true;
                replica.run += 1;
                self.touch();
            }
            Phase::Stopping | Phase::Stopped | Phase::Failed => {}
        }
    }

    /// Kills the replica's program; false if it has none.
    pub(crate) fn kill(&mut self, id: &ReplicaId) -> bool {
        let main = self.replica(id).and_then(|replica| replica.main);
        if let Some(pid) = main {
            self.signal(pid, 9);
        }
        main.is_some()
    }

    pub(super) fn kill_due(&mut self, id: &ReplicaId, run: u64) {
        let main = self
            .replica(id)
            .filter(|replica| replica.run == run && replica.phase == Phase::Stopping)
            .and_then(|replica| replica.main);
        if let Some(pid) = main {
            self.signal(pid, 9);
        }
    }

    /// Forgets a replica that does not run.
    pub(super) fn forget_replica(&mut self, id: &ReplicaId) {
        let key = (id.service.clone(), id.slot);
        let Some(holding) = self.stacks.get_mut(&id.stack) else {
            return;
        };
        let Some(replica) = holding.replicas.remove(&key) else {
            return;
        };
        self.leave_networks(id, &replica);
        self.release_ports_of(id);
        self.processes
            .retain(|_, process| process.replica != *id || process.exit.is_some());
        if self.bugs.has(Bug::VolumeDiesWithReplica) {
            for mount in &replica.mounts {
                if let Source::Volume(name) = &mount.source {
                    self.volumes.insert(name.clone(), Tree::new());
                }
            }
        }
        self.touch();
        self.tidy(&id.stack);
    }

    pub(crate) fn log(
        &mut self,
        id: &ReplicaId,
        channel: unmoor_core::backend::Channel,
        text: &str,
    ) {
        let time = self.wall();
        let mixed = self.bugs.has(Bug::ChannelsMixed);
        let Some(replica) = self.replica_mut(id) else {
            return;
        };
        let mixed = mixed || replica.service.spec.tty;
        let channel = if mixed {
            unmoor_core::backend::Channel::Stdout
        } else {
            channel
        };
        for line in text.lines() {
            replica.logs.push(LogLine {
                replica: id.clone(),
                time,
                channel,
                text: line.to_owned(),
                exact: None,
            });
        }
        self.touch();
    }
}
