//! A shim that was sent SIGKILL and is not gone yet looks alive; commands that meet it are not
//! disturbed.

mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::Host;
use unmoor_core::backend::{Action, Applied, Phase};
use unmoor_core::spec::Service;

/// Keeps one processor busy with a program until it is dropped.
struct Busy(Child);

impl Busy {
    fn new() -> Self {
        let child = Command::new("taskset")
            .args(["--cpu-list", "0", "sh", "-c", "while :; do :; done"])
            .spawn();
        Self(child.expect("run"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills a process that has to wait for the busy processor: it is there for a while yet.
fn kill_slowly(number: i32) {
    let pid = number.to_string();
    for command in [
        ["taskset", "--cpu-list", "--pid", "0", &pid].as_slice(),
        ["chrt", "--idle", "--pid", "0", &pid].as_slice(),
    ] {
        let status = Command::new(command[0])
            .args(&command[1..])
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("run").success(), "{command:?}");
    }
    let pid = Pid::from_raw(number).expect("not 0");
    kill_process(pid, Signal::KILL).expect("sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_replica_whose_shim_is_dying_is_started() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    let service = host.declare("a", Service::new(image)).await;
    host.start(&service, 1).await.expect("started");
    let id = host.id("a", 1);
    let _busy = Busy::new();
    for round in 0..5 {
        let stop = Action::StopReplica {
            replica: id.clone(),
            grace: Some(Duration::ZERO),
        };
        host.apply(stop).await.expect("stopped");
        kill_slowly(host.shim(&id));
        let started = host.start(&service, 1).await;
        assert_eq!(started.expect("not disturbed"), Applied::Changed, "{round}");
        host.until(&id, |seen| seen.phase == Phase::Running).await;
    }
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_a_dying_shim_its_successor_does() {
    runnable!();
    let host = Host::new().await;
    let image = host.busybox().await;
    let id = host.run("a", Service::new(image)).await;
    let _busy = Busy::new();
    let (pause, resume, drain) = (
        Action::PauseReplica {
            replica: id.clone(),
        },
        Action::ResumeReplica {
            replica: id.clone(),
        },
        Action::DrainReplica {
            replica: id.clone(),
        },
    );
    for (action, paused) in [(&pause, true), (&resume, false), (&drain, false)] {
        kill_slowly(host.shim(&id));
        host.apply(action.clone()).await.expect("not disturbed");
        host.until(&id, |seen| (seen.phase == Phase::Paused) == paused)
            .await;
    }
    let seen = host.seen(&id).await.expect("there");
    assert!(!seen.in_discovery, "{seen:?}");
    host.down().await;
    assert_eq!(host.traces(), Vec::<String>::new());
}
