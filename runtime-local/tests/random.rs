//! Commands and shims killed at random moments, again and again: what is left is put right, and
//! `down` leaves nothing.

mod support;

use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use support::Host;
use unmoor_core::backend::{Action, DesiredService, Phase};
use unmoor_core::name::{NetworkName, ReplicaId, StackName};
use unmoor_core::spec::{Network, RestartPolicy, Service};

const ROOT: &str = "UNMOOR_TEST_ROOT";
const SERVICE: &str = "UNMOOR_TEST_SERVICE";
const SEED: &str = "UNMOOR_TEST_SEED";
/// Commands that are killed, one after another.
const ROUNDS: u64 = 16;
/// Another seed makes other moments; the same seed on the same machine nearly the same.
const DEFAULT_SEED: u64 = 7;

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn seed() -> u64 {
    std::env::var(SEED)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(DEFAULT_SEED)
}

fn replica(slot: u32) -> ReplicaId {
    let stack = StackName::parse("t").expect("a name");
    ReplicaId::new(stack, "web".parse().expect("a name"), slot)
}

/// The command that is killed: starts and removes three replicas for ever, each at its own pace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below, to be killed"]
async fn restless() {
    let root = std::env::var(ROOT).expect("given by the test");
    let service = std::env::var(SERVICE).expect("given by the test");
    let service: DesiredService = serde_json::from_str(&service).expect("given by the test");
    let service = Arc::new(service);
    let backend = support::connect(root.as_ref()).await;
    let network = Action::EnsureNetwork {
        name: NetworkName::parse("default").expect("a name"),
        spec: Network::default(),
    };
    let declared = Action::EnsureService {
        service: Arc::clone(&service),
    };
    for action in [network, declared] {
        backend
            .apply(&action, &support::step())
            .await
            .expect("applied");
    }
    let one = |slot| {
        let (backend, service) = (Arc::clone(&backend), Arc::clone(&service));
        let mut dice = Dice(seed() + u64::from(slot));
        async move {
            loop {
                let (replica, service) = (replica(slot), Arc::clone(&service));
                let action = match dice.below(4) {
                    0 | 1 => Action::StartReplica { replica, service },
                    2 => Action::DrainReplica { replica },
                    _ => Action::RemoveReplica { replica },
                };
                // A shim may be killed under it; that is told, and put right by the next.
                let _ = backend.apply(&action, &support::step()).await;
            }
        }
    };
    tokio::join!(one(1), one(2), one(3));
}

fn begin(host: &Host, service: &DesiredService, seed: u64) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "restless", "--ignored", "--nocapture"])
        .env(SEED, seed.to_string())
        .env(ROOT, host.root())
        .env(SERVICE, serde_json::to_string(service).expect("plain data"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("run")
}

/// Waits until a process has ended, or the time is over; true if it has ended.
fn ends_within(child: &Child, time: Duration) -> bool {
    let pid = Pid::from_raw(child.id().try_into().expect("a number")).expect("not 0");
    let process =
        pidfd_open(pid, PidfdFlags::empty()).expect("a child stays until it is waited for");
    let limit = Timespec::try_from(time).ok();
    let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    poll(&mut fds, limit.as_ref()).expect("waited") > 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_killed_at_random_leaves_nothing() {
    runnable!();
    let mut host = Host::new().await;
    let image = host.busybox().await;
    host.network("default").await;
    // Whatever is left over would start again and again.
    let spec = Service::new(image).restart(RestartPolicy::Always);
    let service = host.declare("web", spec).await;
    let mut dice = Dice(seed());
    println!("{SEED}={}", seed());
    for round in 0..ROUNDS {
        let mut child = begin(&host, &service, seed() + 100 * round);
        let until = Instant::now() + Duration::from_millis(40 + dice.below(260));
        // Others look at everything all the time, and give a dead shim its successor.
        while !ends_within(&child, Duration::from_millis(1)) && Instant::now() < until {
            host.backend
                .observe(&Default::default())
                .await
                .expect("seen");
        }
        if dice.below(2) == 0 {
            host.kill_any_shim(dice.below(3));
        }
        child.kill().expect("killed");
        let status = child.wait().expect("ended");
        assert_eq!(
            status.code(),
            None,
            "round {round}: it ended by itself: {status}"
        );
        host.reconnect().await;
        if dice.below(4) == 0 {
            host.start(&service, 1)
                .await
                .expect("the next command is not disturbed");
            host.until(&replica(1), |seen| seen.phase == Phase::Running)
                .await;
        }
    }
    host.down().await;
    // A lock may outlive its killed holder for as long as a child of it takes to begin; it is
    // swept by whoever comes next.
    host.reconnect().await;
    assert_eq!(host.traces(), Vec::<String>::new(), "{SEED}={}", seed());
}
