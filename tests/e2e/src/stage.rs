//! A network and a mount namespace of a test's own, with a state directory of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::foreign::Packed;
use crate::processes;
use crate::program::{ledger, unmoor};

/// Brings the loopback up, keeps bridged packets from the host's packet filters, and stays until
/// its input is closed, so that nothing outlives a test that was killed.
const HOLD: &str = "ip link set lo up
for file in /proc/sys/net/bridge/bridge-nf-call-*; do [ -w $file ] && echo 0 >$file; done
echo ready
exec cat";

/// Sections of the ledger that are the whole machine's.
const SHARED: [&str; 7] = [
    "namespace",
    "cgroup",
    "process",
    "our-mount",
    "descriptors",
    "loop",
    "keyring",
];

/// How long the kernel may take to clean up.
const SETTLE: &str = "20";

/// A stage.
#[derive(Debug)]
pub struct Stage {
    holder: Child,
    input: Option<ChildStdin>,
    directory: TempDir,
}

impl Stage {
    /// Sets a stage up.
    ///
    /// # Panics
    /// If namespaces cannot be had; ask [`missing`](crate::program::missing) first.
    #[must_use]
    pub fn open() -> Self {
        // Short, because paths of sockets end at 108 bytes.
        let directory = tempfile::Builder::new()
            .prefix("ue")
            .tempdir()
            .expect("a directory");
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", HOLD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let input = holder.stdin.take();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("it says that it is ready");
        assert_eq!(line, "ready\n", "no namespaces");
        Self {
            holder,
            input,
            directory,
        }
    }

    /// The directory of the stage.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The directory of that backend, which is not there before it is connected to.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The URI of the backend whose state lies on this stage.
    #[must_use]
    pub fn backend(&self) -> String {
        format!("local://{}", self.state().display())
    }

    /// The stage's network namespace, for a thread that enters it.
    ///
    /// # Panics
    /// If the stage has ended.
    #[must_use]
    pub fn network(&self) -> fs::File {
        fs::File::open(format!("/proc/{}/ns/net", self.holder.id())).expect("the stage stands")
    }

