//! What the tests of the local backend share: a private installation, an image, a client.
//!
//! They need root and a network namespace of their own: run them as
//! `unshare -n sh -c 'ip link set lo up; cargo test -p unmoor-runtime-local'`.

#![allow(dead_code, reason = "each test file uses its part")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use unmoor_core::backend::{
    Action, Applied, Backend, Commit, DesiredService, ExecOptions, ExecOutput, ImageInput,
    LogOptions, ObservedReplica, Step,
};
use unmoor_core::catalog::Connect;
use unmoor_core::image::ImageRef;
use unmoor_core::label::Selector;
use unmoor_core::name::{NetworkName, ReplicaId, ServiceName, StackName};
use unmoor_core::spec::{Network, PullPolicy, Service};
use unmoor_core::{Result, Uri};
use unmoor_runtime_local::LocalConnect;

const BUSYBOX: &str = "/bin/busybox";
const PROGRAMS: [&str; 29] = [
    "sh", "true", "false", "sleep", "cat", "echo", "id", "ls", "nslookup", "wget", "nc", "httpd",
    "hostname", "env", "mkdir", "rm", "touch", "kill", "ip", "mount", "grep", "stat", "dd", "head",
    "wc", "tty", "stty", "unshare", "test",
];

/// Why these tests cannot run here; `None` if they can.
pub(crate) fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("they need root".to_owned());
    }
    let own = std::fs::read_link("/proc/self/ns/net").ok();
    // Who gives the tests a process namespace, too, has its first process in here.
    let isolated = std::env::var_os("UNMOOR_TEST_ISOLATED").is_some();
    if !isolated && own == std::fs::read_link("/proc/1/ns/net").ok() {
        return Some("they change networks: run them in a network namespace of their own".into());
    }
    if !Path::new(BUSYBOX).exists() {
        return Some(format!(
            "{BUSYBOX} is not installed (package busybox-static)"
        ));
    }
    None
}

/// Returns from a test that cannot run here, and says why.
#[macro_export]
macro_rules! runnable {
    () => {
        if let Some(reason) = support::obstacle() {
            return unmoor_tools::skipped(&reason);
        }
    };
}

/// An installation in a temporary directory.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
    root: PathBuf,
    /// Removes what is left when the test fails.
    tidies: bool,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) stack: StackName,
}

