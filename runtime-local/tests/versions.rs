//! Shims of other versions: an older one is controlled by what it knows, a later one is left alone.

mod support;

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, sendmsg, socket_with,
};
use support::Host;
use unmoor_core::backend::{Action, Applied, ExecOptions, Phase};
use unmoor_core::name::ReplicaId;
use unmoor_core::signal::Signal;
use unmoor_core::spec::Service;
use unmoor_core::{ErrorKind, Result};

/// The same source, compiled to know only the requests of the first version.
const OLDER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shim-older"));
/// The same source, compiled to obey only what speaks a version that does not exist yet.
const NEWER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shim-newer"));

/// Tags on the wire.
const SETTLE: u32 = 16;
const DONE: u32 = 1;
const UNSUPPORTED: u32 = 7;

/// Kills a replica's shim and has another program supervise it.
fn supervise(host: &Host, id: &ReplicaId, program: &[u8]) {
    let path = host.dir.path().join("other-shim");
    let _ = std::fs::remove_file(&path);
    let mut options = std::fs::File::options();
    let mut file = options.write(true).create_new(true).mode(0o500).open(&path);
    std::io::Write::write_all(file.as_mut().expect("made"), program).expect("written");
    drop(file);
    host.kill_shim(id);
    let mut command = Command::new(&path);
    command.arg0(format!("unmoor-shim {id}")).env_clear();
    command.arg("--adopt");
    command.arg(host.root().join("replicas").join(host.key(id)));
    command.arg("1").stdin(Stdio::null());
    let report = command.output().expect("run").stdout;
    assert_eq!(report.get(8..12), Some(&[0; 4][..]), "adopted: {report:?}");
}

/// Asks a shim by the tag alone: its version, and the tag of its answer.
fn ask(run: &Path, tag: u32) -> (u32, u32) {
    let kind = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, kind.0, kind.1, None).expect("made");
    let address = SocketAddrUnix::new(run.join("ctl")).expect("short");
    connect(&socket, &address).expect("listens");
    let frame = [1, 5, tag].map(u32::to_le_bytes).concat();
    let mut none = SendAncillaryBuffer::default();
    sendmsg(
        &socket,
        &[IoSlice::new(&frame)],
        &mut none,
        SendFlags::empty(),
    )
    .expect("sent");
    let mut answer = [0; 64];
    let mut slices = [IoSliceMut::new(&mut answer)];
    let mut none = RecvAncillaryBuffer::default();
    recvmsg(&socket, &mut slices, &mut none, RecvFlags::empty()).expect("answered");
    let word = |at: usize| u32::from_le_bytes(answer[at..at + 4].try_into().expect("four"));
    assert_eq!(word(4), 5, "the answer names its question");
    (word(0), word(8))
}

fn web(image: &unmoor_core::image::ImageRef) -> Service {
    let line = "echo $HOSTNAME > /www/index.html; echo ready; exec httpd -f -p 80 -h /www";
    Service::new(image.clone()).command(["sh", "-c", line])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_shim_is_controlled_and_a_restart_replaces_it() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let service = host.declare("web", web(&image)).await;
    for slot in [1, 2] {
        host.start(&service, slot).await.expect("started");
        host.said(&host.id("web", slot), "ready").await;
    }
    let client = host.run("client", Service::new(image)).await;
    let (one, two) = (host.id("web", 1), host.id("web", 2));
    let run = host.root().join("run").join(host.key(&one));
    assert_eq!(ask(&run, SETTLE), (2, DONE), "ours knows the question");
    for id in [&one, &two, &client] {
        supervise(&host, id, OLDER);
    }
    assert_eq!(ask(&run, SETTLE), (1, UNSUPPORTED), "the older does not");

    let seen = host.seen(&two).await.expect("there");
    assert_eq!((seen.phase, seen.in_discovery), (Phase::Running, true));
    assert_eq!(
        host.exec(&two, &["hostname"]).await,
        (0, "t-web-2".to_owned())
    );
    host.said(&two, "ready").await;
    let drain = Action::DrainReplica {
        replica: two.clone(),
    };
    assert_eq!(host.apply(drain).await.expect("drained"), Applied::Changed);
    for _ in 0..8 {
        let get = ["wget", "-qO-", "http://web/"];
        assert_eq!(host.exec(&client, &get).await.1, "t-web-1");
    }
    let signals = host.backend.signals().expect("has signals");
    signals.signal(&two, Signal::KILL).await.expect("sent");
    host.until(&two, |seen| seen.phase == Phase::Stopped).await;

    let restart = Action::RestartReplica {
        replica: two.clone(),
        grace: None,
    };
    host.apply(restart).await.expect("restarted");
    let run = host.root().join("run").join(host.key(&two));
    assert_eq!(
        ask(&run, SETTLE),
        (2, DONE),
        "it has a shim of this version"
    );
    assert_eq!(
        host.exec(&client, &["wget", "-qO-", "http://t-web-2/"])
            .await
            .1,
        "t-web-2"
    );
    let remove = Action::RemoveReplica { replica: one };
    host.apply(remove).await.expect("removed");
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

fn refused<T: std::fmt::Debug>(what: &str, result: Result<T>) {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{what}: {error:?}");
    assert!(
        error.to_string().contains("later version"),
        "{what}: {error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_that_is_too_new_is_looked_at_and_left_alone() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let id = host.run("web", web(&image)).await;
    host.said(&id, "ready").await;
    supervise(&host, &id, NEWER);
    let shim = host.shim(&id);

    assert_eq!(host.seen(&id).await.expect("there").phase, Phase::Running);
    host.said(&id, "ready").await;
    let exec = host.backend.exec().expect("has exec");
    refused("exec", exec.exec(&id, &ExecOptions::new(["true"])).await);
    let replica = id.clone();
    let grace = None;
    for action in [
        Action::DrainReplica {
            replica: replica.clone(),
        },
        Action::StopReplica {
            replica: replica.clone(),
            grace,
        },
        Action::RemoveReplica { replica },
    ] {
        refused(&format!("{action:?}"), host.apply(action).await);
    }
    assert_eq!(host.shim(&id), shim, "it goes on");
    assert_eq!(host.seen(&id).await.expect("there").phase, Phase::Running);

    // A dead one commands nobody: its replica is taken over.
    host.kill_shim(&id);
    host.until(&id, |seen| seen.phase == Phase::Running).await;
    assert_eq!(host.exec(&id, &["true"]).await.0, 0);
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}