    /// A command inside the namespaces; its process is the program itself.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.holder.id().to_string(),
                "--net",
                "--mount",
                // Entering a mount namespace leads to its root.
                &format!("--wdns={}", self.path().display()),
                "--",
            ])
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// The command line with its state on this stage, and nothing of the caller's environment.
    #[must_use]
    pub fn unmoor(&self, words: &[&str]) -> Command {
        self.unmoor_by(&[], words)
    }

    /// The same, executed by another program that is given its words.
    #[must_use]
    pub fn unmoor_by(&self, starter: &[&str], words: &[&str]) -> Command {
        let mut command = match starter {
            [] => self.command(unmoor()),
            [program, rest @ ..] => {
                let mut command = self.command(program);
                command.args(rest).arg(unmoor());
                command
            }
        };
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path())
            .env("TMPDIR", self.path())
            .env("UNMOOR_BACKEND", self.backend())
            .args(words);
        command
    }

    /// Runs the command line and gives what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "unmoor {words:?}: {}\n{err}{out}",
            output.status
        );
        out
    }

    /// As [`ok`](Self::ok), by somebody who is in another directory, has another home, and knows
    /// nothing but where the state and the Compose file lie.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn ok_elsewhere(&self, words: &[&str]) -> String {
        let place = self.path().join("elsewhere");
        fs::create_dir_all(&place).expect("a directory");
        let place = place.to_str().expect("a path of ours");
        let home = format!("HOME={place}");
        let file = self.path().join("compose.yaml");
        let mut all = vec!["-f", file.to_str().expect("a path of ours")];
        all.extend(words);
        let starter = ["env", "-C", place, &home, "TMPDIR=/tmp"];
        let output = self.unmoor_by(&starter, &all).output().expect("it starts");
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "elsewhere: unmoor {words:?}: {}\n{err}{out}",
            output.status
        );
        out
    }

    /// Runs the command line to its end.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> Output {
        self.unmoor(words).output().expect("it starts")
    }

    /// What a published address answers.
    ///
    /// # Errors
    /// What `curl` says.
    pub fn get(&self, url: &str) -> Result<String, String> {
        let mut curl = self.command("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "10",
            url,
        ]);
        let output = curl.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(format!("{}{}", text(&output.stdout), text(&output.stderr)))
    }

    /// Imports packed images.
    ///
    /// # Panics
    /// If one is refused.
    pub fn import(&self, images: &[Packed]) {
        for image in images {
            let archive = image.archive.to_str().expect("a path of ours");
            let mut words = vec!["image", "import"];
            for change in &image.changes {
                words.extend(["--change", change]);
            }
            words.extend([archive, image.name]);
            let _ = self.ok(&words);
        }
    }

    /// A stage with the image `small:1` and a Compose file, or nothing if this machine cannot.
    ///
    /// # Panics
    /// If the stage cannot be set up although nothing is missing.
    #[must_use]
    pub fn small(compose: &str) -> Option<Self> {
        if let Some(why) = crate::program::missing(&["busybox", "ldd"]) {
            unmoor_tools::skipped(&why);
            return None;
        }
        let stage = Self::open();
        let image = crate::foreign::pack_small(stage.path()).expect("packs");
        stage.import(&[image]);
        stage.write("compose.yaml", compose);
        Some(stage)
    }

    /// A stage with the image `probe:1` and a Compose file, or nothing if this machine cannot.
    ///
    /// # Panics
    /// If the stage cannot be set up although nothing is missing.
    #[must_use]
    pub fn probe(compose: &str) -> Option<Self> {
        if let Some(why) = crate::program::missing(&[]) {
            unmoor_tools::skipped(&why);
            return None;
        }
        let stage = Self::open();
        let image = crate::foreign::pack_probe(stage.path()).expect("packs");
        stage.import(&[image]);
        stage.write("compose.yaml", compose);
        let program = stage.path().join("probe");
        fs::write(&program, unmoor_conformance::probe_program()).expect("a file");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&program, executable).expect("it is ours");
        Some(stage)
    }

    /// What the probe prints that is run beside the stage's replicas, not in one of them.
    ///
    /// # Errors
    /// What it says where it fails.
    pub fn probed(&self, words: &[&str]) -> Result<String, String> {
        let mut probe = self.command(self.path().join("probe"));
        let output = probe.args(words).output().expect("it starts");
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// Writes a file into the stage's directory, where commands run.
    ///
    /// # Panics
    /// If it cannot.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect("a file");
    }

    /// Runs the command line and gives the JSON document it printed.
    ///
    /// # Panics
    /// If it fails or prints something else.
    #[must_use]
    pub fn json(&self, words: &[&str]) -> Value {
        let text = self.ok(words);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    }

    /// How many changes an `up` makes.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn changes_of_up(&self) -> u64 {
        let output = self.run(&["--progress", "json", "up", "-d"]);
        let err = text(&output.stderr);
        assert!(output.status.success(), "{err}");
        let events = err
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut done = events.filter(|event| event["event"] == "done");
        done.next().expect("it says what it did")["changed"]
            .as_u64()
            .expect("a number")
    }

    /// Names of the replicas of the stack here, with their phases.
    ///
    /// # Panics
    /// If they cannot be listed.
    #[must_use]
    pub fn phases(&self) -> BTreeMap<String, String> {
        self.listed(&["ps", "-a", "--format", "json"])
    }

    /// Names of the replicas of this stack, with their phases.
    ///
    /// # Panics
    /// If they cannot be listed.
    #[must_use]
    pub fn phases_of(&self, stack: &str) -> BTreeMap<String, String> {
        self.listed(&["-p", stack, "ps", "-a", "--format", "json"])
    }

    fn listed(&self, words: &[&str]) -> BTreeMap<String, String> {
        let list = self.json(words);
        let word = |replica: &Value, key: &str| replica[key].as_str().unwrap_or("?").to_owned();
        let list = list.as_array().expect("a list");
        list.iter()
            .map(|replica| (word(replica, "name"), word(replica, "phase")))
            .collect()
    }

    /// Notes what the stage holds now.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn note(&self) -> PathBuf {
        let file = self.path().join("ledger");
        let status = self.ledger("save", &file).status().expect("it starts");
        assert!(status.success(), "ledger save: {status}");
        file
    }

    fn ledger(&self, verb: &str, file: &Path) -> Command {
        let mut command = self.command(ledger());
        command.arg(verb).arg(file);
        // These sections know no stages: what others do meanwhile would be counted as ours.
        for shared in SHARED {
            command.args(["--without", shared]);
        }
        command
    }

    /// Compares with what was noted, while replicas run; a difference is a failure.
    ///
    /// # Panics
    /// If something differs.
    pub fn unchanged(&self, noted: &Path) {
        let mut command = self.ledger("diff", noted);
        command.args(["--wait", SETTLE]);
        let output = command.output().expect("it starts");
        assert!(
            output.status.success(),
            "left behind:\n{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    }

    /// Compares with what was noted; something left behind is a failure.
    ///
    /// # Panics
    /// If something is left.
    pub fn nothing_left(&self, noted: &Path) {
        self.unchanged(noted);
        let left = processes::running_from(&self.state());
        assert!(left.is_empty(), "processes were left behind: {left:?}");
    }

    /// The shims that run here.
    #[must_use]
    pub fn shims(&self) -> Vec<u32> {
        processes::running_from(&self.state())
    }

    /// The first process of this program below a process that knows the stage's state directory.
    #[must_use]
    pub fn first_process(&self, program: &str) -> Option<Pid> {
        let pid = processes::first(program, &self.state())?;
        Pid::from_raw(i32::try_from(pid).ok()?)
    }

    /// The first process of the replica that this process is of: its end is the replica's.
    #[must_use]
    pub fn replica_of(&self, pid: Pid) -> Option<Pid> {
        let pid = u32::try_from(pid.as_raw_nonzero().get()).ok()?;
        let first = processes::first_of_its_space(pid)?;
        Pid::from_raw(i32::try_from(first).ok()?)
    }
}

impl Drop for Stage {
    /// Takes everything down, whatever the test left; every process here is the test's own.
    fn drop(&mut self) {
        if let Ok(list) = self.unmoor(&["ls", "-q"]).output() {
            for stack in text(&list.stdout).lines() {
                let _ = self
                    .unmoor(&["-p", stack, "--progress", "quiet", "down", "-v", "-t", "0"])
                    .status();
            }
        }
        let ours = processes::running_from(&self.state());
        for pid in ours.into_iter().chain(processes::beside(self.holder.id())) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        drop(self.input.take());
        let _ = self.holder.wait();
    }
}

/// How long a stack of a few services may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a signal to a process that a test started.
///
/// # Panics
/// If it is not there any more.
pub fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_child(child);
    kill_process(pid, signal).expect("it is there");
}

/// Bytes as text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