impl Host {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("root");
        let backend = connect(&root).await;
        let stack = StackName::parse("t").expect("a name");
        Self {
            dir,
            root,
            tidies: true,
            backend,
            stack,
        }
    }

    /// An installation that somebody else has made.
    pub(crate) async fn at(root: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let backend = connect(root).await;
        let stack = StackName::parse("t").expect("a name");
        Self {
            dir,
            root: root.to_owned(),
            tidies: false,
            backend,
            stack,
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// Another connection to the same installation, as another command would make.
    pub(crate) async fn reconnect(&mut self) {
        self.backend = connect(&self.root()).await;
    }

    /// An image with busybox and its usual names.
    pub(crate) async fn busybox(&self) -> ImageRef {
        let tree = self.dir.path().join("tree");
        std::fs::create_dir_all(tree.join("bin")).expect("made");
        for name in ["etc", "tmp", "proc", "sys", "dev", "www"] {
            std::fs::create_dir_all(tree.join(name)).expect("made");
        }
        std::fs::copy(BUSYBOX, tree.join("bin/busybox")).expect("copied");
        for name in PROGRAMS {
            symlink("busybox", tree.join("bin").join(name)).expect("linked");
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        std::fs::write(tree.join("etc/passwd"), passwd).expect("written");
        std::fs::write(
            tree.join("etc/group"),
            "root:x:0:\nann:x:1000:\nmore:x:2000:ann\n",
        )
        .expect("written");
        let reference: ImageRef = "test/busybox:1".parse().expect("a reference");
        let input = ImageInput::Rootfs {
            path: tree,
            reference: reference.clone(),
            // Process 1 has no handler for any other signal.
            changes: ["CMD [\"sleep\", \"1000\"]", "STOPSIGNAL SIGKILL"]
                .map(str::to_owned)
                .into(),
        };
        let images = self.backend.images().expect("has images");
        images.load(&input, true).await.expect("loaded");
        reference
    }

    pub(crate) async fn desired(&self, name: &str, spec: Service) -> Arc<DesiredService> {
        let images = self.backend.images().expect("has images");
        let image = images
            .resolve(&spec.image, None, PullPolicy::Missing, &|_| ())
            .await
            .expect("resolved");
        let text = serde_json::to_string(&spec).expect("plain data");
        let hash = format!(
            "{:x}",
            text.bytes()
                .fold(7u64, |h, b| h.wrapping_mul(31) + u64::from(b))
        );
        Arc::new(DesiredService {
            name: ServiceName::parse(name).expect("a name"),
            links: spec.links.clone(),
            spec,
            image,
            spec_hash: hash,
            blobs: Default::default(),
        })
    }

    pub(crate) async fn apply(&self, action: Action) -> Result<Applied> {
        self.backend.apply(&action, &step()).await
    }

    pub(crate) async fn network(&self, name: &str) {
        let action = Action::EnsureNetwork {
            name: NetworkName::parse(name).expect("a name"),
            spec: Network::default(),
        };
        self.apply(action).await.expect("made");
    }

    pub(crate) async fn declare(&self, name: &str, spec: Service) -> Arc<DesiredService> {
        let service = self.desired(name, spec).await;
        let action = Action::EnsureService {
            service: Arc::clone(&service),
        };
        self.apply(action).await.expect("declared");
        service
    }

    pub(crate) fn id(&self, service: &str, slot: u32) -> ReplicaId {
        ReplicaId::new(
            self.stack.clone(),
            ServiceName::parse(service).expect("a name"),
            slot,
        )
    }

    pub(crate) async fn start(&self, service: &Arc<DesiredService>, slot: u32) -> Result<Applied> {
        let replica = self.id(service.name.as_str(), slot);
        self.apply(Action::StartReplica {
            replica,
            service: Arc::clone(service),
        })
        .await
    }

    /// Declares a service on the default network and starts one replica of it.
    pub(crate) async fn run(&self, name: &str, spec: Service) -> ReplicaId {
        self.network("default").await;
        let service = self.declare(name, spec).await;
        self.start(&service, 1).await.expect("started");
        self.id(name, 1)
    }

    pub(crate) async fn seen(&self, id: &ReplicaId) -> Option<ObservedReplica> {
        let seen = self
            .backend
            .observe(&Selector::replica(id))
            .await
            .expect("observed");
        let mut replicas: Vec<_> = seen.replicas().cloned().collect();
        replicas.pop()
    }

    /// Waits until a replica is as wanted.
    pub(crate) async fn until(&self, id: &ReplicaId, done: impl Fn(&ObservedReplica) -> bool) {
        let all = async {
            loop {
                if let Some(seen) = self.seen(id).await
                    && done(&seen)
                {
                    return;
                }
                // Nothing but the record tells of every change at once.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), all)
            .await
            .is_err()
        {
            panic!("{id} stays as it is: {:?}", self.seen(id).await);
        }
    }

    /// Waits until a replica has written this line.
    pub(crate) async fn said(&self, id: &ReplicaId, line: &str) {
        let logs = self.backend.logs().expect("has logs");
        let mut options = LogOptions::new();
        options.follow = true;
        let mut lines = logs
            .logs(&Selector::replica(id), &options)
            .await
            .expect("followed");
        let wait = async {
            while let Some(next) = lines.next().await {
                if next.expect("read").text == line {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("said in time");
    }

    /// Runs a command inside: its exit code and what it wrote.
    pub(crate) async fn exec(&self, id: &ReplicaId, command: &[&str]) -> (i32, String) {
        let options = ExecOptions::new(command.iter().copied());
        self.exec_with(id, &options).await
    }

    /// The same, as another user.
    pub(crate) async fn exec_as(
        &self,
        id: &ReplicaId,
        user: &str,
        command: &[&str],
    ) -> (i32, String) {
        let options = ExecOptions::new(command.iter().copied());
        self.exec_with(id, &options.user(Some(user.to_owned())))
            .await
    }

    async fn exec_with(&self, id: &ReplicaId, options: &ExecOptions) -> (i32, String) {
        let exec = self.backend.exec().expect("has exec");
        let mut session = exec.exec(id, options).await.expect("begun");
        let mut text = Vec::new();
        while let Some(output) = session.next().await.expect("read") {
            match output {
                ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes) => text.extend(bytes),
                ExecOutput::Exited(code) => {
                    return (code, String::from_utf8_lossy(&text).trim().to_owned());
                }
            }
        }
        panic!("the session ended without an exit code");
    }

    /// What lies in the installation beyond images, database and shim.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let kinds = ["replicas", "run", "volumes", "blobs", "locks"];
        kinds
            .iter()
            .flat_map(|kind| self.leftovers_of(kind))
            .collect()
    }

    /// What lies in one directory of the installation.
    pub(crate) fn leftovers_of(&self, kind: &str) -> Vec<String> {
        std::fs::read_dir(self.root().join(kind))
            .expect("there")
            .flatten()
            .map(|entry| entry.path().display().to_string())
            .collect()
    }

    /// Everything of the installation that is still there: files, processes, cgroups.
    ///
    /// The ledger cannot tell the processes of this test from those of another on the same host.
    pub(crate) fn traces(&self) -> Vec<String> {
        let mut found = self.leftovers();
        let mark = format!("{}/", self.root().display());
        for entry in std::fs::read_dir("/proc").expect("there").flatten() {
            let files = std::fs::read_dir(entry.path().join("fd"))
                .into_iter()
                .flatten()
                .flatten();
            let mut files = files.filter_map(|file| std::fs::read_link(file.path()).ok());
            // This test, and the one that runs it.
            let own =
                std::fs::read_link(entry.path().join("exe")).ok() == std::env::current_exe().ok();
            let number = entry
                .file_name()
                .to_string_lossy()
                .bytes()
                .all(|b| b.is_ascii_digit());
            if number && !own && files.any(|target| target.to_string_lossy().starts_with(&mark)) {
                found.push(format!("process {}", entry.path().display()));
            }
        }
        let database = rusqlite::Connection::open(self.root().join("state.db")).expect("opened");
        let query = "SELECT value FROM meta WHERE key = 'installation'";
        let id: String = database
            .query_row(query, [], |row| row.get(0))
            .expect("read");
        // The hierarchies' mount points, and that of the only one on a unified host.
        let top = PathBuf::from("/sys/fs/cgroup");
        let below = std::fs::read_dir(&top).expect("there").flatten();
        for hierarchy in below.map(|entry| entry.path()).chain([top.clone()]) {
            let group = hierarchy.join("unmoor").join(&id);
            if group.exists() {
                found.push(group.display().to_string());
            }
        }
        found
    }

    /// The name of a replica's directory below one kind, found by what is recorded of it.
    pub(crate) fn key(&self, id: &ReplicaId) -> String {
        let wanted = format!("\"slot\":{}", id.slot);
        let service = format!("\"service\":\"{}\"", id.service);
        let entries = std::fs::read_dir(self.root().join("replicas")).expect("listed");
        let mut found = entries.flatten().filter(|entry| {
            let record = std::fs::read_to_string(entry.path().join("record")).unwrap_or_default();
            record.contains(&wanted) && record.contains(&service)
        });
        let entry = found.next().expect("there is one");
        entry.file_name().to_string_lossy().into_owned()
    }

    /// Kills the shim of a replica, as the kernel might when memory is short.
    pub(crate) fn kill_shim(&self, id: &ReplicaId) {
        kill(self.shim(id));
    }

    /// The process that supervises a replica.
    pub(crate) fn shim(&self, id: &ReplicaId) -> i32 {
        let wanted = format!("unmoor-shim {id}");
        let run = format!("{}/", self.root().join("run").display());
        let ours = |process: &Path| {
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            let files = std::fs::read_dir(process.join("fd"))
                .into_iter()
                .flatten()
                .flatten();
            let mut files = files.filter_map(|file| std::fs::read_link(file.path()).ok());
            line.starts_with(wanted.as_bytes()) && files.any(|target| target.starts_with(&run))
        };
        let found: Vec<_> = std::fs::read_dir("/proc")
            .expect("there")
            .flatten()
            .filter(|entry| ours(&entry.path()))
            .collect();
        assert_eq!(found.len(), 1, "one shim of {id}");
        let name = found[0].file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        number.expect("a number")
    }

    /// The one replica's folder among those of this kind.
    pub(crate) fn only(&self, kind: &str) -> PathBuf {
        let entries = std::fs::read_dir(self.root().join(kind)).expect("there");
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name != "net"))
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// The installed shim.
    pub(crate) fn shim_program(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.root()).expect("there").flatten();
        entries
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("shim-"))
            })
            .expect("installed")
    }

    /// Kills one of the shims of this installation, if there is any.
    pub(crate) fn kill_any_shim(&self, number: u64) {
        let run = format!("{}/", self.root().join("run").display());
        let ours = |process: &Path| {
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            let files = std::fs::read_dir(process.join("fd"))
                .into_iter()
                .flatten()
                .flatten();
            let mut files = files.filter_map(|file| std::fs::read_link(file.path()).ok());
            line.starts_with(b"unmoor-shim ") && files.any(|target| target.starts_with(&run))
        };
        let found: Vec<i32> = std::fs::read_dir("/proc")
            .expect("there")
            .flatten()
            .filter(|entry| ours(&entry.path()))
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        let at = usize::try_from(number).unwrap_or(0);
        if !found.is_empty() {
            kill_if_there(found[at % found.len()]);
        }
    }

    /// Kills process 1 of a replica.
    pub(crate) fn kill_init(&self, id: &ReplicaId) {
        let run = self.root().join("run");
        let wanted = format!("{}/", run.display());
        let own = std::fs::read_dir("/proc").expect("there").flatten();
        let name = id.to_string();
        let found: Vec<_> = own
            .filter(|entry| {
                let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
                let files = std::fs::read_dir(entry.path().join("fd"))
                    .into_iter()
                    .flatten();
                let mut files = files
                    .flatten()
                    .filter_map(|file| std::fs::read_link(file.path()).ok());
                let named = format!("HOSTNAME={name}");
                environ
                    .split(|byte| *byte == 0)
                    .any(|pair| pair == named.as_bytes())
                    && files.any(|target| target.starts_with(&wanted))
            })
            .collect();
        assert!(!found.is_empty(), "processes of {id}");
        for entry in found {
            kill(
                entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok())
                    .expect("a number"),
            );
        }
    }

    /// Deletes the database and connects anew.
    pub(crate) async fn forget(&mut self) {
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            let _ = std::fs::remove_file(self.root().join(name));
        }
        self.reconnect().await;
    }

    /// Removes everything of the stack.
    pub(crate) async fn down(&self) {
        let seen = self
            .backend
            .observe(&Selector::stack(self.stack.clone()))
            .await;
        let stack = seen.expect("observed").stack(&self.stack);
        for replica in stack.replicas {
            self.apply(Action::RemoveReplica {
                replica: replica.id,
            })
            .await
            .expect("removed");
        }
        for (name, _) in stack.services {
            self.apply(Action::RemoveService { name })
                .await
                .expect("removed");
        }
        for id in stack.blobs.into_keys() {
            self.apply(Action::RemoveBlob { id })
                .await
                .expect("removed");
        }
        for name in stack.volumes {
            self.apply(Action::RemoveVolume { name })
                .await
                .expect("removed");
        }
        for (name, _) in stack.networks {
            self.apply(Action::RemoveNetwork { name })
                .await
                .expect("removed");
        }
    }
}

