//! One process: its start, its output, its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use unmoor::backend::{
    Channel, DesiredService, Exit, HealthState, LogLine, ObservedReplica, Phase,
};
use unmoor::name::ReplicaId;
use unmoor::{Error, ErrorKind, Result};

/// What replicas wrote, shared with the tasks that read it.
pub(crate) type Lines = Arc<Mutex<Vec<LogLine>>>;

/// A replica. Dropped, its process is killed.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) service: Arc<DesiredService>,
    pub(crate) folder: PathBuf,
    pub(crate) lines: Lines,
    command: Vec<String>,
    started: SystemTime,
    asked_to_stop: bool,
    pid: Option<Pid>,
    exit: watch::Receiver<Option<i32>>,
    /// Why it could not start.
    message: Option<String>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The image's files stand where they are unpacked: `/app` is looked for there.
pub(crate) fn command(
    words: &[String],
    folder: &Path,
    env: &BTreeMap<String, String>,
) -> std::result::Result<Command, i32> {
    let program = words.first().ok_or(127)?;
    let path = env.get("PATH").map_or("/usr/bin:/bin", String::as_str);
    let folders = path.split(':').filter(|_| !program.contains('/'));
    let mut candidates = folders
        .map(|folder| format!("{folder}/{program}"))
        .collect::<Vec<_>>();
    candidates.extend(program.contains('/').then(|| program.clone()));
    let inside = |path: &String| folder.join(path.trim_start_matches('/'));
    let found = candidates
        .iter()
        .map(inside)
        .find(|path| path.exists())
        .ok_or(127)?;
    if !found.is_file() {
        return Err(126);
    }
    let mut command = Command::new(found);
    command
        .args(&words[1..])
        .current_dir(folder)
        .env_clear()
        .envs(env);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.kill_on_drop(true);
    Ok(command)
}

pub(crate) fn code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

impl Process {
    /// A program that is not there is a replica that failed, not an error.
    pub(crate) fn start(
        id: &ReplicaId,
        service: &Arc<DesiredService>,
        folder: &Path,
    ) -> Result<Self> {
        Self::run(id, Arc::clone(service), folder.to_owned(), Lines::default())
    }

    /// The same again; what it wrote before is kept.
    pub(crate) fn again(&self, id: &ReplicaId) -> Result<Self> {
        let (service, lines) = (Arc::clone(&self.service), Arc::clone(&self.lines));
        Self::run(id, service, self.folder.clone(), lines)
    }

    fn run(
        id: &ReplicaId,
        service: Arc<DesiredService>,
        folder: PathBuf,
        lines: Lines,
    ) -> Result<Self> {
        let words = service.command();
        let (ended, exit) = watch::channel(None);
        let mut process = Self {
            command: words.clone(),
            started: SystemTime::now(),
            asked_to_stop: false,
            pid: None,
            task: None,
            message: None,
            service,
            folder,
            lines,
            exit,
        };
        let command = command(&words, &process.folder, &process.service.environment());
        let mut command = match command {
            Ok(command) => command,
            Err(code) => {
                let program = words.first().map_or("", String::as_str);
                process.message = Some(format!("`{program}` is no program of its image"));
                ended.send_replace(Some(code));
                return Ok(process);
            }
        };
        let failed = |error| {
            Error::new(ErrorKind::Internal, "start the process")
                .on(id)
                .because(error)
        };
        let child = command.spawn().map_err(failed)?;
        process.pid = child
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let lines = Arc::clone(&process.lines);
        process.task = Some(tokio::spawn(attend(child, id.clone(), lines, ended)));
        Ok(process)
    }

    fn exit_code(&self) -> Option<i32> {
        *self.exit.borrow()
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.exit_code().is_none()
    }

    fn phase(&self) -> Phase {
        match self.exit_code() {
            None if self.asked_to_stop => Phase::Stopping,
            None => Phase::Running,
            Some(0) => Phase::Stopped,
            Some(_) if self.asked_to_stop => Phase::Stopped,
            Some(_) => Phase::Failed,
        }
    }

    pub(crate) fn observe(&self, id: &ReplicaId) -> ObservedReplica {
        ObservedReplica {
            id: id.clone(),
            spec_hash: self.service.spec_hash.clone(),
            image: self.service.image.reference.to_string(),
            image_digest: self.service.image.digest.to_string(),
            command: self.command.clone(),
            phase: self.phase(),
            health: HealthState::None,
            in_discovery: false,
            drained: false,
            stop_grace: None,
            exit: self.exit_code().map(|code| Exit {
                code,
                out_of_memory: false,
            }),
            message: self.message.clone(),
            created: Some(self.started),
            started: Some(self.started),
            ended: None,
            restarts: 0,
            addresses: BTreeMap::new(),
            ports: Vec::new(),
            labels: self.service.spec.labels.clone(),
        }
    }

    /// Sends the stop signal; `None` if it has ended.
    pub(crate) fn stop(&mut self) -> Option<Stopping> {
        let pid = self.pid.filter(|_| self.is_alive())?;
        self.asked_to_stop = true;
        let signal = self.service.stop_signal();
        // It may end at this moment by itself, which is just as well.
        let _ = kill_process(pid, signal_of(signal).unwrap_or(Signal::TERM));
        Some(Stopping {
            pid,
            grace: self.service.stop_grace(),
            exit: self.exit.clone(),
        })
    }
}

fn signal_of(name: &str) -> Option<Signal> {
    let upper = name.to_ascii_uppercase();
    Some(match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "HUP" | "1" => Signal::HUP,
        "INT" | "2" => Signal::INT,
        "QUIT" | "3" => Signal::QUIT,
        "KILL" | "9" => Signal::KILL,
        "USR1" | "10" => Signal::USR1,
        "USR2" | "12" => Signal::USR2,
        "TERM" | "15" => Signal::TERM,
        _ => return None,
    })
}

/// A process that was sent its stop signal.
#[derive(Debug)]
pub(crate) struct Stopping {
    pid: Pid,
    grace: Duration,
    exit: watch::Receiver<Option<i32>>,
}

impl Stopping {
    /// Returns when it has ended, by itself or killed after its grace.
    pub(crate) async fn wait(&mut self, grace: Option<Duration>) {
        let ended = self.exit.wait_for(Option::is_some);
        if tokio::time::timeout(grace.unwrap_or(self.grace), ended)
            .await
            .is_err()
        {
            let _ = kill_process(self.pid, Signal::KILL);
        }
        let _ = self.exit.wait_for(Option::is_some).await;
    }
}

/// Reads what it writes and waits for its end; the end is told after the last line.
async fn attend(mut child: Child, id: ReplicaId, lines: Lines, ended: watch::Sender<Option<i32>>) {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (_, _, status) = tokio::join!(
        keep(out, Channel::Stdout, &id, &lines),
        keep(err, Channel::Stderr, &id, &lines),
        child.wait(),
    );
    ended.send_replace(Some(status.map_or(255, code_of)));
}

async fn keep(
    stream: Option<impl AsyncRead + Unpin>,
    channel: Channel,
    id: &ReplicaId,
    lines: &Lines,
) {
    let Some(stream) = stream else { return };
    let mut stream = BufReader::new(stream).split(b'\n');
    while let Ok(Some(bytes)) = stream.next_segment().await {
        let line = LogLine {
            replica: id.clone(),
            time: SystemTime::now(),
            channel,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            exact: None,
        };
        lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}
