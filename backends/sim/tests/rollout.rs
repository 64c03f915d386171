//! Updates that fail halfway: what was replaced goes back, or the rest goes on, as the policy says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use unmoor_core::apply::{Outcome, Progress};
use unmoor_core::backend::{ImageInput, Images};
use unmoor_core::client::UpOptions;
use unmoor_core::label::Selector;
use unmoor_core::name::{ReplicaId, ServiceName, StackName};
use unmoor_core::spec::{FailureAction, Service, Stack};
use unmoor_core::{Client, Error};
use unmoor_sim::{MARKER, Sim, VirtualClock, drive};

fn web() -> ServiceName {
    ServiceName::parse("web").expect("valid")
}

fn name() -> StackName {
    StackName::parse("s").expect("valid")
}

async fn prepared(sim: &Sim) -> Client {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("probe");
    std::fs::write(&program, MARKER).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("made executable");
    let input = ImageInput::Rootfs {
        path: folder.path().to_owned(),
        reference: "probe:1".parse().expect("valid"),
        changes: Vec::new(),
    };
    Images::load(sim, &input, false).await.expect("loaded");
    Client::with_clock(sim.backend(), sim.clock())
}

fn service(version: &str) -> Service {
    let mut service = Service::new("probe:1".parse().expect("valid"))
        .entrypoint(["/probe", "serve", "--tcp", "80"])
        .label("version", version)
        .replicas(4);
    service.update.monitor = Duration::from_secs(5);
    service
}

/// The outcome of an update, and the versions that run after it.
type Updated = (Result<(), Error>, Vec<String>);

/// Updates four replicas one by one; the replacement that is started as the `dying`-th dies.
fn update(dying: usize, policy: fn(&mut Service)) -> Updated {
    let clock = VirtualClock::manual();
    let sim = Sim::builder().clock(Arc::new(clock.clone())).build();
    drive(&clock, async {
        let client = prepared(&sim).await;
        let stack = Stack::new(name()).service(web(), service("1"));
        client
            .up(&stack, &UpOptions::new())
            .await
            .expect("it comes up");
        let starts = AtomicUsize::new(0);
        let told = |progress: Progress| {
            let started = progress.verb == "start" && progress.outcome == Outcome::Changed;
            if started && starts.fetch_add(1, Ordering::Relaxed) + 1 == dying {
                let slot = progress.subject.rsplit('-').next().expect("it has a slot");
                let slot = slot.parse().expect("a slot is a number");
                assert!(sim.kill(&ReplicaId::new(name(), web(), slot)));
            }
        };
        let options = UpOptions::new().on_progress(&told);
        let change = |service: Service| {
            let mut service = service.label("version", "2");
            policy(&mut service);
            service
        };
        let outcome = client.update_with(&name(), &web(), change, &options).await;
        let selector = Selector::stack(name());
        let seen = client.observe(&selector).await.expect("it is seen");
        let replicas = seen.stack(&name()).replicas;
        assert!(
            replicas.iter().all(|replica| replica.is_ready()),
            "{replicas:?}"
        );
        let versions = replicas
            .iter()
            .map(|replica| replica.labels["version"].clone());
        (outcome.map(drop), versions.collect())
    })
}

fn sorted((outcome, mut versions): Updated) -> (bool, Vec<String>) {
    versions.sort();
    (outcome.is_ok(), versions)
}

#[test]
fn a_failure_halfway_stops_the_update_there() {
    let (done, versions) = sorted(update(3, |_| {}));
    assert!(!done);
    assert_eq!(versions, ["1", "1", "2", "2"]);
}

#[test]
fn a_failure_halfway_takes_back_what_was_replaced() {
    let back = |service: &mut Service| service.update.on_failure = FailureAction::Rollback;
    let (done, versions) = sorted(update(3, back));
    assert!(!done, "an update that was taken back is no success");
    assert_eq!(versions, ["1"; 4]);
}

#[test]
fn a_failure_halfway_holds_nobody_up_where_the_policy_says_so() {
    let go_on = |service: &mut Service| service.update.on_failure = FailureAction::Continue;
    let (done, versions) = sorted(update(3, go_on));
    assert!(!done, "an update with a failure is no success");
    assert_eq!(versions, ["1", "2", "2", "2"]);
}

#[test]
fn so_many_failures_are_tolerated() {
    // One of four is.
    let share = |service: &mut Service| {
        service.update.on_failure = FailureAction::Rollback;
        service.update.failures_per_mille = 250;
    };
    let (done, versions) = sorted(update(2, share));
    assert!(!done);
    assert_eq!(versions, ["1", "2", "2", "2"]);
}