/// A test that fails half-way must not leave its replicas running.
impl Drop for Host {
    fn drop(&mut self) {
        if !self.tidies || !std::thread::panicking() {
            return;
        }
        let root = self.root();
        let clean = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .expect("a runtime")
                .block_on(async { Self::at(&root).await.down().await });
        };
        // The test's own runtime cannot be entered from its thread while it unwinds.
        let _ = std::thread::spawn(clean).join();
    }
}

/// Kills a process and waits for its end.
fn kill(pid: i32) {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let pid = Pid::from_raw(pid).expect("not 0");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("there");
    pidfd_send_signal(&process, Signal::KILL).expect("sent");
    poll(&mut [PollFd::new(&process, PollFlags::IN)], None).expect("ended");
}

/// Kills a process that may have ended by itself.
fn kill_if_there(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("not 0");
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

pub(crate) fn step() -> Step {
    Step {
        stack: StackName::parse("t").expect("a name"),
        plan: "p".to_owned(),
        index: 0,
        deadline: Duration::from_secs(60),
        commit: Commit::Now,
    }
}

pub(crate) async fn connect(root: &Path) -> Arc<dyn Backend> {
    let uri = Uri::parse(&format!("local://{}", root.display())).expect("a URI");
    LocalConnect.connect(&uri).await.expect("connected")
}
