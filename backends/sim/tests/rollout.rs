//! Updates that fail halfway: what was replaced goes back, or the rest goes on, as the policy says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use unmoor_core::apply::{Outcome, Progress};
use unmoor_core::backend::{ImageInput, Images, ObservedReplica};
use unmoor_core::client::UpOptions;
use unmoor_core::label::Selector;
use unmoor_core::name::{ReplicaId, ServiceName, StackName};
use unmoor_core::spec::{FailureAction, Health, HealthTest, Service, Stack};
use unmoor_core::{Client, Error, ErrorKind};
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

/// How long an update took to fail whose replacements never pass their check, and the versions after.
fn stuck(policy: fn(&mut Service)) -> (ErrorKind, Duration, Vec<String>) {
    let clock = VirtualClock::manual();
    let sim = Sim::builder().clock(Arc::new(clock.clone())).build();
    drive(&clock, async {
        let client = prepared(&sim).await;
        let stack = Stack::new(name()).service(web(), service("1"));
        let up = client.up(&stack, &UpOptions::new()).await;
        up.expect("it comes up");
        let change = |service: Service| {
            let pace = Duration::from_secs(1);
            let check = Health::new(HealthTest::Tcp { port: 81 }).interval(pace);
            // Longer than anybody waits: it is neither healthy nor unhealthy until then.
            let check = check.start(Duration::from_secs(3600), pace);
            let mut service = service.label("version", "2").health(check);
            policy(&mut service);
            service
        };
        let began = sim.time();
        let outcome = client.update(&name(), &web(), change).await;
        let error = outcome.expect_err("nothing became ready");
        let took = sim.time() - began;
        let selector = Selector::stack(name());
        let seen = client.observe(&selector).await.expect("it is seen");
        let replicas = seen.stack(&name()).replicas;
        let versions = replicas.iter().map(|seen| seen.labels["version"].clone());
        (error.kind(), took, versions.collect())
    })
}

#[test]
fn a_replacement_has_until_its_deadline_and_no_longer() {
    let (kind, took, versions) = stuck(|service| {
        service.update.deadline = Duration::from_secs(7);
    });
    assert_eq!(kind, ErrorKind::Timeout);
    assert_eq!(versions, ["1"; 4], "those that serve go on");
    let within = Duration::from_secs(7)..Duration::from_secs(9);
    assert!(within.contains(&took), "{took:?}");
}

#[test]
fn no_more_are_missing_than_may_be_unavailable() {
    let (kind, _, mut versions) = stuck(|service| {
        service.update.deadline = Duration::from_secs(7);
        service.update.max_unavailable = Some(1);
        service.update.max_surge = Some(0);
    });
    assert_eq!(kind, ErrorKind::Timeout);
    versions.sort();
    assert_eq!(
        versions,
        ["1", "1", "1", "2"],
        "one went for one that never served"
    );
}

/// Updates four replicas one by one, with rests; the first replacement dies in the first rest. The
/// versions that serve afterwards, and whether the update succeeded.
fn dies_in_the_rest(policy: fn(&mut Service)) -> (bool, Vec<String>) {
    let clock = VirtualClock::manual();
    let sim = Sim::builder().clock(Arc::new(clock.clone())).build();
    drive(&clock, async {
        let client = prepared(&sim).await;
        let mut first = service("1");
        first.update.monitor = Duration::ZERO;
        let stack = Stack::new(name()).service(web(), first);
        let up = client.up(&stack, &UpOptions::new()).await;
        up.expect("it comes up");
        let killed = AtomicUsize::new(0);
        let started = AtomicUsize::new(0);
        let told = |progress: Progress| match (progress.verb, progress.outcome) {
            ("start", Outcome::Changed) => {
                let slot = progress.subject.rsplit('-').next().expect("it has a slot");
                let slot = slot.parse().expect("a slot is a number");
                started.store(slot, Ordering::Relaxed);
            }
            ("wait for", Outcome::Started) if killed.fetch_add(1, Ordering::Relaxed) == 0 => {
                let slot = u32::try_from(started.load(Ordering::Relaxed)).expect("a slot");
                assert!(sim.kill(&ReplicaId::new(name(), web(), slot)));
            }
            _ => {}
        };
        let options = UpOptions::new().on_progress(&told);
        let change = |service: Service| {
            let mut service = service.label("version", "2");
            service.update.delay = Duration::from_secs(2);
            policy(&mut service);
            service
        };
        let outcome = client.update_with(&name(), &web(), change, &options).await;
        let selector = Selector::stack(name());
        let seen = client.observe(&selector).await.expect("it is seen");
        let replicas = seen.stack(&name()).replicas;
        let serving = replicas.iter().filter(|replica| replica.is_ready());
        let mut versions: Vec<String> = serving
            .map(|replica| replica.labels["version"].clone())
            .collect();
        versions.sort();
        (outcome.is_ok(), versions)
    })
}

#[test]
fn an_update_goes_no_further_over_a_replacement_that_died_since() {
    let (done, serving) = dies_in_the_rest(|_| {});
    assert!(!done);
    assert_eq!(serving, ["1"; 3], "nothing more was replaced");
    let stop_first = |service: &mut Service| {
        service.update.max_unavailable = Some(1);
        service.update.max_surge = Some(0);
    };
    let (done, serving) = dies_in_the_rest(stop_first);
    assert!(!done);
    assert_eq!(serving, ["1"; 3], "nothing more was stopped");
}

#[test]
fn an_update_over_a_replacement_that_died_since_is_taken_back() {
    let back = |service: &mut Service| service.update.on_failure = FailureAction::Rollback;
    let (done, serving) = dies_in_the_rest(back);
    assert!(!done);
    assert_eq!(serving, ["1"; 4]);
}

#[test]
fn an_update_that_holds_nobody_up_goes_on_over_a_replacement_that_died_since() {
    let go_on = |service: &mut Service| service.update.on_failure = FailureAction::Continue;
    let (_, serving) = dies_in_the_rest(go_on);
    assert_eq!(serving, ["2"; 3]);
}

#[test]
fn every_failed_update_is_taken_back_not_the_first_alone() {
    let clock = VirtualClock::manual();
    let sim = Sim::builder().clock(Arc::new(clock.clone())).build();
    drive(&clock, async {
        let client = prepared(&sim).await;
        let mut good = service("1");
        good.update.on_failure = FailureAction::Rollback;
        let other = service("1").replicas(1);
        let db = ServiceName::parse("db").expect("valid");
        let stack = |web_is: Service| {
            let stack = Stack::new(name()).service(web(), web_is);
            stack.service(db.clone(), other.clone())
        };
        let options = UpOptions::new();
        let up = client.up(&stack(good.clone()), &options).await;
        up.expect("it comes up");
        for round in 0..3 {
            let broken = good.clone().command(["exit", "3", "100"]);
            let broken = broken.label("version", format!("broken {}", round % 2));
            let outcome = client.up(&stack(broken), &options).await;
            let error = outcome.expect_err("its replacements die");
            assert!(error.chain().contains("taken back"), "{round}: {error:?}");
            let seen = client.observe(&Selector::stack(name())).await;
            let replicas = seen.expect("it is seen").stack(&name()).replicas;
            let as_before = |r: &ObservedReplica| r.is_ready() && r.labels["version"] == "1";
            assert!(replicas.iter().all(as_before), "{round}: {replicas:?}");
        }
    });
}
