//! The real probe and the model of it do and print the same.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use unmoor_conformance::probe_program;
use unmoor_core::Client;
use unmoor_core::backend::{ExecOptions, ImageInput, Images};
use unmoor_core::client::UpOptions;
use unmoor_core::name::{ReplicaId, ServiceName, StackName};
use unmoor_core::spec::{Service, Stack};
use unmoor_sim::Sim;

type Output = (i32, String, String);

struct Real {
    folder: tempfile::TempDir,
}

impl Real {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("area")).expect("made");
        let program = folder.path().join("probe");
        std::fs::write(&program, probe_program()).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(program, mode).expect("executable");
        Self { folder }
    }

    fn area(&self) -> PathBuf {
        self.folder.path().join("area")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.folder.path().join("probe"));
        command
            .args(words)
            .current_dir(self.area())
            .env("SET", "value")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        let output = self.command(words).output().expect("the probe runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let code = output.status.code().expect("an exit code");
        (code, text(output.stdout), text(output.stderr))
    }
}

struct Model {
    client: Client,
    replica: ReplicaId,
}

impl Model {
    async fn new(folder: &Path) -> Self {
        let sim = Sim::new();
        let reference = "probe:1".parse().expect("valid");
        let input = ImageInput::Rootfs {
            path: folder.to_owned(),
            reference,
            changes: Vec::new(),
        };
        Images::load(&sim, &input, false).await.expect("loaded");
        let client = Client::with_clock(sim.backend(), sim.clock());
        let mut service = Service::new("probe:1".parse().expect("valid"))
            .entrypoint(["/probe", "sleep"])
            .env("SET", "value");
        service.working_dir = Some("/area".to_owned());
        let name = StackName::parse("s").expect("valid");
        let service_name = ServiceName::parse("a").expect("valid");
        let stack = Stack::new(name.clone()).service(service_name.clone(), service);
        client.up(&stack, &UpOptions::new()).await.expect("up");
        Self {
            client,
            replica: ReplicaId::new(name, service_name, 1),
        }
    }

    async fn run(&self, words: &[&str]) -> Output {
        let mut command = vec!["/probe"];
        command.extend(words);
        let options = ExecOptions::new(command);
        let (code, out, err) = self
            .client
            .output(&self.replica, &options)
            .await
            .expect("runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (code, text(out), text(err))
    }
}

const COMMANDS: &[&[&str]] = &[
    &["print", "one", "", "two  three", "--stderr", "four"],
    &["lines", "3", "some", "text"],
    &["lines"],
    &["exit", "7"],
    &["exit"],
    &["exit", "9", "1"],
    &["nonsense"],
    &["env", "SET"],
    &["env", "NOT_SET_AT_ALL"],
    &["write", "file", "some", "text"],
    &["append", "file", "more"],
    &["read", "file"],
    &["hash", "file"],
    &["write", "no/such/folder", "x"],
    &["read", "missing"],
    &["stat", "missing"],
    &["hash", "."],
    &["remove", "file"],
    &["remove", "file"],
    &["write"],
    &["flaky", "count", "2", "print", "done"],
    &["flaky", "count", "2", "print", "done"],
    &["flaky", "count", "2", "print", "done"],
    &["flaky"],
    &["tick", "1", "3"],
    &["sleep", "1"],
    &["cat"],
    &["tty"],
    &["ready"],
    &["count"],
    &["resolve", "localhost"],
    &["resolve", "192.0.2.1"],
    &["connect", "localhost", "x", "hello"],
    &["connect", "localhost"],
    &["check"],
    &["forkmany", "3"],
    &["burn", "2"],
    &["burn"],
    &["serve", "--nonsense"],
    &["serve", "--exit-after", "5", "--code", "3"],
    &["serve", "--presence", "seen", "--exit-after", "5"],
];

#[tokio::test]
async fn commands_are_the_same() {
    let real = Real::new();
    let model = Model::new(real.folder.path()).await;
    for words in COMMANDS {
        let (wanted, found) = (real.run(words), model.run(words).await);
        assert_eq!(
            found,
            wanted,
            "the model of `{}`, beside the real one",
            words.join(" ")
        );
    }
}

/// A port of this machine that nobody has just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("an address").port()
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(port: u16, line: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("{line}\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn until_answers(port: u16) {
    let end = Instant::now() + Duration::from_secs(20);
    while ask(port, "ready").is_none() {
        assert!(Instant::now() < end, "the server does not listen");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn servers_answer_the_same() {
    let real = Real::new();
    let model = Model::new(real.folder.path()).await;
    let port = free_port();
    let number = port.to_string();
    let words = [
        "serve",
        "--tcp",
        &number,
        "--name",
        "x",
        "--unready-file",
        "blocked",
    ];
    let server = real
        .command(&words)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut server = Running(server);
    until_answers(port);
    let mut command = vec!["/probe"];
    command.extend(words);
    let session = model
        .client
        .exec(&model.replica, &ExecOptions::new(command))
        .await;
    let session = session.expect("it runs");
    for line in [
        "ready",
        "print a b",
        "exit 3",
        "read missing",
        "nonsense",
        "count",
        "env SET",
        "write blocked x",
        "ready",
        "remove blocked",
        "ready",
    ] {
        let words: Vec<&str> = ["connect", "localhost", &number]
            .into_iter()
            .chain(line.split(' '))
            .collect();
        let (wanted, found) = (real.run(&words), model.run(&words).await);
        assert_eq!(found, wanted, "the answer to `{line}`");
    }
    for words in [["check", &number], ["count", &number]] {
        assert_eq!(model.run(&words).await, real.run(&words), "{words:?}");
    }
    assert!(
        ask(port, "GET / HTTP/1.1\r\n")
            .expect("answers")
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
    drop(session);
    // The real one ends by the signal, and says so.
    let pid = server.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("sent")
            .success()
    );
    assert_eq!(server.0.wait().expect("it ends").code(), Some(0));
    let mut out = String::new();
    let stdout = server.0.stdout.as_mut().expect("piped");
    stdout.read_to_string(&mut out).expect("read");
    assert_eq!(out, "serving\nsignal 15\n");
}
